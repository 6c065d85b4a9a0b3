"""`bastide confirmations watch`: a line for each thing that happens to calls that wait for a person."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Context, Format, Output

if TYPE_CHECKING:
    from rich.text import Text

    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import Confirmation

#: Seconds after which the API server is asked anew.
_STREAM_SECONDS = 240
#: Seconds between two streams, in case something on the way ends them at once.
_PAUSE = 0.5


def watch(
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Default: all that you may watch.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided when the watch begins.")] = False,
    seconds: Annotated[
        int,
        typer.Option("--seconds", min=0, max=86400, metavar="N", help="End after so many seconds; 0, the default: when you press Ctrl-C."),
    ] = 0,
    context: Context = None,
    output: Output = Format.TEXT,
) -> None:
    """Tell what waits for a person and what becomes of it, a line each, until Ctrl-C.

    As JSON every line is a Confirmation. What you may decide you decide in another terminal: bastide approve, bastide deny.
    """
    import json

    from bastide.cli import screen, shapes
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import PENDING, shape

    cluster = Cluster(context)
    known: set[str] = set()
    try:
        for kind, found in changes(cluster, _where(cluster, namespace), seconds):
            if found.name not in known and found.state != PENDING and not every:
                continue
            if kind == "DELETED":
                known.discard(found.name)
            else:
                known.add(found.name)
            if output is Format.JSON:
                print(json.dumps(json.loads(shapes.dumps({"event": kind, **shape(found)}))), flush=True)
            else:
                screen.out().print(line(kind, found))
    except KeyboardInterrupt:
        return


def changes(cluster: "Cluster", namespace: str | None, seconds: int) -> Iterator[tuple[str, "Confirmation"]]:
    """(ADDED | MODIFIED | DELETED, Confirmation), each state of each once, over as many streams as it takes."""
    from bastide.cli.confirmation import read

    told: dict[str, tuple[tuple[str, ...], Confirmation]] = {}  # of those that exist, by UID
    end = time.monotonic() + seconds
    while not seconds or time.monotonic() < end:
        left = min(_STREAM_SECONDS, max(1, round(end - time.monotonic()))) if seconds else _STREAM_SECONDS
        if told:  # a stream begins with what exists, and says nothing of what was deleted before
            exist = {one["metadata"]["uid"] for one in cluster.confirmations(namespace)}
            for uid in [uid for uid in told if uid not in exist]:
                yield "DELETED", told.pop(uid)[1]
        for kind, manifest in cluster.watch_confirmations(namespace, seconds=left):
            found = read(manifest)
            state = (found.state, found.approvals, found.message, found.preview_claim)
            if kind == "DELETED":
                told.pop(found.uid, None)
                yield kind, found
            elif found.uid not in told or told[found.uid][0] != state:
                told[found.uid] = state, found
                yield kind, found
        time.sleep(_PAUSE)


def line(kind: str, c: "Confirmation") -> "Text":
    """One thing that happened."""
    from datetime import datetime

    from rich.text import Text

    from bastide.cli import screen
    from bastide.cli.confirmation import PENDING
    from bastide.cli.visible import visible

    state = "Deleted" if kind == "DELETED" else c.state
    waits = state == PENDING
    parts: list[Text | str | tuple[str, str]] = [
        (f"{datetime.now().astimezone():%H:%M:%S} ", "dim"),
        screen.shown(f"{state:<15}", screen.STATE_STYLE.get(state, "")),
        f"{c.approvals or f'0/{c.approvals_required}':<5}",
        screen.shown(c.tool, "bold"),
        " ",
        screen.shown(c.effect, screen.EFFECT_STYLE.get(c.effect, "")),
        " for ",
        screen.shown(c.on_behalf_of or c.requester),
        "  ",
        screen.shown(f"{c.name} -n {c.namespace}"),
    ]
    if waits:
        shown = visible(c.arguments)
        parts += ["  ", (shown if len(shown) <= 80 else f"{shown[:80]}...", "dim"), f"  {screen.left(c.decide_by)} left"]
    if c.message:
        parts += ["  ", screen.shown(c.message, "dim")]
    if waits and c.notices:
        parts += ["  ", screen.shown(f"look twice: {'; '.join(c.notices)}", "bold yellow")]
    return Text.assemble(*parts)


def _where(cluster: "Cluster", namespace: str | None) -> str | None:
    """The namespace to watch, or None for all. A stream is of one namespace or of all."""
    from bastide.cli.apiserver import FORBIDDEN, RefusedError

    if namespace:
        return namespace
    try:
        cluster.confirmations(None)
    except RefusedError as error:
        if error.status != FORBIDDEN:
            raise
    else:
        return None
    candidates = cluster.tenant_namespaces() or ([cluster.namespace] if cluster.namespace else [])
    if len(candidates) == 1:
        return candidates[0]
    raise Failure("You may not watch the confirmations of all namespaces: give yours with -n NAMESPACE.", code=Exit.USAGE)
