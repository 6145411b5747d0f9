"""Actors, and the fleets of Telegram sessions made of them."""

from telestage.actors.kernel import *  # noqa: F403 - temporary
