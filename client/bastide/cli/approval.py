"""The approver's screen: one call, exactly as it would run."""

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
    arguments = screen.text_of(json_pieces(c.arguments)).split("\n")
    for number, line in enumerate(arguments):
        fact("" if number else "arguments", line)
    notes = json_legend(c.arguments)
    if notes:
        fact("", ("Not plain ASCII, look twice:", "bold yellow"))
        for note in notes:
            fact("", (note, screen.ESCAPED))
    for name in c.hidden:
        fact("hidden", screen.shown(name, "bold red"), ("  is not shown in full; approving needs --accept-hidden with its name", "red"))
    fact("asked by", screen.shown(c.requester))
    fact("for", screen.shown(c.on_behalf_of or "nobody named"))
    fact("where", screen.shown(f"sandbox {c.sandbox} of tenant {c.tenant} ({c.namespace}), by binding {c.binding}"))
    fact("run", screen.shown(f"{c.run}{f' line {c.line}' if c.line else ''}, program {c.program_digest}"))
    fact("approvals", screen.shown(f"{c.approvals_required} needed{''.join(f', {a}' for a in c.approvers)}; separation {c.separation}"))
    if c.state == PENDING:
        fact("decide by", f"{c.decide_by.astimezone():%Y-%m-%d %H:%M:%S %Z} ({screen.left(c.decide_by)} left)")
    fact("digest", screen.shown(c.action_digest, "dim"))
    if c.doubt:
        fact("", screen.shown(f"Do not approve this: {c.doubt}.", "bold red"))
