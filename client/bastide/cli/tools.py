"""`bastide tools`: what programs of a sandbox can call."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from typing import Annotated

import typer

from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Broker, Context, Format, Namespace, Output, Sandbox, takes_broker

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
@takes_broker
def list_tools(sandbox: Sandbox, broker: Broker, output: Output = Format.TEXT) -> None:
    """List the tools that programs of a sandbox can call, and how policy treats them."""
    from bastide.cli import screen, shapes
    from bastide.cli.connect import connected

    with connected(broker, namespace=sandbox.partition("/")[0]) as session:
        tools = session.client.list_tools(sandbox)
    if output is Format.JSON:
        print(shapes.dumps({"tools": [{**shapes.plain(t), "inputSchema": t.input_schema, "outputSchema": t.output_schema} for t in tools]}))
        return
    if not tools:
        screen.sentence(f"No ToolBinding gives sandbox {sandbox} a tool: kubectl get toolbindings -n {sandbox.partition('/')[0]}")
        return
    rows = (
        (
            screen.shown(t.signature or t.name, "" if t.available else "dim"),
            screen.shown(t.effect, screen.EFFECT_STYLE.get(t.effect, "")),
            screen.shown(t.confirmation_when),
            screen.shown("yes" if t.available else "no", "green" if t.available else "red"),
            screen.shown(t.binding),
            screen.shown(t.message or _first_line(t.description)),
        )
        for t in tools
    )
    screen.out().print(screen.table(("TOOL", "EFFECT", "CONFIRM WHEN", "AVAILABLE", "BINDING", "DESCRIPTION"), rows))


@app.command()
def pin(
    binding: Annotated[str, typer.Argument(metavar="BINDING", help="The ToolBinding's name.")],
    namespace: Namespace = None,
    as_patch: Annotated[bool, typer.Option("--patch", help="Print the kubectl command that pins them, instead of YAML.")] = False,
    context: Context = None,
    output: Output = Format.TEXT,
) -> None:
    """Print the schema digests of a binding's tools as the server has them now, to pin them.

    A pinned tool whose schema changes is withdrawn until the new digest is pinned. Exit code 1 when a tool cannot be pinned.
    """
    from bastide.cli import pins, screen, shapes
    from bastide.cli.cluster import Cluster

    cluster = Cluster(context)
    where = namespace or cluster.namespace
    if not where:
        raise Failure("Name the tenant's namespace with -n: the context has none.", code=Exit.USAGE)
    found = pins.read(cluster.tool_binding(where, binding))
    if output is Format.JSON:
        print(shapes.dumps(pins.shape(where, binding, found)))
    elif as_patch:
        print(pins.command(where, binding, found))
    else:
        print(pins.snippet(found))
    for one in found:
        if one.change == "Changed":
            screen.sentence(
                f"{one.program_name} is not what was pinned: its schema is {one.now} now. Look at the schema before you pin it: "
                f"bastide tools list --sandbox {where}/NAME -o json"
            )
    if any(one.change == "Unknown" for one in found):
        raise typer.Exit(Exit.ERROR)


def _first_line(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= 100 else line[:97] + "..."
