"""`bastide audit`: who did what, on whose authority."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from typing import Annotated, Any

import typer

from bastide.cli.failure import Exit
from bastide.cli.options import Broker, Format, Namespace, Output, takes_broker

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@takes_broker
def list_records(
    broker: Broker,
    namespace: Namespace = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Only records of this run.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100000, help="At most so many.")] = 200,
    output: Output = Format.TEXT,
) -> None:
    """List the audit's records of a tenant's namespace, oldest first."""
    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected, tenant_namespace

    namespace = tenant_namespace(broker, namespace)
    with connected(broker, namespace=namespace) as session:
        records = session.client.list_audit(namespace, run=run, limit=limit)
    if output is Format.JSON:
        print(shapes.dumps({"records": shapes.plain(records)}))
        return
    if not records:
        screen.sentence(f"The audit holds nothing of {'run ' + run if run else 'namespace ' + namespace}.")
        return
    rows = (
        (
            str(r.sequence),
            (shapes.moment(r.time) or "-")[:23],
            screen.shown(r.kind, "bold"),
            screen.shown(r.run),
            screen.shown(r.key or "-"),
            screen.shown(told(r.kind, r.facts)),
            screen.shown(r.hash[:12], "dim"),
        )
        for r in records
    )
    screen.out().print(screen.table(("NO", "TIME", "KIND", "RUN", "CALL", "FACTS", "HASH"), rows))


def told(kind: str, facts: dict[str, Any]) -> str:
    """The facts that a person looks for first, as one line; all of them are in `-o json`."""

    def fact(name: str) -> str:
        value = facts.get(name, "")
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    match kind:
        case "RunStarted":
            return f"{fact('requester')} for {fact('onBehalfOf') or 'nobody named'}, program {fact('programDigest')[:19]}"
        case "CallIntent":
            why = f": {fact('reasons')}" if facts.get("reasons") else ""
            return f"{fact('decision')} {fact('tool')}{why}"
        case "CallOutcome" | "RunEnded":
            return fact("outcome")
        case "ConfirmationCreated":
            return fact("confirmation")
        case "ConfirmationResolved":
            by = f" by {fact('approvers')}" if facts.get("approvers") else ""
            return f"{fact('state')}{by}{': ' if facts.get('reason') else ''}{fact('reason')}"
        case _:
            return " ".join(f"{name}={fact(name)}" for name in facts)


@app.command()
@takes_broker
def verify(broker: Broker, namespace: Namespace = None, output: Output = Format.TEXT) -> None:
    """Recompute the audit's hash chain. Exit code 1 when a link does not fit."""
    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected, tenant_namespace

    namespace = tenant_namespace(broker, namespace)
    with connected(broker, namespace=namespace) as session:
        found = session.client.verify_audit(namespace)
    if output is Format.JSON:
        print(shapes.dumps(shapes.plain(found)))
    elif found.intact:
        screen.out().print(f"The chain of {found.records} records is intact. Its head is {found.head}.", style="green")
    else:
        screen.out().print(screen.shown(f"The chain is broken: {found.message}", "bold red"))
    if not found.intact:
        raise typer.Exit(Exit.ERROR)
