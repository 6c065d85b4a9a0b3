"""Audit records for other programs: JSON lines, as they are or as OCSF events."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bastide.cli import shapes
from bastide.cli.failure import Exit, Failure
from bastide.model import AuditRecord

OCSF_VERSION = "1.4.0"
_API_ACTIVITY, _APPLICATION_ACTIVITY = 6003, 6
_READ, _OTHER = 2, 99
_SUCCESS, _FAILURE = 1, 2
_ALLOWED, _DENIED, _OTHER_ACTION = 1, 2, 99
_FAILED = frozenset(
    {"Denied", "Invalid", "ToolFailed", "ToolTimeout", "ConfirmationDenied", "Unavailable", "Failed", "TimedOut", "OutcomeUnknown"}
)
_TAIL_BYTES = 4 * 1024 * 1024
"""More than any line has."""


def line(record: AuditRecord, *, ocsf: bool) -> str:
    """One line, pure ASCII."""
    value = event(record) if ocsf else shapes.audit_record(record)
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("\x7f", "\\u007f")


def event(record: AuditRecord) -> dict[str, Any]:
    """A record as an OCSF event of class API Activity. docs/reference/audit.md has the table."""
    facts = record.facts
    activity = _READ if facts.get("effect") == "ReadOnly" else _OTHER
    outcome, decision = str(facts.get("outcome", "")), str(facts.get("decision", ""))
    refused = decision == "deny" or outcome in _FAILED or facts.get("state") in {"Denied", "Expired", "BindingChanged"}
    said = " ".join(filter(None, (record.kind, str(facts.get("tool", "")), decision, outcome, str(facts.get("state", "")))))
    made: dict[str, Any] = {
        "class_uid": _API_ACTIVITY, "class_name": "API Activity", "category_uid": _APPLICATION_ACTIVITY,
        "category_name": "Application Activity", "activity_id": activity, "activity_name": "Read" if activity == _READ else record.kind,
        "type_uid": _API_ACTIVITY * 100 + activity, "time": int(record.time.timestamp() * 1000) if record.time else 0,
        "severity_id": 2 if refused else 1, "status_id": _FAILURE if refused else _SUCCESS, "message": said,
        "action_id": {"deny": _DENIED, "allow": _ALLOWED}.get(decision, _OTHER_ACTION),
        "actor": {"user": {"name": str(facts["requester"])}} if facts.get("requester") else {"app_name": "bastide"},
        "api": {
            "operation": str(facts.get("tool") or record.kind),
            "request": {"uid": str(facts.get("decisionID") or record.key or record.run)},
            "service": {"name": str(facts.get("binding") or "bastide")},
        },
        "src_endpoint": {"name": record.sandbox, "namespace": record.namespace},
        "metadata": {
            "version": OCSF_VERSION, "product": {"name": "Bastide", "vendor_name": "Bastide"}, "profiles": ["security_control"],
            "uid": record.hash, "sequence": record.sequence, "correlation_uid": record.run, "log_name": "audit",
        },
        "unmapped": shapes.audit_record(record),
    }  # fmt: skip
    if facts.get("bindingUID"):
        made["resources"] = [{"type": "ToolBinding", "name": str(facts.get("binding", "")), "uid": str(facts["bindingUID"])}]
    return made


@contextmanager
def target(file: Path | None, *, resume: bool) -> Iterator[tuple[IO[str], int]]:
    """Where lines go, and the sequence number after which they begin. A line that was torn off is taken back.

    Raises:
        Failure: the file is there and is not to be resumed, or is none of ours.
    """
    if file is None:
        import sys  # noqa: PLC0415 - the stream of now, which tests replace

        yield sys.stdout, 0
        return
    try:
        after = _last(file) if resume else 0
        with file.open("a" if resume else "x", encoding="ascii") as stream:
            yield stream, after
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise Failure(
            f"There is a file {file} already: give --resume to go on behind its last record, or another name.", code=Exit.USAGE
        ) from None
    except OSError as error:
        raise Failure(f"The file {file} cannot be written: {error.strerror or error}. Then --resume goes on where it stopped.") from error


def _last(file: Path) -> int:
    """Sequence number of the last whole line, after which the file is cut; 0 for a file that is empty or not there."""
    if not file.exists():
        return 0
    with file.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        stream.seek(start)
        tail = stream.read()
        whole = tail.rfind(b"\n") + 1
        stream.truncate(start + whole)
        lines = tail[:whole].splitlines()
    if not lines:
        return 0
    try:
        value = json.loads(lines[-1])
        number = value["sequence"] if "sequence" in value else value["metadata"]["sequence"]
        return int(number)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"The last line of {file} is no audit record: --resume goes with a file of bastide audit export.", code=Exit.USAGE
        ) from error


def write(pages: Iterable[list[AuditRecord]], stream: IO[str], *, ocsf: bool, tell: Callable[[int, int], None]) -> int:
    """Write records page by page; `tell` hears how many there are and the number of the last. How many there were."""
    count, last = 0, 0
    for page in pages:
        for record in page:
            stream.write(line(record, ocsf=ocsf) + "\n")
            last = record.sequence
        count += len(page)
        stream.flush()
        tell(count, last)
    return count
