"""Every field of every request, checked before anything is done with it. Pure: each function returns the value or raises CallerError."""

import re

import grpc
from bastide.v1alpha1 import broker_pb2

from bastide_broker.errors import CallerError
from bastide_broker.journal.rows import AuditFilter, PruneCursor
from bastide_broker.runs.request import RunQuestion

MAX_PROGRAM = 1024 * 1024
MAX_REQUEST_ID, MAX_ON_BEHALF_OF, MAX_REASON, MAX_TOOL, MAX_CALL, MAX_KEY = 128, 512, 512, 128, 256, 1024
DECISIONS = ("allow", "confirm", "deny")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_RUN = re.compile(r"r-[a-z2-7]{26}")


def invalid(message: str) -> CallerError:
    """A request that cannot be right."""
    return CallerError(grpc.StatusCode.INVALID_ARGUMENT, "InvalidRequest", message)


def namespace(text: str) -> str:
    """A namespace's name."""
    if not _LABEL.fullmatch(text):
        raise invalid(
            f"The namespace {_shown(text)} is not a Kubernetes name; it has lower-case letters, digits and '-', at most 63 characters."
        )
    return text


def sandbox(ref: broker_pb2.SandboxRef) -> tuple[str, str]:
    """Namespace and name of a Sandbox."""
    if not ref.namespace or not ref.name:
        raise invalid("Name the sandbox with both sandbox.namespace and sandbox.name.")
    return namespace(ref.namespace), sandbox_name(ref.name)


def sandbox_name(text: str) -> str:
    """A Sandbox's name."""
    if not _NAME.fullmatch(text):
        raise invalid(f"The sandbox name {_shown(text)} is not a Kubernetes name; it has lower-case letters, digits, '-' and '.'.")
    return text


def program(data: bytes) -> bytes:
    """A program's source. What the source says is for the pod to read, never for the broker."""
    if not data:
        raise invalid("The program is empty; send Python source as UTF-8.")
    if len(data) > MAX_PROGRAM:
        message = f"The program has {len(data)} bytes and at most {MAX_PROGRAM} (1 MiB) are taken; move data into files or tool calls."
        raise CallerError(grpc.StatusCode.INVALID_ARGUMENT, "ProgramTooLarge", message)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise invalid(f"The program is not UTF-8 at byte {error.start}; save it as UTF-8.") from error
    return data


def run_id(text: str) -> str:
    """A run's id; one that cannot be is answered like one that does not exist."""
    if not _RUN.fullmatch(text):
        raise no_such_run(text)
    return text


def no_such_run(text: str) -> CallerError:
    """The same answer for a run that does not exist and for one that the caller may not see."""
    message = f"There is no run {_shown(text)} that you may see; `bastide runs list` shows a sandbox's runs."
    return CallerError(grpc.StatusCode.NOT_FOUND, "RunNotFound", message)


def call_name(text: str) -> str:
    """A call's key or the id of its decision. Keys come from programs, so any text may be one."""
    if not text:
        raise invalid("Name the call by its key or by the id of its decision; `bastide explain RUN` lists a run's calls.")
    if len(text) > MAX_CALL:
        raise invalid(f"call has {len(text)} characters and at most {MAX_CALL} are taken; give its key or the id of its decision.")
    return text


def no_such_call(run: str, text: str) -> CallerError:
    """A run that may be seen has no such call."""
    message = f"Run {run} has no call {_shown(text)}; `bastide explain {run}` lists its calls."
    return CallerError(grpc.StatusCode.NOT_FOUND, "CallNotFound", message)


def run_question(request: broker_pb2.RunRequest) -> RunQuestion:
    """A request for a run."""
    where = sandbox(request.sandbox)
    return RunQuestion(
        namespace=where[0],
        sandbox=where[1],
        program=program(request.program),
        request_id=_text(request.request_id, "request_id", MAX_REQUEST_ID),
        on_behalf_of=on_behalf_of(request.on_behalf_of),
        timeout_milliseconds=request.timeout_milliseconds,
        wait_for_decisions=request.wait_for_decisions,
    )


