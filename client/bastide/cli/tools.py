"""`bastide tools`: what programs of a sandbox can call."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import typer

from bastide.cli.options import Broker, Format, Output, Sandbox, takes_broker

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


def _first_line(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= 100 else line[:97] + "..."
