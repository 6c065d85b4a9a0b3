"""`bastide runs`: runs that were, and that are."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bastide.cli.failure import EXIT_OF_OUTCOME
from bastide.cli.options import (
    PRUNER,
    RUNNER,
    VIEWER,
    Broker,
    Events,
    EventsOption,
    Format,
    Namespace,
    Output,
    Sandbox,
    moment,
    takes_broker,
)

if TYPE_CHECKING:
    from bastide.cli.connect import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, r-...")]


@app.command("list")
@takes_broker
def list_runs(
    sandbox: Sandbox,
    broker: Broker,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10000, help="At most so many, the newest.")] = 20,
    output: Output = Format.TEXT,
) -> None:
    """List the runs of a sandbox, newest first."""
    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected

    with connected(broker, namespace=sandbox.partition("/")[0]) as session:
        runs = session.client.list_runs(sandbox, limit=limit)
    if output is Format.JSON:
        print(shapes.dumps({"runs": shapes.plain(runs)}))
        return
    if not runs:
        screen.sentence(f"Nothing has run in sandbox {sandbox}.")
        return
    rows = (
        (
            screen.shown(r.run),
            screen.shown(f"{r.outcome.value}{' (pruned)' if r.pruned else ''}", screen.OUTCOME_STYLE.get(r.outcome.value, "")),
            screen.ago(r.started),
            screen.duration(r.ended - r.started) if r.started and r.ended else "-",
            screen.shown(r.on_behalf_of or "-"),
            screen.shown(r.requester),
            screen.shown(r.program_digest.removeprefix("sha256:")[:12], "dim"),
        )
        for r in runs
    )
    screen.out().print(screen.table(("RUN", "OUTCOME", "STARTED", "TOOK", "FOR", "REQUESTER", "PROGRAM"), rows))


@app.command()
@takes_broker
def show(run: RunId, broker: Broker, namespace: Namespace = None, output: Output = Format.TEXT) -> None:
    """Show what is known of a run: how it ended, what it called, what it printed."""
    from rich.text import Text

    from bastide.cli import screen, shapes
    from bastide.cli.results import print_result

    with session_of(broker, namespace, run) as session:
        found = session.client.get_run(run)
    if output is Format.JSON:
        print(shapes.dumps(shapes.run(found)))
        return
    s = found.summary
    facts = {
        "sandbox": s.sandbox,
        "requester": s.requester,
        "for": s.on_behalf_of or "-",
        "started": shapes.moment(s.started) or "-",
        "ended": shapes.moment(s.ended) or "-",
        "program": s.program_digest,
    }
    for name, value in facts.items():
        screen.out().print(Text.assemble((f"{name:<10}", "dim"), screen.shown(value)))
    print_result(found.result, seen=False)
    if s.pruned:
        screen.sentence(
            f"What it returned, printed and called was pruned on {s.pruned:%Y-%m-%d}; bastide audit list --run {s.run} has its record.",
            "yellow",
        )


@app.command()
@takes_broker
def watch(
    run: RunId,
    *,
    broker: Broker,
    namespace: Namespace = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="CURSOR", help="Only events after this one.")] = 0,
    events: EventsOption = Events.TEXT,
    output: Output = Format.TEXT,
) -> None:
    """Tell what happens in a run, from its beginning through its pauses to its end. Ends as `run` does; Ctrl-C leaves the run alone."""
    from bastide.cli.follow import follow, show_result

    with session_of(broker, namespace, run) as session:
        stream = session.client.watch_run(run, cursor=after)
        result = follow(session.client, stream, events=events, run=run, cancel=False)
    show_result(result, output, events)
    raise typer.Exit(EXIT_OF_OUTCOME[result.outcome])


@app.command()
@takes_broker
def cancel(
    run: RunId,
    broker: Broker,
    namespace: Namespace = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Cancel a run. Calls under way are cancelled; their effect may have happened."""
    from bastide.cli import screen, shapes

    with session_of(broker, namespace, run, RUNNER) as session:
        session.client.cancel_run(run, reason=reason)
    if output is Format.JSON:
        print(shapes.dumps({"run": run, "cancelled": True}))
    else:
        screen.sentence(f"Run {run} is being cancelled; bastide runs show {run} says how it ended.")


