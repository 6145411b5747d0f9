"""What the tables of a fleet file say about each other: names once, patterns that match, filters that apply."""

from __future__ import annotations

import fnmatch
import ipaddress
import re

from telestage.cli.expectation import nearest
from telestage.cli.fleetfile import EVENT_FILTERS, FleetFile, MonitorTable, ServerTable, SessionTable
from telestage.cli.settling import Settled
from telestage.messages import Kind

__all__ = ["check", "loopback_host", "monitor_name"]

_FILTERS = sorted({name for names in EVENT_FILTERS.values() for name in names})

_KINDS = [kind.value for kind in Kind if kind is not Kind.SCRAPING]  # that one is a limit by itself


def check(fleet: FleetFile, settled: Settled) -> None:
    """Raises what `settled.complain` makes of the first thing that is wrong."""
    if fleet.server is not None:
        _check_server(fleet.server, settled)
    _check_sessions(fleet.sessions, settled, in_store=fleet.store is not None)
    for kind in fleet.limits.kinds:
        if kind not in _KINDS:
            raise settled.complain(f"limits.kinds.{kind}", f"unknown kind; {nearest(kind, _KINDS)}")
    _check_monitors(fleet, settled)


def monitor_name(monitor: MonitorTable) -> str:
    """The name of a monitor: by default its function's."""
    return monitor.name or re.split("[.:]", monitor.handler)[-1][:64]


def loopback_host(host: str) -> str | None:
    """The address of an IPv4 loopback host; None if it is another.

    Telethon takes a session that leads to an IPv6 address to Telegram itself, unless told otherwise.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.IPv4Address(host).is_loopback else None
    except ValueError:
        return None


def _check_server(server: ServerTable, settled: Settled) -> None:
    if loopback_host(server.host) is None:
        raise settled.complain(
            "server.host",
            f"expected an IPv4 loopback address such as 127.0.0.1, not {settled.shown(server.host, 'server.host')}; "
            "leave the table out for Telegram itself",
        )


def _check_sessions(sessions: list[SessionTable], settled: Settled, *, in_store: bool) -> None:
    names: dict[str, int] = {}
    for index, session in enumerate(sessions):
        where = f"sessions[{index}]"
        first = names.setdefault(session.name, index)
        if first != index:
            shown = settled.shown(session.name, f"{where}.name")
            raise settled.complain(f"{where}.name", f"{shown} is the name of sessions[{first}] already")
        given = [key for key in ("session", "session_file", "stored") if getattr(session, key) is not None]
        if len(given) > 1:
            both = "both " if len(given) == 2 else ""
            raise settled.complain(where, f"has {both}{' and '.join(given)}; give one of them")
        if not given:
            raise settled.complain(
                f"{where}.session",
                "is missing; expected a session string or a path that ends in .session, or session_file instead",
            )
        if session.stored is not None and not in_store:
            raise settled.complain(f"{where}.stored", "needs store: the path of the store that has the session")


def _check_monitors(fleet: FleetFile, settled: Settled) -> None:
    names: dict[str, int] = {}
    for index, monitor in enumerate(fleet.monitors):
        where = f"monitors[{index}]"
        first = names.setdefault(monitor_name(monitor), index)
        if first != index:
            place = f"{where}.handler" if monitor.name is None else f"{where}.name"
            hint = "; give it a name of its own" if monitor.name is None else ""
            raise settled.complain(place, f"monitors[{first}] has that name already{hint}")
        if not any(fnmatch.fnmatchcase(session.name, monitor.sessions) for session in fleet.sessions):
            # names are shown only where nothing came out of the environment
            known = "" if settled.variables else f"; {nearest(monitor.sessions, [s.name for s in fleet.sessions])}"
            shown = settled.shown(monitor.sessions, f"{where}.sessions")
            raise settled.complain(f"{where}.sessions", f"{shown} matches the name of no session{known}")
        if monitor.durable != "soon" and fleet.store is None:
            raise settled.complain(f"{where}.durable", "needs store: the path of the store that is to have it")
        _check_filters(monitor, where, settled)


def _check_filters(monitor: MonitorTable, where: str, settled: Settled) -> None:
    known = EVENT_FILTERS[monitor.event]
    for name in _FILTERS:
        if name not in known and getattr(monitor, name) is not None:
            takes = f"it has {', '.join(known)}" if known else "it has no filters"
            raise settled.complain(f"{where}.{name}", f"{monitor.event} has no such filter; {takes}")
    if monitor.incoming is False and monitor.outgoing is False:
        raise settled.complain(where, "incoming and outgoing are both false, so no message would match")
    if monitor.blacklist_chats is not None and monitor.chats is None:
        raise settled.complain(f"{where}.blacklist_chats", "needs chats: those are what it turns into a black list")
    if monitor.pattern is not None:
        try:
            re.compile(monitor.pattern)
        except re.error as error:
            problem = f"not a regular expression: {error.msg} at character {error.pos}"
        else:
            return
        raise settled.complain(f"{where}.pattern", problem)
