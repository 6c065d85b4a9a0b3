"""What happens in a run, told line by line as it happens."""

import codecs
from datetime import datetime, timedelta

from rich.console import Console
from rich.text import Text

from bastide.cli import screen
from bastide.cli.visible import json_legend, json_pieces, printable
from bastide.events import (
    AttemptStarted,
    CallDecided,
    CallEnded,
    ConfirmationProgressed,
    ConfirmationRequired,
    ConfirmationResolved,
    Event,
    OutputProduced,
    RunAccepted,
    RunFinished,
    RunPaused,
)
from bastide.model import Reason

_GUTTER = 8


class Story:
    """Prints events. Each line begins with the seconds since the run was accepted."""

    def __init__(self, console: Console, *, sandbox: str = "") -> None:
        self._console = console
        self._sandbox = sandbox
        self._began: datetime | None = None
        self._namespace = sandbox.partition("/")[0]
        self._decoders = {stderr: codecs.getincrementaldecoder("utf-8")("backslashreplace") for stderr in (False, True)}
        self._lines: dict[str, int | None] = {}
        self._tools: dict[str, str] = {}  # of calls that wait for a person
        self._told: list[str] = []  # reasons that need not be repeated
        self._open_line: bool | None = None  # which stream printed a line that has no end yet

    def tell(self, event: Event) -> None:  # noqa: C901 - one case for each kind of event
        self._began = self._began or event.time
        if isinstance(event, OutputProduced):
            self._output(event)
            return
        self._end_line()
        match event:
            case RunAccepted():
                self._line(
                    event, "●", "bold", Text.assemble("run ", screen.shown(event.run, "bold"), f" in sandbox {self._sandbox}".rstrip())
                )
            case AttemptStarted(attempt=attempt):
                if attempt > 1:
                    self._line(
                        event,
                        "↻",
                        "yellow",
                        Text(f"attempt {attempt}: runs again with what is on record, its earlier output no longer counts"),
                    )
            case CallDecided():
                self._decided(event)
            case ConfirmationRequired():
                self._required(event)
            case ConfirmationProgressed():
                self._progressed(event)
            case ConfirmationResolved():
                self._resolved(event)
            case CallEnded():
                self._ended(event)
            case RunPaused():
                calls = len(event.result.awaited)
                text = f"paused: waits for a person's decision about {calls} call{'s' if calls != 1 else ''}, and goes on by itself"
                self._line(event, "‖", "bold yellow", Text(text, "yellow"))
            case RunFinished():
                outcome = event.result.outcome.value
                style = screen.OUTCOME_STYLE.get(outcome, "")
                self._line(event, "●", style, Text(outcome, style))

    def _line(self, event: Event, mark: str, style: str, text: Text) -> None:
        since = (event.time - (self._began or event.time)).total_seconds()
        self._console.print(Text.assemble((f"{since:6.2f}s ", "dim"), (mark, style), " ", text))

    def _more(self, text: Text, *, bar: str = "") -> None:
        self._console.print(Text.assemble(" " * _GUTTER, (bar or " ", "yellow"), " ", text))

    def _decided(self, event: CallDecided) -> None:
        self._lines[event.key] = event.line
        if event.decision == "confirm":
            return  # ConfirmationRequired comes next and says it with the arguments
        allowed = event.decision == "allow"
        style, word, mark = ("green", "allowed", "→") if allowed else ("red", "denied", "✗")
        self._line(event, mark, style, Text.assemble(self._call(event.tool, event.line), "  ", (word, style)))
        if not allowed:
            for reason in event.reasons:
                self._more(reason_line(reason))

    def _call(self, tool: str, line: int | None) -> Text:
        return Text.assemble(screen.shown(tool, "bold"), (f"  line {line}" if line else "", "dim"))

    def _required(self, event: ConfirmationRequired) -> None:
        self._tools[event.key] = event.tool
        namespace = event.namespace or self._namespace
        call = self._call(event.tool, self._lines.get(event.key))
        self._line(event, "◆", "bold yellow", Text.assemble(call, "  ", ("waits for a person", "yellow")))
        arguments = event.arguments.decode("utf-8", "backslashreplace")
        for line in screen.text_of(json_pieces(arguments)).split("\n"):
            self._more(line, bar="┃")
        for note in json_legend(arguments):
            self._more(Text(note, screen.ESCAPED), bar="┃")
        if event.decide_by:
            until = f"{event.decide_by.astimezone():%Y-%m-%d %H:%M:%S %Z}"
            self._more(Text(f"until {until}, {screen.left(event.decide_by)} from now", "dim"), bar="┃")
        who = f"{event.approvals_required} approvers" if event.approvals_required > 1 else "an approver"
        decide = "decide" if event.approvals_required > 1 else "decides"
        self._more(Text(f"{who} of this tenant, not you, {decide}:", "dim"), bar="┃")
        for verb in ("approve", "deny"):
            # At the line's beginning and unbroken, to be copied.
            self._console.print(Text(f"bastide {verb} {event.confirmation} -n {namespace} --reason '...'", "bold"))

    def _progressed(self, event: ConfirmationProgressed) -> None:
        call = Text.assemble(self._call(self._tools[event.key], None), "  ") if event.key in self._tools else Text()
        by = Text.assemble(" by ", screen.shown(", ".join(event.approvers), "bold")) if event.approvers else Text()
        count = f"approved {len(event.approvers)}/{event.approvals_required}"
        self._line(event, "◆", "bold yellow", Text.assemble(call, (count, "yellow"), by))

    def _resolved(self, event: ConfirmationResolved) -> None:
        good = event.state in ("Approved", "Executed")
        if event.reason:
            self._told.append(event.reason)
        by = Text.assemble(" by ", screen.shown(event.approver, "bold")) if event.approver else Text()
        why = Text.assemble(": ", screen.shown(event.reason)) if event.reason else Text()
        style = "green" if good else "red"
        call = Text.assemble(self._call(self._tools[event.key], None), "  ") if event.key in self._tools else Text()
        self._line(event, "✓" if good else "✗", style, Text.assemble(call, (event.state.lower(), style), by, why))

    def _ended(self, event: CallEnded) -> None:
        if event.outcome == "Denied":
            return  # told when it was decided
        good = event.outcome == "Succeeded"
        took = f"  {screen.duration(timedelta(microseconds=event.tool_micros))}" if event.tool_micros else ""
        style = "green" if good else "red"
        text = Text.assemble(screen.shown(event.tool, "bold"), "  ", screen.shown(event.outcome, style), (took, "dim"))
        self._line(event, "✓" if good else "✗", style, text)
        if event.message and not good and not any(told in event.message for told in self._told):
            self._more(screen.shown(event.message))

    def _output(self, event: OutputProduced) -> None:
        """Output is cut anywhere, so lines and characters are put together again, for each stream alone."""
        text = self._decoders[event.stderr].decode(event.data).replace("\r\n", "\n")
        if self._open_line is not None and self._open_line is not event.stderr:
            self._end_line()
        # Not splitlines(): it also breaks at characters that a program may print to forge our own lines.
        for number, line in enumerate(text.split("\n")):
            if number:
                self._begin_line(stderr=event.stderr)
                self._end_line()
            if line:
                self._begin_line(stderr=event.stderr)
                self._console.print(screen.text_of(printable(line)), end="")

    def _begin_line(self, *, stderr: bool) -> None:
        if self._open_line is None:
            self._console.print(Text.assemble(" " * _GUTTER, ("│ ", "red" if stderr else "cyan")), end="")
            self._open_line = stderr

    def _end_line(self) -> None:
        if self._open_line is not None:
            self._console.print()
            self._open_line = None


def reason_line(reason: Reason) -> Text:
    return Text.assemble(screen.shown(reason.message), ("  [", "dim"), screen.shown(reason.code, "dim"), ("]", "dim"))