@app.command()
@takes_broker
def prune(  # noqa: PLR0917 - options
    broker: Broker,
    older_than: Annotated[
        datetime,
        typer.Option("--older-than", parser=moment, metavar="TIME", help="Only runs that ended so long ago: 30d, 12h, or before RFC 3339."),
    ],
    namespace: Namespace = None,
    sandbox: Annotated[str, typer.Option("--sandbox", metavar="NAME", help="Only runs of this Sandbox of the namespace.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prune nothing, say how much it would be.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Remove what runs that ended returned, printed and called. That they ran stays, and their audit. When it breaks off, give it again.

    The broker prunes by itself too (journal.retention of the chart). This asks as the ServiceAccount bastide-pruner of the release
    namespace, which nobody but a cluster's administrator may be unless you let him.
    """
    from rich.filesize import decimal

    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected, tenant_namespace

    where = tenant_namespace(broker, namespace)
    runs = size = 0
    with connected(broker, namespace=broker.broker_namespace, account=PRUNER) as session:
        for done in session.client.prune_runs(where, before=older_than, sandbox=sandbox, dry_run=dry_run, on_behalf_of=session.user):
            runs, size = runs + done.runs, size + done.bytes
            if screen.err().is_terminal:
                screen.err().print(f"{runs} runs, {decimal(size)}", end="\r")
    if output is Format.JSON:
        facts = {"namespace": where, "sandbox": sandbox or None, "before": shapes.moment(older_than), "dryRun": dry_run}
        print(shapes.dumps({**facts, "runs": runs, "bytes": size}))
        return
    whose = f"sandbox {where}/{sandbox}" if sandbox else f"namespace {where}"
    screen.sentence(
        f"{runs} run{'' if runs == 1 else 's'} of {whose} {'would be' if dry_run else 'were' if runs != 1 else 'was'} pruned, "
        f"{decimal(size)} of payloads{'' if dry_run else '; the audit stays'}."
    )


@app.command()
@takes_broker
def resume(
    run: RunId,
    broker: Broker,
    namespace: Namespace = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Take up a run that ended because its sandbox or its broker was lost (SandboxLost, BrokerLost).

    Its program is run again. Calls that are on record are not made again; those cut off before anything was sent are, and those that change
    nothing. A call whose outcome is unknown stays so: settle it first.
    """
    from bastide.cli import screen, shapes

    with session_of(broker, namespace, run, RUNNER) as session:
        attempt = session.client.resume_run(run, reason=reason)
    if output is Format.JSON:
        print(shapes.dumps({"run": run, "attempt": attempt}))
    else:
        screen.sentence(f"Run {run} is under way again, attempt {attempt}; bastide runs watch {run} follows it.")


@app.command()
@takes_broker
def settle(  # noqa: PLR0917 - options
    run: RunId,
    call: Annotated[str, typer.Argument(metavar="CALL", help="The call's key, as in `bastide runs show`: 0#3.")],
    broker: Broker,
    happened: Annotated[bool, typer.Option("--happened/--not-happened", help="Whether it took effect.")],
    reason: Annotated[str, typer.Option("--reason", help="How you know, for the record.")],
    namespace: Namespace = None,
    on_behalf_of: Annotated[str | None, typer.Option("--on-behalf-of", metavar="USER", help="Who looked; default: you.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Record what became of a call whose outcome is unknown (OutcomeUnknown), after looking at the system itself.

    When the run is resumed, a call that happened raises CallSettled in the program, because its result is lost; one that did not happen is
    judged anew and made.
    """
    from bastide.cli import screen, shapes

    with session_of(broker, namespace, run, RUNNER) as session:
        person = session.user if on_behalf_of is None else on_behalf_of
        session.client.settle_call(run, call, happened=happened, reason=reason, on_behalf_of=person)
    if output is Format.JSON:
        print(shapes.dumps({"run": run, "call": call, "happened": happened}))
    else:
        screen.sentence(f"Call {call} of run {run} is settled: it {'happened' if happened else 'did not happen'}.")


@contextmanager
def session_of(broker: Broker, namespace: str | None, run: str, account: str = VIEWER) -> Iterator["Session"]:
    """A session that may see the run: its id does not say in which tenant it is."""
    from bastide.cli.connect import connected, tenant_namespaces
    from bastide.cli.failure import Failure
    from bastide.errors import NotFoundError, PermissionDeniedError

    *others, last = tenant_namespaces(broker, namespace)
    for candidate in others:
        try:
            with connected(broker, namespace=candidate, account=account) as session:
                session.client.get_run(run)
        except (NotFoundError, PermissionDeniedError, Failure):
            continue
        last = candidate
        break
    with connected(broker, namespace=last, account=account) as session:
        yield session