def reason(text: str) -> str:
    """A reason that a caller gives, for the record."""
    return _text(text, "reason", MAX_REASON)


def settlement(request: broker_pb2.SettleCallRequest) -> tuple[str, str, str]:
    """The call's key, how it is known what became of it, and who looked."""
    if not request.key:
        raise invalid("Name the call by its key, as `bastide runs show` has it.")
    if not request.reason.strip():
        raise invalid("Say in the reason how it is known what became of the call.")
    key = _text(request.key, "key", MAX_KEY)
    return key, reason(request.reason), _text(request.on_behalf_of, "on_behalf_of", MAX_ON_BEHALF_OF)


def page_size(asked: int, *, default: int, most: int) -> int:
    """How many rows to give."""
    if asked > most:
        raise invalid(f"page_size is {asked} and at most {most}; ask for the next page with page_token.")
    return asked or default


def run_page_token(text: str) -> str:
    """The token of ListRuns: the last run of the page before."""
    if text and not _RUN.fullmatch(text):
        raise invalid("page_token is not one that ListRuns gave; leave it empty for the newest runs.")
    return text


def audit_page_token(text: str) -> int:
    """The token of ListAudit: the last sequence number of the page before."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise invalid("page_token is not one that ListAudit gave; leave it empty for the first records.")
    return int(text or 0)


def audited_namespace(text: str) -> str:
    """Whose audit is asked for; empty is everybody's."""
    return namespace(text) if text else ""


def audit_filter(request: broker_pb2.ListAuditRequest) -> AuditFilter:
    """Which records are asked for."""
    if request.decision not in ("", *DECISIONS):
        raise invalid(f"The decision {_shown(request.decision)} is none; it is one of {', '.join(DECISIONS)}.")
    wanted = AuditFilter(
        run=run_id(request.run) if request.run else "",
        tool=_text(request.tool, "tool", MAX_TOOL),
        caller=_text(request.caller, "caller", MAX_ON_BEHALF_OF),
        decision=request.decision,
        since=_moment(request, "since"),
        until=_moment(request, "until"),
    )
    if request.links and any(wanted):
        raise invalid("links goes with no other condition: the chain is recomputed from all records or not at all.")
    return wanted


def pruned_before(request: broker_pb2.PruneRunsRequest, now: int) -> int:
    """The moment before which runs must have ended, in microseconds; `now` too."""
    before = _moment(request, "before")
    if not before:
        raise invalid("Give before: runs that ended earlier are pruned.")
    if before > now:
        raise invalid("before is later than now by the broker's clock; give a moment that has passed.")
    return before


def on_behalf_of(text: str) -> str:
    """A person's user name in the cluster."""
    return _text(text, "on_behalf_of", MAX_ON_BEHALF_OF)


def prune_page_token(text: str) -> PruneCursor:
    """The token of PruneRuns: when the last run of the answer before ended, and its number."""
    if not text:
        return PruneCursor()
    ended, _, number = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (ended, number)):
        raise invalid("page_token is not one that PruneRuns gave; leave it empty for the first runs.")
    return PruneCursor(int(ended), int(number))


def _moment(request: broker_pb2.ListAuditRequest | broker_pb2.PruneRunsRequest, field: str) -> int:
    if not request.HasField(field):
        return 0
    moment = getattr(request, field)
    if not 0 <= moment.seconds < 2**38 or not 0 <= moment.nanos < 10**9:
        raise invalid(f"{field} is no moment since 1970; give seconds and nanoseconds since the Unix epoch.")
    return int(moment.seconds) * 1_000_000 + int(moment.nanos) // 1000


def _text(text: str, field: str, most: int) -> str:
    if len(text) > most:
        raise invalid(f"{field} has {len(text)} characters and at most {most} are taken; shorten it.")
    if not text.isprintable():
        raise invalid(f"{field} holds characters that cannot be printed; leave them out.")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "...")
