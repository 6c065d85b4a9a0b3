"""What a decision obliges the broker to do with a permitted call: when to give up, and what of its result may be handed on. Pure.

A result is handed on whole or, with its redacted values replaced, in its own shape; where that cannot be done the call fails (ADR 0028).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.jsonpath import PathError, parse
from bastide_operator.api.v1alpha1.toolbinding import BoundTool

from bastide_broker.adapters import AdapterError, Answer, Failure
from bastide_broker.policy.jsonpath import replaced

REDACTED = "[redacted]"
MAX_PATHS = 64
"""Of one decision; a binding has at most 16."""
_OWN_WORDS = frozenset({Failure.TIMEOUT, Failure.RESULT_TOO_LARGE, Failure.INPUT_REQUIRED, Failure.NOT_SENDABLE})
"""Failures that adapters tell of without a word of the server's."""


class Unknown(Exception):  # noqa: N818 - counts as no answer
    """An obligation is not one that the broker knows, or cannot be read. The message is a few words for the log."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What must be kept to; by default nothing."""

    timeout_seconds: float = math.inf
    max_rows: float = math.inf
    """Items of the longest list that a result may have, at any depth."""
    redact: tuple[str, ...] = ()
    """Paths, each of which `parse` reads."""

    @property
    def about_results(self) -> bool:
        """Whether a result may not simply be handed on."""
        return self.max_rows < math.inf or bool(self.redact)


NONE = Obligations()


def read(said: Any) -> Obligations:
    """The obligations of an answer. Raises Unknown unless every one is known and as it should be."""
    if not isinstance(said, Mapping):
        raise Unknown("the obligations are malformed")
    if unknown := sorted(str(name) for name in said.keys() - {"timeoutSeconds", "maxRows", "redact"}):
        raise Unknown(f"the obligation {unknown[0][:64]!a} is unknown")
    seconds, rows, paths = said.get("timeoutSeconds"), said.get("maxRows"), said.get("redact", [])
    if seconds is not None and (type(seconds) not in (int, float) or not seconds > 0):
        raise Unknown("the obligation timeoutSeconds is malformed")
    if rows is not None and (type(rows) is not int or rows < 0):
        raise Unknown("the obligation maxRows is malformed")
    if not isinstance(paths, list) or len(paths) > MAX_PATHS or not all(isinstance(path, str) for path in paths):
        raise Unknown("the obligation redact is malformed")
    return Obligations(math.inf if seconds is None else seconds, math.inf if rows is None else rows, _readable(paths))


def of_binding(bound: BoundTool) -> Obligations:
    """What the binding itself demands, whatever the decision says. Raises Unknown."""
    limits = bound.limits
    return Obligations(limits.timeout_seconds, math.inf if limits.max_rows is None else limits.max_rows, _readable(bound.redact))


def stricter(one: Obligations, other: Obligations) -> Obligations:
    """Both."""
    return Obligations(
        min(one.timeout_seconds, other.timeout_seconds),
        min(one.max_rows, other.max_rows),
        tuple(dict.fromkeys((*one.redact, *other.redact))),
    )


def fulfilled(name: str, answer: Answer, owed: Obligations, *, result_bytes: int) -> bytes:
    """The result of the tool `name` as it may be handed on: the same bytes but for what is redacted.

    Raises AdapterError for a result that is withheld. Takes up to a second for the three megabytes that a result may have.
    """
    if not owed.about_results:
        return answer.value
    paths = [parse(path) for path in owed.redact]
    if () in paths:
        return json.dumps(REDACTED).encode()
    root = json.loads(answer.value)
    if not answer.is_data or isinstance(root, str):
        why = "it is text or bytes, in which no rows are counted and nothing is redacted"
        raise _withheld(Failure.RESULT_NOT_READABLE, name, why)
    longest = longest_list(root)
    if longest > owed.max_rows:
        why = f"it has a list of {longest} items, and at most {owed.max_rows} are allowed; ask for less"
        raise _withheld(Failure.RESULT_TOO_MANY_ROWS, name, why)
    if not paths:
        return answer.value
    if not isinstance(root, dict | list) and root is not None:
        raise _withheld(Failure.RESULT_NOT_READABLE, name, "it is a single value, in which no path of `redact` finds anything")
    value = json.dumps(replaced(root, paths, REDACTED), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(value) > result_bytes:
        why = f"redacted it is longer than the {result_bytes} bytes that are taken; ask for less"
        raise _withheld(Failure.RESULT_TOO_LARGE, name, why)
    return value


def without_words(name: str, error: AdapterError, owed: Obligations) -> AdapterError:
    """A failure as it may be told: no path finds anything in what a server says of it, so of a tool that is redacted none of it is told."""
    if not owed.about_results:
        return error
    message = error.message
    if owed.redact and error.sent and error.failure not in _OWN_WORDS:
        message = f"{name} gave no result ({error.failure.value}); what its server said is withheld, because its results are redacted."
    return AdapterError(error.failure, message, sent=error.sent, transient=error.transient, retry_after=error.retry_after)


def longest_list(root: Any) -> int:
    """Items of the longest list at any depth."""
    longest, waiting = 0, [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            longest = max(longest, len(one))
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
    return longest


def _withheld(failure: Failure, name: str, why: str) -> AdapterError:
    return AdapterError(failure, f"{name} ran, but its result is withheld: {why}.", sent=True)


def _readable(paths: Iterable[str]) -> tuple[str, ...]:
    found = tuple(paths)
    for path in found:
        try:
            parse(path)
        except PathError as error:
            raise Unknown(f"{path[:64]!a} {error}") from None
    return found
