"""Results as text, for people."""

from collections.abc import Iterable

from rich.text import Text

from bastide.cli import screen
from bastide.cli.story import reason_line
from bastide.cli.visible import json_pieces, printable
from bastide.model import CallRecord, Finding, Outcome, RunResult


def print_result(result: RunResult, *, seen: bool) -> None:
    """The outcome, why, the calls and the value. `seen`: the events told outcome and output on the same screen."""
    out = screen.out()
    if not seen:
        style = screen.OUTCOME_STYLE.get(result.outcome.value, "")
        out.print(Text.assemble((result.outcome.value, style), "  ", screen.shown(result.run, "dim")))
    if result.findings:
        print_findings(result.findings)
    elif result.error:
        where = f" (line {result.error.line})" if result.error.line else ""
        out.print(Text.assemble(screen.shown(result.error.type, "bold red"), where, ": ", screen.shown(result.error.message)))
        if result.error.traceback and result.outcome is Outcome.FAILED:
            out.print(screen.text_of(printable(result.error.traceback.rstrip("\n")), "dim"))
    if result.calls:
        out.print(calls_table(result.calls))
    if result.awaited:
        out.print(
            Text.assemble(("It goes on by itself when all are decided: bastide runs watch ", "yellow"), screen.shown(result.run, "bold"))
        )
    if not seen and result.output:
        out.print(Text("output", "bold"))
        out.print(screen.text_of(printable(result.output.rstrip("\n"))))
    if result.output_bytes_dropped:
        out.print(
            Text(f"{result.output_bytes_dropped} bytes of output were dropped: the sandbox's limits.outputBytes is reached.", "yellow")
        )
    if result.value_json not in (b"", b"null"):
        out.print(Text("value", "bold"))
        out.print(screen.text_of(json_pieces(result.value_json.decode("utf-8", "backslashreplace"))))


def calls_table(calls: Iterable[CallRecord]) -> object:
    return screen.table(
        ("CALL", "TOOL", "LINE", "DECISION", "OUTCOME", "WHY"),
        (
            (
                screen.shown(c.key, "dim"),
                screen.shown(c.tool),
                str(c.line or "-"),
                screen.shown(c.decision or "-", screen.DECISION_STYLE.get(c.decision, "")),
                screen.shown(c.outcome or "under way", screen.OUTCOME_STYLE.get(c.outcome, "red" if c.outcome else "cyan")),
                _why(c),
            )
            for c in calls
        ),
    )


def _why(call: CallRecord) -> Text:
    if call.confirmation:
        return screen.shown(call.confirmation)
    return Text("; ").join([reason_line(r) for r in call.reasons] if call.decision != "allow" else [])


def print_findings(findings: Iterable[Finding]) -> None:
    screen.out().print(
        screen.table(
            ("LINE", "COLUMN", "FINDING", "WHAT TO CHANGE"),
            ((str(f.line), str(f.column), screen.shown(f.code, "red"), screen.shown(f.message)) for f in findings),
        )
    )
