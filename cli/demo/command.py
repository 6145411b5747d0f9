"""`telestage demo`: the main job, end to end, on a server of its own."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from telestage.cli.demo.display import show, show_result
from telestage.cli.demo.play import Play
from telestage.cli.demo.report import Plan, Report

__all__ = ["demo"]

_PLAN = Plan()


def demo(
    sessions: Annotated[int, typer.Option(help="Real Telethon sessions.")] = _PLAN.sessions,
    messages: Annotated[int, typer.Option(help="Messages to send in bulk.")] = _PLAN.messages,
    history: Annotated[int, typer.Option(help="Messages of history to scrape.")] = _PLAN.history,
    members: Annotated[int, typer.Option(help="Members to scrape.")] = _PLAN.members,
    posts: Annotated[int, typer.Option(help="Posts on each of the two watched channels.")] = _PLAN.posts,
    operations: Annotated[int, typer.Option(help="The fleet's limit of operations at once.")] = _PLAN.operations,
    report: Annotated[Path | None, typer.Option(help="Write the figures to this file, as JSON.")] = None,
    log: Annotated[Path | None, typer.Option(help="Write the fleet's log to this file.")] = None,
) -> None:
    """Run a fleet against a Telegram server on loopback, with trouble on purpose, and count what arrives."""
    try:
        plan = Plan(
            sessions=sessions, messages=messages, history=history, members=members, posts=posts, operations=operations
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if log is not None:
        log.write_bytes(b"")
    logging.getLogger().addHandler(logging.NullHandler())  # trouble on purpose: it would only hide the picture
    console = Console()
    figures, problems = asyncio.run(_run(Play(plan, log), console))
    show_result(figures, problems, console)
    if report is not None:
        data = {"ok": not problems, **msgspec.to_builtins(figures)}
        report.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    raise typer.Exit(1 if problems else 0)


async def _run(play: Play, console: Console) -> tuple[Report, list[str]]:
    showing = asyncio.create_task(show(play, console))
    try:
        return await play.run()
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
