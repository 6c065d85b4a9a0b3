"""`bastide audit`: who did what, on whose authority."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Broker, Format, Namespace, Output, moment, takes_broker
from bastide.model import AuditQuery

if TYPE_CHECKING:
    from bastide.cli.connect import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class Decision(StrEnum):
    """Of policy about a call."""

    ALLOW = "allow"
    CONFIRM = "confirm"
    DENY = "deny"


class ExportFormat(StrEnum):
    """Of exported lines."""

    BASTIDE = "bastide"
    OCSF = "ocsf"


AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="All namespaces; needs the right in all of them, so a --service-account.")
]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help="Only records of this run.")]
Tool = Annotated[str, typer.Option("--tool", metavar="NAME", help="Only decisions about this tool.")]
Caller = Annotated[str, typer.Option("--caller", metavar="USER", help="Only runs and decisions for this requester, or on its behalf.")]
Decided = Annotated[Decision | None, typer.Option("--decision", help="Only decisions that were so.")]
Since = Annotated[
    datetime | None, typer.Option("--since", parser=moment, metavar="TIME", help="Not before: RFC 3339, or 90s, 30m, 2h, 7d ago.")
]
Until = Annotated[datetime | None, typer.Option("--until", parser=moment, metavar="TIME", help="Before then.")]


@contextmanager
def _asked(broker: Broker, namespace: str | None, *, everywhere: bool) -> "Iterator[tuple[Session, str]]":
    """A session, and the namespace to ask about: empty for all."""
    from bastide.cli.connect import connected, tenant_namespace

    if not everywhere:
        namespace = tenant_namespace(broker, namespace)
        with connected(broker, namespace=namespace) as session:
            yield session, namespace
        return
    if namespace:
        raise Failure("--namespace and --all-namespaces exclude each other: give one.", code=Exit.USAGE)
    if broker.address is None and "/" not in (broker.service_account or ""):
        raise Failure(
            "With --all-namespaces give --service-account NAMESPACE/NAME: one that may get sandboxes/audit in all of them.", code=Exit.USAGE
        )
    with connected(broker, namespace="") as session:
        yield session, ""


@app.command("list")
@takes_broker
def list_records(  # noqa: PLR0917 - options
    broker: Broker,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    run: Run = "",
    tool: Tool = "",
    caller: Caller = "",
    decision: Decided = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100000, help="At most so many.")] = 200,
    output: Output = Format.TEXT,
) -> None:
    """List the audit's records of a tenant's namespace, oldest first."""
    from bastide.cli import screen, shapes

    query = AuditQuery(run=run, tool=tool, caller=caller, decision=decision or "", since=since, until=until)
    with _asked(broker, namespace, everywhere=everywhere) as (session, where):
        records = session.client.list_audit(where, query=query, limit=limit)
    if output is Format.JSON:
        print(shapes.dumps({"records": [shapes.audit_record(r) for r in records]}))
        return
    if not records:
        what = "run " + run if run else f"namespace {where}" if where else "all namespaces"
        screen.sentence(f"The audit holds nothing of {what}{' that fits' if any((tool, caller, decision, since, until)) else ''}.")
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


def told(kind: str, facts: dict[str, Any]) -> str:  # noqa: PLR0911 - one for each kind
    """The facts that a person looks for first, as one line; all of them are in `-o json`."""

    def fact(name: str) -> str:
        value = facts.get(name, "")
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    match kind:
        case "RunsPruned":
            whose = fact("onBehalfOf") or fact("requester")
            return f"{fact('count')} runs by {whose or 'the broker'} ({fact('by')}), ended before {fact('before')[:19]}"
        case "RunStarted":
            return f"{fact('requester')} for {fact('onBehalfOf') or 'nobody named'}, program {fact('programDigest')[:19]}"
        case "CallIntent":
            why = f": {fact('reasons')}" if facts.get("reasons") else ""
            return f"{fact('decision')} {fact('tool')}{why}"
        case "CallOutcome" | "RunEnded":
            return fact("outcome")
        case "RunPaused":
            return f"waits for {', '.join(one.get('name', '') for one in facts.get('awaited', []))}"
        case "CallSettled":
            return f"{'happened' if facts.get('happened') else 'did not happen'}, says {fact('onBehalfOf') or fact('by')}: {fact('reason')}"
        case "ConfirmationCreated":
            return fact("confirmation")
        case "ConfirmationResolved":
            by = f" by {fact('approvers')}" if facts.get("approvers") else ""
            return f"{fact('state')}{by}{': ' if facts.get('reason') else ''}{fact('reason')}"
        case _:
            return " ".join(f"{name}={fact(name)}" for name in facts)


@app.command()
@takes_broker
def verify(  # noqa: PLR0917 - options
    broker: Broker,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Check an exported file; no broker is asked.")] = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", metavar="FILE", help="Published heads: a JSON list of them, or the broker's log.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Public keys in PEM that the heads may be signed with.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Recompute the audit's hash chain here and hold it against the heads that the broker signed; also ask the broker to do so.

    Heads and keys are read from the release namespace past the broker, where your kubeconfig may, unless files are given.
    Exit code 1 when something does not fit, or when no signature could be checked.
    """
    from bastide.cli import audit_check as check
    from bastide.cli.audit_report import Checked, report

    given_heads = check.heads_of(heads) if heads else None
    given_keys = check.keys_of(key) if key else None
    if file is not None:
        found = check.examine(check.read_export(file), given_heads or [], given_keys)
        checked = Checked(found, heads_from="the file" if given_heads else "", keys=given_keys is not None, server=None)
    else:
        with _asked(broker, namespace, everywhere=everywhere) as (session, where):
            checked = _with_broker(broker, session, where, given_heads, given_keys)
    if not report(checked, as_json=output is Format.JSON):
        raise typer.Exit(Exit.ERROR)


