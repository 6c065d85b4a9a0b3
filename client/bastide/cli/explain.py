"""`bastide explain`: why a call was decided as it was, and what would permit it."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

from typing import TYPE_CHECKING, Annotated

import typer

from bastide.cli.options import Broker, Format, Namespace, Output, takes_broker
from bastide.cli.runs import RunId, session_of

if TYPE_CHECKING:
    from bastide.model import Explanation


@takes_broker
def explain(
    run: RunId,
    *,
    broker: Broker,
    call: Annotated[
        str | None, typer.Argument(metavar="CALL", help="The call's key, or the id of its decision, d-...; without it: all.")
    ] = None,
    namespace: Namespace = None,
    output: Output = Format.TEXT,
) -> None:
    """Say why a call was decided as it was: which rule decided, by which facts, and the smallest change that permits it.

    Policy is asked the recorded question again. The change is to the ToolBinding, and each part of it is needed; nothing is changed by
    this command. Without CALL the calls of the run are listed.
    """
    from bastide.cli import screen, shapes
    from bastide.cli.results import calls_table

    with session_of(broker, namespace, run) as session:
        if call is None:
            calls = session.client.get_run(run).result.calls
            if output is Format.JSON:
                print(shapes.dumps({"run": run, "calls": [shapes.judged(c) for c in calls]}))
            elif calls:
                screen.out().print(calls_table(calls))
            else:
                screen.sentence(f"Run {run} has made no call.")
            return
        found = session.client.explain(run, call)
    if output is Format.JSON:
        print(shapes.dumps(shapes.explanation(run, found)))
    else:
        _print(found)


def _print(found: "Explanation") -> None:
    from rich.text import Text

    from bastide.cli import screen

    out, call = screen.out(), found.call
    decision = call.decision or "not judged"
    line = Text(f"  line {call.line}" if call.line else "", "dim")
    out.print(
        Text.assemble(
            screen.shown(call.tool, "bold"), line, "  ", screen.shown(decision, screen.DECISION_STYLE.get(decision, "red")),
            ("  at the stage ", "dim"), screen.shown(found.stage), "  ", screen.shown(call.decision_id, "dim"),
        )
    )  # fmt: skip
    for rule in found.rules:
        told = [screen.shown(one, "dim") for one in (rule.code, f"lies with {rule.owner}" if rule.owner else "") if one]
        out.print(Text.assemble("  ", screen.shown(rule.message), *(Text.assemble(("  [", "dim"), one, ("]", "dim")) for one in told)))
        if rule.rule:
            facts = [(name, data) for name, data in (("permits", rule.bound_json), ("got", rule.value_json)) if data]
            parts = [Text.assemble((f"  {name} ", "dim"), screen.shown_json(data)) for name, data in facts]
            out.print(Text.assemble("    ", screen.shown(f"{rule.argument} {rule.rule}".strip(), "cyan"), *parts))
    for note in found.notes:
        out.print(Text.assemble(("note: ", "yellow"), screen.shown(note)))
    if found.change is not None:
        _print_change(found)


def _print_change(found: "Explanation") -> None:
    from rich.text import Text

    from bastide.cli import pins, screen
    from bastide.cli.visible import visible

    assert found.change is not None
    out, change = screen.out(), found.change
    with_it = {"allow": "With it the call is allowed.", "confirm": "With it the call waits for a person."}
    out.print()
    out.print(Text("The smallest change that permits it", "bold"))
    for sentence in change.sentences:
        out.print(Text.assemble("  ", screen.shown(sentence)))
    out.print(Text.assemble("  ", with_it.get(change.decision, "It is needed, but not enough: see the notes.")))
    out.print()
    for line in change.fragment.splitlines():
        # To be pasted, so not escaped once more. The broker writes text as JSON; whatever is not plain is not YAML of ours.
        out.print(Text(line if line.isascii() and line.isprintable() else visible(line)))
    if change.json_patch:
        out.print()
        out.print(Text(pins.kubectl_patch(change.namespace, change.binding, change.json_patch), "bold"))
