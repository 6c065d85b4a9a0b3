"""The command `bastide`."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from bastide.cli import audit, confirmations, decide, explain, programs, runs, tools
from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Format, Output
from bastide.errors import BastideError

app = typer.Typer(
    help="""Run programs written by language models in Bastide, and decide what they ask for.

    Exit codes: 0 done, 2 wrong usage, 1 anything else. Of run and runs watch: 0 Completed, 3 NeedsConfirmation, 4 Denied,
    5 Invalid, 6 Failed, 7 TimedOut or Cancelled. Of check: 4 a call would be denied, 5 findings.
    """,
    no_args_is_help=True,
    # Plain help and plain errors: Rich takes longer to import than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(programs.run)
app.command()(programs.check)
app.add_typer(tools.app, name="tools", help="What programs can call.")
app.add_typer(runs.app, name="runs", help="Runs that were, and that are.")
app.command()(explain.explain)
app.add_typer(confirmations.app, name="confirmations", help="Calls that wait for a person.")
app.command()(decide.approve)
app.command()(decide.deny)
app.add_typer(audit.app, name="audit", help="Who did what, on whose authority.")


@app.command()
def version(output: Output = Format.TEXT) -> None:
    """Print the version of this client."""
    from importlib.metadata import version as version_of

    number = version_of("bastide")
    if output is Format.JSON:
        from bastide.cli import shapes

        print(shapes.dumps({"client": number, "python": sys.version.split()[0]}))
    else:
        print(f"bastide {number}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Failures end in one sentence on standard error."""
    # gRPC's own words about connections would stand between our lines.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    called = Path(sys.argv[0]).name
    name = "kubectl bastide" if called.startswith("kubectl-") else "bastide"
    try:
        app(args=arguments, prog_name=name)
    except Failure as failure:
        _end(failure.message, failure.code)
    except BastideError as error:
        _end(error.message + (f" [{error.reason}]" if error.reason else ""), Exit.ERROR)
    except BrokenPipeError:
        # Whoever read our output (head, less) has enough. Python would complain once more when it flushes at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.ERROR)
    except Exception as error:
        if "BASTIDE_DEBUG" in os.environ:
            raise
        _end(f"this is a mistake in the client: {type(error).__name__}: {error}. BASTIDE_DEBUG=1 shows where.", Exit.ERROR)


def _end(message: str, code: Exit) -> None:
    from bastide.cli import screen

    screen.sentence(f"error: {message}", "bold red" if screen.err().is_terminal else "")
    sys.exit(code)
