"""The commands that work on a fleet's store, whether the fleet runs or has stopped: `jobs`, `floods`, `sessions`.

Invariant: nothing heavier than typer is imported before a command is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Json", "floods", "jobs", "sessions"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

_STORE = typer.Option(
    "--store", metavar="FILE", envvar="TELESTAGE_STORE", help="The fleet's store; it may run.", show_default=False
)
StoreFile = Annotated[Path, _STORE]
MaybeStore = Annotated[Path | None, _STORE]
StoredName = Annotated[str, typer.Argument(metavar="NAME", help="In the store.", show_default=False)]


def _to_list(context: typer.Context, store: Path | None) -> Path | None:
    """The store of a command that lists it where no other command follows; None where one does, with its own.

    Raises:
        typer.BadParameter: There is none.
    """
    if context.invoked_subcommand is not None:
        return None
    if store is None:
        raise typer.BadParameter("give the fleet's store: --store FILE", param_hint="--store")
    return store


jobs = typer.Typer(no_args_is_help=True, help="Look at the jobs in a fleet's store, pause, resume, cancel, retry them.")

JobId = Annotated[int, typer.Argument(metavar="JOB", help="As `telestage jobs list` tells.", show_default=False)]


@jobs.command("list")
def jobs_list(store: StoreFile, json: Json = False) -> None:
    """List all jobs, the oldest first."""
    from telestage.cli.jobs import list_jobs

    list_jobs(store, json=json)


@jobs.command("show")
def jobs_show(job: JobId, store: StoreFile, json: Json = False) -> None:
    """Show a job, and the first of its messages that could not be sent."""
    from telestage.cli.jobs import show

    show(store, job, json=json)


@jobs.command("pause")
def jobs_pause(job: JobId, store: StoreFile, json: Json = False) -> None:
    """Pause a job: a fleet that runs begins nothing more of it after half a second."""
    _change_job(store, job, "pause", json=json)


@jobs.command("resume")
def jobs_resume(job: JobId, store: StoreFile, json: Json = False) -> None:
    """Have a paused job go on."""
    _change_job(store, job, "resume", json=json)


@jobs.command("cancel")
def jobs_cancel(job: JobId, store: StoreFile, json: Json = False) -> None:
    """End a job for good; what it has done stays."""
    _change_job(store, job, "cancel", json=json)


@jobs.command("retry")
def jobs_retry(job: JobId, store: StoreFile, json: Json = False) -> None:
    """Try again what failed: messages with their old random_ids, a scrape from where it stood."""
    _change_job(store, job, "retry", json=json)


def _change_job(store: Path, job: int, what: str, *, json: bool) -> None:
    from telestage.cli.jobs import change

    change(store, job, what, json=json)


floods = typer.Typer(no_args_is_help=False, help="List what Telegram makes sessions wait for; resume sending.")


@floods.callback(invoke_without_command=True)
def floods_list(context: typer.Context, store: MaybeStore = None, json: Json = False) -> None:
    """List what Telegram makes the sessions of a fleet's store wait for now; resume sending."""
    asked = _to_list(context, store)
    if asked is not None:
        from telestage.cli.floods import list_floods

        list_floods(asked, json=json)


@floods.command("resume")
def floods_resume(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its name in the fleet.", show_default=False)],
    store: StoreFile,
    json: Json = False,
) -> None:
    """Let a session send again after PEER_FLOOD: find out first why Telegram takes it for a spammer's."""
    from telestage.cli.floods import resume

    resume(store, session, json=json)


sessions = typer.Typer(no_args_is_help=False, help="List the sessions of a fleet's store; import, export, remove.")


@sessions.callback(invoke_without_command=True)
def sessions_list(context: typer.Context, store: MaybeStore = None, json: Json = False) -> None:
    """List the sessions of a fleet's store, with who uses each now; import, export and remove them."""
    asked = _to_list(context, store)
    if asked is not None:
        from telestage.cli.sessions import list_all

        list_all(asked, json=json)


@sessions.command("import")
def sessions_import(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Telethon's .session files, or files with a string; - is stdin."),
    ],
    store: StoreFile,
    name: Annotated[str | None, typer.Option(help="In the store. Default: the file's name.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Also where there is one of that name.")] = False,
) -> None:
    """Put sessions into the store, sealed with the key in TELESTAGE_STORE_KEY. The files are left as they are."""
    from telestage.cli.sessions import import_files

    import_files(store, files, name=name, replace=replace)


@sessions.command("export")
def sessions_export(name: StoredName, store: StoreFile) -> None:
    """Print a session as a string: whoever has it is you. Use it instead of the stored one, not beside it."""
    from telestage.cli.sessions import export

    export(store, name)


@sessions.command("remove")
def sessions_remove(name: StoredName, store: StoreFile) -> None:
    """Take a session out of the store."""
    from telestage.cli.sessions import remove

    remove(store, name)


@sessions.command("reseal")
def sessions_reseal(store: StoreFile, json: Json = False) -> None:
    """Seal all sessions of a stopped fleet with the key in TELESTAGE_NEW_STORE_KEY instead of TELESTAGE_STORE_KEY."""
    from telestage.cli.sessions import reseal_all

    reseal_all(store, json=json)


@sessions.command("new-key")
def sessions_new_key() -> None:
    """Print a new key for TELESTAGE_STORE_KEY. Without it the sessions of a store can't be opened: don't lose it."""
    from telestage.cli.sessions import print_new_key

    print_new_key()
