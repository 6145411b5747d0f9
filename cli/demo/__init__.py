"""The demo: the main job of a fleet, on a server of its own, with trouble on purpose."""
