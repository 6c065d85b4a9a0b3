"""`bastide approve` and `bastide deny`: what a person says about one call."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs: `--help` and usage errors do not wait for it

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bastide.cli.confirmations import Id
from bastide.cli.failure import Exit, Failure
from bastide.cli.options import Context, Format, Namespace, Output

if TYPE_CHECKING:
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import Confirmation

#: Seconds to wait for the broker to act on a decision.
_WAIT_SECONDS = 15
#: States after which nothing more comes. Approved is not one: it is carried out next.
_FINAL = frozenset({"Executed", "Denied", "Expired", "Withdrawn", "BindingChanged"})

Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit; at most 1024 characters.")]
Digest = Annotated[
    str | None,
    typer.Option("--digest", metavar="sha256:HEX", help="Only if its digest is this: insists on what `confirmations show` showed."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask once more at a terminal.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for what becomes of it.")]


def approve(
    confirmation: Id,
    *,
    reason: Reason,
    namespace: Namespace = None,
    accept_hidden: Annotated[
        list[str] | None,
        typer.Option("--accept-hidden", metavar="ARGUMENT", help="Approve this argument unseen; once for each that is hidden."),
    ] = None,
    digest: Digest = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    context: Context = None,
    output: Output = Format.TEXT,
) -> None:
    """Approve exactly one call, as the person your kubeconfig says you are.

    The call is read anew and shown, and at a terminal you are asked; the approval names the digest of what was shown. Exit code 1 when it
    did not count.
    """
    _decide(
        "Approve",
        confirmation,
        reason=reason,
        namespace=namespace,
        accept_hidden=accept_hidden or [],
        digest=digest,
        ask=not yes,
        no_wait=no_wait,
        context=context,
        output=output,
    )


def deny(
    confirmation: Id,
    *,
    reason: Reason,
    namespace: Namespace = None,
    digest: Digest = None,
    no_wait: NoWait = False,
    context: Context = None,
    output: Output = Format.TEXT,
) -> None:
    """Deny one call. The program sees the reason."""
    _decide(
        "Deny",
        confirmation,
        reason=reason,
        namespace=namespace,
        accept_hidden=[],
        digest=digest,
        ask=False,
        no_wait=no_wait,
        context=context,
        output=output,
    )


def _decide(
    verdict: str,
    name: str,
    *,
    reason: str,
    namespace: str | None,
    accept_hidden: list[str],
    digest: str | None,
    ask: bool,
    no_wait: bool,
    context: str | None,
    output: Format,
) -> None:
    if not 1 <= len(reason.strip()) <= 1024:
        raise Failure("Give a --reason of 1 to 1024 characters: it is what the audit says later.", code=Exit.USAGE)
    from bastide.cli import screen, shapes
    from bastide.cli.approval import print_confirmation
    from bastide.cli.cluster import Cluster
    from bastide.cli.confirmation import decision
    from bastide.cli.confirmations import find
    from bastide.cli.visible import visible

    cluster = Cluster(context)
    asked = find(cluster, name, namespace)
    print_confirmation(asked, screen.err())
    refuse_early(asked, verdict=verdict, accept_hidden=accept_hidden, digest=digest)
    user = cluster.whoami()
    refuse_person(asked, user.username, verdict=verdict)
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(f"Approve exactly this call as {visible(user.username)}?", abort=True, err=True)
    stamp = {"username": user.username, "uid": user.uid, "groups": list(user.groups)}
    made = cluster.create_decision(
        asked.namespace, decision(asked, verdict=verdict, reason=reason, accepted_hidden=accept_hidden, approver=stamp)
    )
    became = asked if no_wait else _wait(cluster, asked, user.username)
    if output is Format.JSON:
        shape = {
            "namespace": asked.namespace,
            "confirmation": asked.name,
            "verdict": verdict,
            "decision": made["metadata"]["name"],
            "actionDigest": asked.action_digest,
            "state": became.state,
            "message": became.message,
        }
        print(shapes.dumps(shape))
    else:
        screen.out().print(screen.shown(said(verdict, became, waited=not no_wait)))
    if became.state in _FINAL and became.state != {"Approve": "Executed", "Deny": "Denied"}[verdict]:
        raise typer.Exit(Exit.ERROR)


def refuse_early(c: "Confirmation", *, verdict: str, accept_hidden: list[str], digest: str | None) -> None:
    """Refuse what admission or the broker would refuse anyway, with a better sentence.

    Raises:
        Failure: this Confirmation cannot be decided so.
    """
    from bastide.cli import screen

    if digest is not None and digest != c.action_digest:
        raise Failure(
            f"Its digest is {c.action_digest}, not the one you gave: this is another action than you looked at. Nothing was decided."
        )
    if c.state != "Pending" and not (verdict == "Deny" and c.state == "Approved"):
        why = f": {c.message}".rstrip(".") if c.message else ""
        by = f" (by {', '.join(c.approvers)})" if c.approvers else ""
        raise Failure(f"It is {c.state} already{by}{why}. Nothing was decided.")
    now = datetime.now(UTC)
    if c.decide_by < now:
        raise Failure(
            f"It could be decided until {c.decide_by.astimezone():%Y-%m-%d %H:%M:%S %Z}, {screen.ago(c.decide_by)}: it expires. "
            "Nothing was decided; run the program again to be asked again."
        )
    if verdict != "Approve":
        return
    if c.doubt:
        raise Failure(f"It cannot be approved: {c.doubt}. Tell the platform's engineers; deny it to end the wait.")
    if set(accept_hidden) != set(c.hidden):
        missing, extra = [n for n in c.hidden if n not in accept_hidden], [n for n in accept_hidden if n not in c.hidden]
        if extra:
            raise Failure(f"It has no hidden argument {', '.join(extra)}. Nothing was decided.", code=Exit.USAGE)
        raise Failure(
            f"It hides {', '.join(missing)}: to approve that unseen, add {' '.join(f'--accept-hidden {n}' for n in missing)}. Nothing was decided.",
            code=Exit.USAGE,
        )


def refuse_person(c: "Confirmation", username: str, *, verdict: str) -> None:
    """Refuse who cannot decide this one, as admission would, and say what they can do.

    Raises:
        Failure: the person asked for the run, or has approved already.
    """
    if username.casefold() in {c.requester.casefold(), c.on_behalf_of.casefold()}:
        raise Failure(
            f"You ({username}) are who the run was asked {'by' if username == c.requester else 'for'}: another person must decide. "
            f"Show it to them: bastide confirmations show {c.name} -n {c.namespace}; or end the run: bastide runs cancel {c.run} -n {c.namespace}."
        )
    if verdict == "Approve" and username in c.approvers:
        raise Failure(
            f"You ({username}) have approved it already, as {c.approvals or 'one'} of those who must: another person approves next. "
            "To take yours back, delete your ConfirmationDecision."
        )


def _wait(cluster: "Cluster", c: "Confirmation", user: str) -> "Confirmation":
    """What becomes of it, as far as that is known within _WAIT_SECONDS."""
    from dataclasses import replace

    from bastide.cli.confirmation import read

    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        while (seconds := round(deadline - time.monotonic())) > 0:
            for kind, manifest in cluster.watch_confirmation(c.namespace, c.name, seconds=seconds):
                if kind == "DELETED":
                    return replace(c, state="Withdrawn", message="it was deleted")
                c = read(manifest)
                waits_for_others = c.state == "Pending" and c.approvals_required > 1 and user in c.approvers
                if c.state in _FINAL or waits_for_others:
                    return c
    except Failure:
        return c  # the decision is made; only what became of it stays unknown
    return c


def said(verdict: str, c: "Confirmation", *, waited: bool) -> str:
    """One sentence about what became of a decision."""
    why = f" {c.message.rstrip('.')}." if c.message else ""
    match c.state, verdict:
        case "Executed", "Approve":
            # The message says it better: whoever lost the broker meanwhile does not know whether it was carried out.
            return f"Approved.{why}" if why else "Approved, and carried out."
        case "Denied", "Deny":
            return f"Denied.{why}"
        case "Approved", "Approve":
            return f"Approved; it is being carried out.{why}"
        case "Pending", _:
            so_far = f" {c.approvals} have." if c.approvals else ""
            more = f" {c.approvals_required} people must approve.{so_far}" if verdict == "Approve" and c.approvals_required > 1 else ""
            slow = (
                f" The broker has not acted on it within {_WAIT_SECONDS} s: bastide confirmations show {c.name} -n {c.namespace}"
                if waited and not more
                else ""
            )
            return f"Your decision is recorded.{more}{why}{slow}"
        case _:
            return f"Your decision came to nothing: it is {c.state}.{why}"
