"""The loopback server: see `telestage.testing`, whose names these are."""
