"""The command's face: its options, its help, and how it ends.

Invariant: whatever fails is one line on stderr, `telestage: error: …`, and an exit code: 2 for a request that can't
be, 1 for one that failed. Nothing heavier than typer is imported before a command is known: Telethon is not needed
to say what there is.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from telestage.cli.errors import CommandError
from telestage.cli.storecommands import Json, floods, jobs, sessions

__all__ = ["app", "main"]

app = typer.Typer(
    name="telestage",
    help="Fleets of Telegram sessions as supervised actors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Log everything, and show the traceback of an error.")]
ServerKey = Annotated[Path | None, typer.Option(help="A loopback server's public key, PEM.", metavar="FILE")]


def main() -> None:
    """Runs the command with the process's arguments, and exits."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    try:
        code = app(args=arguments, prog_name="telestage", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:
            print(file=sys.stderr)  # a ^C leaves the cursor in the middle of a line
    except CommandError as error:
        return _failed(error, str(error), error.exit_code, error.redact(traceback.format_exc()) if debug else "")
    except typer.Abort:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever read stdout has gone; without this Python would complain of it once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error, traceback.format_exc() if debug else "")
    return code if isinstance(code, int) else 0


def _failed(error: Exception, text: str, code: int, trace: str) -> int:
    if trace:
        print(trace, file=sys.stderr, end="")
    print(f"telestage: error: {' '.join(text.split())}", file=sys.stderr)
    return code


def _unexpected(error: Exception, trace: str) -> int:
    formatted = getattr(error, "format_message", None)
    if callable(formatted):  # typer's own, for wrong options; their class has no public name
        text = str(formatted()) or "no command; `telestage --help` lists them"
        return _failed(error, text, int(getattr(error, "exit_code", 2)), trace)
    text = f"{type(error).__name__}: {error}" if trace else f"{type(error).__name__}; --debug shows where"
    return _failed(error, f"unexpected {text}", 1, trace)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"telestage {version('telestage')}")
        raise typer.Exit


@app.callback()
def _all_commands(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Debug = False,
) -> None:
    context.obj = debug  # may stand before the command as well as after it


@app.command()
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FLEET.toml", help="See docs/configuration.md.", show_default=False)],
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0, help="End by itself after so long.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the file, its sessions and its handlers; connect to nothing.")
    ] = False,
    json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what goes well, too.")] = False,
    debug: Debug = False,
) -> None:
    """Run the fleet of a file: its sessions, limits and monitors."""
    from telestage.cli.command import check_file, run_file

    level = logging.DEBUG if debug or context.obj else logging.INFO if verbose else logging.WARNING
    if check:
        check_file(file, level, json=json)
    else:
        run_file(file, level, json=json, seconds=seconds)


@app.command()
def doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FLEET.toml]", help="A fleet file to look at, too.", show_default=False)
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="FILE", help="The store of a fleet without a file.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is right here, what is wrong, and how to mend it; connects to nothing.

    The exit code is 1 if something is wrong; a warning isn't.
    """
    from telestage.cli.command import doctor_and_print

    raise typer.Exit(doctor_and_print(file, store, json=json))


@app.command()
def login(
    context: typer.Context,
    api_id: Annotated[
        int, typer.Option(envvar="TELESTAGE_API_ID", min=1, help="From my.telegram.org.", show_default=False)
    ],
    api_hash: Annotated[
        str, typer.Option(envvar="TELESTAGE_API_HASH", help="From my.telegram.org.", show_default=False)
    ],
    phone: Annotated[str | None, typer.Option(help="With the country's code. Default: asked for.")] = None,
    code: Annotated[str | None, typer.Option(help="The login code, where it is known before it is sent.")] = None,
    code_command: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="A shell command that prints the code; $TELESTAGE_PHONE is the number."),
    ] = None,
    sign_up: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make an account of that first name if there is none.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the session here, mode 600; SQLite if it ends in .session."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file of --output, or the session of --name.")
    ] = False,
    store: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the session in this fleet's store, under --name.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="In the store.")] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A loopback server.")] = None,
    public_key: ServerKey = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="For all of it.")] = 300.0,
    debug: Debug = False,
) -> None:
    """Sign in by phone and code, and print the session string: keep it secret, whoever has it is you.

    The second password is asked for, or taken from TELESTAGE_PASSWORD.
    """
    from telestage.cli.command import login_and_print
    from telestage.cli.login import Login

    request = Login(
        api_id=api_id,
        api_hash=api_hash,
        phone=phone,
        code=code,
        code_command=code_command,
        password=os.environ.get("TELESTAGE_PASSWORD"),
        first_name=sign_up,
        output=output,
        force=force,
        store=store,
        name=name,
        server=server,
        public_key=public_key,
        timeout=timeout,
    )
    login_and_print(request, debug=debug or context.obj)


@app.command()
def loopback(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 0,
    users: Annotated[int, typer.Option(min=0, metavar="N", help="So many users: user1, user2, ...")] = 0,
    user: Annotated[list[str] | None, typer.Option(metavar="NAME[:PHONE]", help="A user; may be repeated.")] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:MEMBERS[:HISTORY]",
            help="A channel; members are a number, 'all', or names with commas; history is a number of messages.",
        ),
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME:MEMBERS[:HISTORY]", help="A group, where members write.")
    ] = None,
    phone: Annotated[
        list[str] | None, typer.Option(metavar="PHONE", help="A number without an account: show its codes, too.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Before each answer.")] = 0.0,
    public_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the public key here, PEM.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve a Telegram of its own on loopback, and print its address, its users' sessions and its login codes."""
    from telestage.cli.checking import loopback_host
    from telestage.cli.loopback import Loopback, serve_until_signal

    address = loopback_host(host)
    if address is None:
        raise typer.BadParameter("expected an IPv4 loopback address such as 127.0.0.1", param_hint="--host")
    request = Loopback(
        host=address,
        port=port,
        users=users,
        names=user or (),
        channels=channel or (),
        groups=group or (),
        phones=phone or (),
        latency=latency,
        public_key=public_key,
        json=json,
    )
    serve_until_signal(request, logging.DEBUG if debug or context.obj else logging.WARNING)


app.add_typer(jobs, name="jobs")
app.add_typer(floods, name="floods")
app.add_typer(sessions, name="sessions")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Run a fleet against a Telegram server on loopback, with trouble on purpose, and count what arrives."""
    # registered by a name only: its module needs Telethon, and reads its own options
    from telestage.cli.demo.command import demo as command

    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    own.command()(command)
    raise typer.Exit(own(args=context.args, prog_name="telestage demo", standalone_mode=False) or 0)
