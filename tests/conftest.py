"""Settings of all tests."""

from hypothesis import settings

# No deadline for one example: on a busy machine it fails at random. pytest's timeout ends what hangs.
settings.register_profile("telestage", deadline=None, print_blob=True)
settings.load_profile("telestage")