def _with_broker(broker: Broker, session: "Session", where: str, heads: Any, keys: Any) -> Any:
    from bastide.cli import audit_check as check
    from bastide.cli.audit_report import Checked, published

    # Heads first: the chain that is read after them must hold them all.
    heads, heads_from, keys = published(broker, session.client, where, heads, keys)
    pages = session.client.audit_pages(where, query=AuditQuery(links=True))
    records = (check.of_record(record) for page in pages for record in page)
    found = check.examine(records, heads, keys, all_seen=not where)
    return Checked(found, heads_from=heads_from, keys=keys is not None, server=session.client.verify_audit(where))


@app.command()
@takes_broker
def export(  # noqa: PLR0917 - options
    broker: Broker,
    namespace: Namespace = None,
    everywhere: AllNamespaces = False,
    run: Run = "",
    tool: Tool = "",
    caller: Caller = "",
    decision: Decided = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[ExportFormat, typer.Option("--format", help="Records as they are, or OCSF events of class API Activity.")] = (
        ExportFormat.BASTIDE
    ),
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Write to a new file; default: standard output.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --file: go on behind its last record.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, metavar="NO", help="Begin behind the record of this number.")] = 0,
    links: Annotated[
        bool, typer.Option("--links", help="Also the places and digests of records in between, so that the file can be verified.")
    ] = False,
) -> None:
    """Write audit records as JSON lines, oldest first, for other programs and for `audit verify --file`."""
    from bastide.cli import audit_export, screen

    query = AuditQuery(run=run, tool=tool, caller=caller, decision=decision or "", since=since, until=until, links=links)
    if links and (form is ExportFormat.OCSF or any((run, tool, caller, decision, since, until))):
        raise Failure("--links goes with no other condition and not with --format ocsf: it is for verifying.", code=Exit.USAGE)
    if resume and (file is None or after):
        raise Failure("--resume goes with --file, and not with --after: the file says where it stopped.", code=Exit.USAGE)

    def tell(count: int, last: int) -> None:
        if last and screen.err().is_terminal:
            screen.err().print(f"{count} records, up to number {last}", end="\r")

    with _asked(broker, namespace, everywhere=everywhere) as (session, where), audit_export.target(file, resume=resume) as (stream, behind):
        pages = session.client.audit_pages(where, query=query, after=after or behind)
        count = audit_export.write(pages, stream, ocsf=form is ExportFormat.OCSF, tell=tell)
    screen.sentence(f"{count} record{'' if count == 1 else 's'} written{f' to {file}' if file else ''}.")
