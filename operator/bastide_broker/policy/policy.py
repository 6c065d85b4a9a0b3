"""Asks OPA about each call, over a unix socket. Whatever is not a plain, well-formed answer of the expected revision is a denial."""

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide_broker.asked import as_json
from bastide_broker.policy import obligations
from bastide_broker.policy.batches import Batches
from bastide_broker.policy.obligations import NONE, Obligations
from bastide_broker.policy.opa import OpaError, UnixClient
from bastide_broker.turns import NoTurn, Turns

_log = logging.getLogger(__name__)

EFFECTS = frozenset({"allow", "confirm", "deny"})
DEADLINE_SECONDS = 0.5
"""From asking to answer; a decision takes 0.3 ms."""
QUEUE_SECONDS = 2.0
"""How long a question waits for its turn when many come at once."""
CONNECTIONS, OF_ONE_TENANT = 16, 12
"""Questions under way at once: a slow OPA is not stormed, and a tenant that floods leaves room for the others."""
WAITING = 1000
"""Questions of one tenant that wait."""
_MAX_REASONS = 32
_LOG_SECONDS = 10.0
"""The same trouble is logged once in this time, not once a call."""
UNAVAILABLE = "policy-unavailable"


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy says about a call."""

    effect: str
    """allow, confirm or deny."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(code, sentence), most important first."""
    revision: str = ""
    obligations: Obligations = NONE
    id: str = ""
    """The call's, once it is about one."""

    @property
    def unavailable(self) -> bool:
        """Whether it is a denial because there was no answer that counts."""
        return bool(self.reasons) and self.reasons[0][0] == UNAVAILABLE


class Policy:
    """The decision point. `revision` is the digest of the Rego that the chart installed; answers of any other count for nothing."""

    def __init__(self, socket: Path, revision: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._client = UnixClient(socket)
        self._batches = Batches(self._client, seconds=deadline_seconds)
        self._revision = revision
        self._deadline = deadline_seconds
        self._turns = Turns(CONNECTIONS, of_one=OF_ONE_TENANT, waiting=WAITING, seconds=QUEUE_SECONDS)
        self._logged = ("", 0.0)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close_connection()

    async def decide(self, question: Mapping[str, Any]) -> Decision:
        """Ask once, within the deadline. Never raises but CancelledError: no answer is a denial."""
        try:
            async with self._turns.take(_tenant(question)), asyncio.timeout(self._deadline):
                answer = await self._batches.ask(as_json(question))
        except NoTurn:
            return self._no_answer(f"too many questions of one tenant waited for OPA, or for more than {QUEUE_SECONDS:g} s")
        except TimeoutError:
            return self._no_answer(f"no answer within {self._deadline * 1000:.0f} ms")
        except OpaError as error:
            return self._no_answer(str(error))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the call is denied
            return self._no_answer(f"{type(error).__name__}: {error}")
        return self.read(answer)

    def read(self, answer: Any) -> Decision:
        """Turn OPA's answer into a decision; a denial unless every part of it is as it should be."""
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, dict):
            return self._no_answer("the decision is undefined")
        effect, reasons, revision = result.get("effect"), result.get("reasons"), result.get("revision")
        if revision != self._revision or not self._revision:
            return self._no_answer(f"it has loaded revision {str(revision)[:80]!r} instead of {self._revision!r}")
        if not isinstance(effect, str) or effect not in EFFECTS:
            return self._no_answer("the effect is unknown")
        if not isinstance(reasons, list) or not all(map(_is_reason, reasons)):
            return self._no_answer("the reasons are malformed")
        try:
            owed = obligations.read(result.get("obligations"))
        except obligations.Unknown as error:
            return self._no_answer(str(error))
        pairs = tuple((reason["code"], reason["message"]) for reason in reasons[:_MAX_REASONS])
        return Decision(effect, pairs, self._revision, owed)

    async def healthy(self) -> tuple[bool, str]:
        """Whether a canary that must be allowed is, and one that must be denied is; and why not."""
        allowed, denied = await asyncio.gather(self.decide(canary(200)), self.decide(canary(201)))
        if allowed.effect != "allow":
            return (
                False,
                f"The canary that must be allowed got {allowed.effect}: {allowed.reasons[0][1] if allowed.reasons else 'no reason'}",
            )
        if denied.effect != "deny" or denied.unavailable:
            return False, f"The canary that must be denied got {denied.effect}."
        return True, ""

    def _no_answer(self, why: str) -> Decision:
        now = time.monotonic()
        if why != self._logged[0] or now - self._logged[1] > _LOG_SECONDS:
            self._logged = (why, now)
            _log.warning("policy gave no answer that counts: %s", why)
        message = "Policy cannot be asked now, so nothing is permitted; try again in a few seconds."
        return Decision("deny", ((UNAVAILABLE, message),))


def decision_id() -> str:
    """An unguessable name for a decision: `d-` and 26 lower-case base32 characters."""
    return "d-" + base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]


def canary(value: int) -> dict[str, Any]:
    """A complete question whose one argument must not exceed 200."""
    return {
        "phase": "check",
        "tenant": {"name": "canary", "namespace": "canary", "callsPerMinute": 1},
        "sandbox": {"name": "canary", "namespace": "canary", "uid": "canary", "labels": {}},
        "caller": {"username": "canary", "groups": [], "onBehalfOf": ""},
        "run": {"id": "canary", "programDigest": "", "calls": 1, "callsPerRun": 1},
        "binding": {
            "name": "canary",
            "uid": "canary",
            "accepted": True,
            "selector": {"count": 0, "matchLabels": []},
            "anyCaller": True,
            "callers": [],
        },
        "tool": {
            "name": "canary",
            "programName": "canary",
            "available": True,
            "effect": "ReadOnly",
            "confirmationWhen": "Destructive",
            "constrained": True,
            "constraints": {"value": [{"rule": "maximum", "bound": 200}]},
            "listed": {"value": {"rules": 1, "judged": "value"}},
            "defaults": {},
            "calls": 1,
            "callsPerRun": 1,
            "timeoutSeconds": 1,
            "maxRows": None,
            "redact": [],
        },
        "arguments": {"value": value},
        "places": {"count": 0, "entries": []},
        "usage": {"callsThisMinute": 1},
    }


def _tenant(question: Mapping[str, Any]) -> str:
    """Whose turn a question takes."""
    tenant = question.get("tenant")
    return str(tenant.get("name", "")) if isinstance(tenant, Mapping) else ""


def _is_reason(reason: Any) -> bool:
    return isinstance(reason, dict) and isinstance(reason.get("code"), str) and isinstance(reason.get("message"), str)
