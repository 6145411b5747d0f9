"""The `telestage` command."""
