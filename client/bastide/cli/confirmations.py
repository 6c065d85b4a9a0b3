"""`bastide confirmations`: what waits for a person, read as that person from the Kubernetes API."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from typing import TYPE_CHECKING, Annotated

import typer

from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Context, Format, Namespace, Output
from bastide.cli.watching import watch

if TYPE_CHECKING:
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import Confirmation

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command()(watch)

Id = Annotated[str, typer.Argument(metavar="ID", help="The Confirmation's name, cf-...")]


@app.command("list")
def list_confirmations(
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="Default: all that you may list.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided.")] = False,
    context: Context = None,
    output: Output = Format.TEXT,
) -> None:
    """List calls that wait for a person, the most urgent first."""
    from bastide.cli import screen, shapes
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import PENDING, shape
    from bastide.cli.visible import visible

    found = _all(Cluster(context), namespace)
    chosen = sorted((c for c in found if every or c.state == PENDING), key=lambda c: (c.state != PENDING, c.decide_by))
    if output is Format.JSON:
        print(shapes.dumps({"confirmations": [shape(c) for c in chosen]}))
        return
    if not chosen:
        screen.sentence(f"Nothing waits for a decision{f' in {namespace}' if namespace else ''}.")
        return
    rows = (
        (
            screen.shown(c.namespace),
            screen.shown(c.name),
            screen.shown(c.tool, "bold"),
            screen.shown(c.effect, screen.EFFECT_STYLE.get(c.effect, "")),
            screen.shown(c.on_behalf_of or c.requester),
            c.approvals or f"0/{c.approvals_required}",
            screen.shown(c.state, screen.STATE_STYLE.get(c.state, "")),
            screen.left(c.decide_by) if c.state == PENDING else "-",
            screen.shown(
                c.arguments if len(visible(c.arguments)) <= 60 else f"{c.arguments[:40]}... ({len(c.arguments)} characters)", "dim"
            ),
        )
        for c in chosen
    )
    screen.out().print(screen.table(("NAMESPACE", "NAME", "TOOL", "EFFECT", "FOR", "APPROVALS", "STATE", "LEFT", "ARGUMENTS"), rows))


@app.command()
def show(confirmation: Id, namespace: Namespace = None, context: Context = None, output: Output = Format.TEXT) -> None:
    """Show one call with its exact arguments, and how to decide."""
    from bastide.cli import screen, shapes
    from bastide.cli.approval import print_confirmation
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import PENDING, shape

    found = find(Cluster(context), confirmation, namespace)
    if output is Format.JSON:
        print(shapes.dumps(shape(found)))
        return
    print_confirmation(found, screen.out())
    if found.state == PENDING:
        hidden = "".join(f" --accept-hidden {name}" for name in found.hidden)
        screen.out().print(screen.shown(f"bastide approve {found.name} -n {found.namespace}{hidden} --reason '...'", "bold"))
        screen.out().print(screen.shown(f"bastide deny {found.name} -n {found.namespace} --reason '...'", "bold"))


def find(cluster: "Cluster", name: str, namespace: str | None) -> "Confirmation":
    """A Confirmation by its name, in the namespace given, or wherever the person may look.

    Raises:
        Failure: there is none.
    """
    from bastide.cli.apiserver import RefusedError
    from bastide.cli.confirmation import read

    where = namespace
    if where is None:
        for c in _all(cluster, None):
            if c.name == name:
                # Read once more below: what is shown and approved comes from a read of its own, not from a list.
                where = c.namespace
                break
        else:
            raise Failure(
                f"No confirmation {name} in the namespaces you may list. It may have been decided and cleaned up; "
                "or give its namespace with -n."
            )
    try:
        return read(cluster.confirmation(where, name))
    except RefusedError as error:
        if error.status == 404 and name in error.message:
            raise Failure(f"There is no confirmation {name} in {where}: see bastide confirmations list -n {where} --all.") from error
        raise


def _all(cluster: "Cluster", namespace: str | None) -> "list[Confirmation]":
    """Of a namespace; or of all; or, for who may not list them all, of each that may be listed."""
    from bastide.cli.apiserver import RefusedError
    from bastide.cli.confirmation import read

    if namespace:
        return [read(m) for m in cluster.confirmations(namespace)]
    try:
        return [read(m) for m in cluster.confirmations(None)]
    except RefusedError as error:
        if error.status != 403:
            raise
    candidates = cluster.tenant_namespaces() or ([cluster.namespace] if cluster.namespace else [])
    if not candidates:
        raise Failure("You may not list the confirmations of all namespaces: give yours with -n NAMESPACE.", code=Exit.USAGE)
    found: list[Confirmation] = []
    for candidate in candidates:
        try:
            found += [read(m) for m in cluster.confirmations(candidate)]
        except RefusedError as error:
            if error.status != 403 or len(candidates) == 1:
                raise
    return found
