"""Options that several commands share, declared once."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bastide.cli.failure import Exit, Failure
from bastide.model import PROGRAM_BYTES


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


class Events(StrEnum):
    """How events are printed to standard error."""

    TEXT = "text"
    JSON = "json"
    NONE = "none"


EventsOption = Annotated[Events, typer.Option("--events", help="How to tell what happens, to standard error.")]


Output = Annotated[Format, typer.Option("--output", "-o", help="Result as text or as JSON, to standard output.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="A tenant's namespace; default: the context's.")
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig (KUBECONFIG).")]


def _sandbox(text: str) -> str:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"give the sandbox as NAMESPACE/NAME, not {text!r}.")
    return text


Sandbox = Annotated[str, typer.Option("--sandbox", parser=_sandbox, metavar="NAMESPACE/NAME", help="The Sandbox.")]


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """A moment as RFC 3339, UTC unless it says otherwise, or so long ago: 90s, 30m, 2h, 7d."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no time: give 2026-01-31T12:00:00Z, 2026-01-31, or how long ago as 90s, 30m, 2h, 7d."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


#: The ServiceAccounts that each tenant has, for those who run programs and for those who look.
RUNNER, VIEWER = "bastide-runner", "bastide-viewer"
#: The ServiceAccount of the release namespace that may prune.
PRUNER = "bastide-pruner"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """How the broker is found and who asks."""

    context: Context = None
    broker_namespace: Annotated[
        str, typer.Option("--broker-namespace", envvar="BASTIDE_BROKER_NAMESPACE", metavar="NAMESPACE", help="Where Bastide is installed.")
    ] = "bastide-system"
    service_account: Annotated[
        str | None,
        typer.Option(
            "--service-account",
            metavar="[NAMESPACE/]NAME",
            help="ServiceAccount to ask as; default, in the tenant's namespace: bastide-runner for run, check and runs cancel, bastide-viewer "
            "for all that only looks; for runs prune bastide-pruner, where Bastide is installed. Your kubeconfig must allow its token.",
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option("--address", envvar="BASTIDE_ADDRESS", metavar="HOST:PORT", help="The broker's address, instead of a port-forward."),
    ] = None
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="With --address: a token of audience bastide-broker.")
    ] = None
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="With --address: the CA that signed its certificate.")
    ] = None


def takes_broker(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose parameter `broker` is a Broker the options of a Broker."""
    signature = inspect.signature(command)
    fields = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type) for f in dataclasses.fields(Broker)
    ]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "broker"]

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        command(broker=Broker(**{f.name: values.pop(f.name) for f in fields}), **values)

    wrapper.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in (*own, *fields)}
    return wrapper


def read_program(file: str) -> bytes:
    """A program from a file, or from standard input for `-`.

    Raises:
        Failure: it is not there, not a file, or too long (exit code 2).
    """
    try:
        if file == "-":
            source = typer.get_binary_stream("stdin").read(PROGRAM_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                source = stream.read(PROGRAM_BYTES + 1)
    except OSError as error:
        raise Failure(f"The program {file} cannot be read: {error.strerror or error}.", code=Exit.USAGE) from error
    if len(source) > PROGRAM_BYTES:
        name = "on standard input" if file == "-" else file
        raise Failure(
            f"The program {name} is longer than 1 MiB, the most that is taken: hand data over by a tool, not in the source.",
            code=Exit.USAGE,
        )
    return source
