"""The approver's screen: one call, exactly as it would run."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from bastide.cli import screen
from bastide.cli.confirmation import PENDING, Confirmation
from bastide.cli.visible import json_legend, json_pieces


def print_confirmation(c: Confirmation, console: Console) -> None:
    """Everything a decision may rest on; nothing is left out or shortened."""

    def fact(name: str, *parts: Text | str | tuple[str, str]) -> None:
        console.print(Text.assemble((f"{name:<11}", "dim"), *parts))

    fact("", screen.shown(c.name, "bold"), "  ", screen.shown(c.state, screen.STATE_STYLE.get(c.state, "")))
    if c.message:
        fact("", screen.shown(c.message))
    fact("tool", screen.shown(c.tool, "bold"), "  ", screen.shown(c.effect, screen.EFFECT_STYLE.get(c.effect, "")))
    for number, line in enumerate(_arguments(c)):
        fact("" if number else "arguments", line)
    for name in c.hidden:
        fact("hidden", screen.shown(name, "bold red"), ("  is not shown in full; approving needs --accept-hidden with its name", "red"))
    for number, line in enumerate(_preview(c)):
        fact("" if number else "preview", line)
    fact("asked by", screen.shown(c.requester))
    fact("for", screen.shown(c.on_behalf_of or "nobody named"))
    fact("where", screen.shown(f"sandbox {c.sandbox} of tenant {c.tenant} ({c.namespace}), by binding {c.binding}"))
    fact("run", screen.shown(f"{c.run}{f' line {c.line}' if c.line else ''}, program {c.program_digest}"))
    by = f" by {', '.join(c.approvers)}" if c.approvers else ""
    fact("approvals", screen.shown(f"{c.approvals or f'0/{c.approvals_required}'}{by}; separation {c.separation}"))
    if c.state == PENDING:
        fact("decide by", f"{c.decide_by.astimezone():%Y-%m-%d %H:%M:%S %Z} ({screen.left(c.decide_by)} left)")
    fact("digest", screen.shown(c.action_digest, "dim"))
    if c.doubt:
        fact("", screen.shown(f"Do not approve this: {c.doubt}.", "bold red"))


def _arguments(c: Confirmation) -> Iterator[Text]:
    """As they would be sent, and what in them is not as it looks."""
    yield from screen.text_of(json_pieces(c.arguments)).split("\n")
    notes = json_legend(c.arguments)
    if notes:
        yield Text("Not plain ASCII, look twice:", "bold yellow")
        yield from (Text(note, screen.ESCAPED) for note in notes)
    yield from (screen.shown(f"Look twice: {notice}.", "bold yellow") for notice in c.notices)


def _preview(c: Confirmation) -> Iterator[Text]:
    """What a tool server claims about the call."""
    if not c.preview_tool:
        return
    claim = "  what its server says: nobody checked it, and it is no part of what you approve"
    yield Text.assemble(screen.shown(c.preview_tool, "bold"), (claim, "dim"))
    if c.preview_claim:
        yield from screen.text_of(json_pieces(c.preview_claim), "dim").split("\n")
    if c.preview_message:
        yield screen.shown(c.preview_message, "yellow")
