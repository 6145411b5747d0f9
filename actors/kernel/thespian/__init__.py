"""Unmodified Thespian actors on the kernel: the system base, and what it takes to host them."""

from telestage.actors.kernel.thespian.base import AsyncioSystemBase

__all__ = ["AsyncioSystemBase"]
