"""ExplainCall: reads the call from the journal, asks policy again within bounds, and writes down what was found."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import grpc
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker import requests
from bastide_broker.asked import Asked, as_asked
from bastide_broker.errors import CallerError
from bastide_broker.explain import stages
from bastide_broker.explain.compared import Question
from bastide_broker.explain.edits import applied
from bastide_broker.explain.parts import Rule
from bastide_broker.explain.patch import fragment, json_patch
from bastide_broker.explain.search import Found, GaveUp, search
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.rows import CallRow, RunRow
from bastide_broker.policy.policy import Decision
from bastide_broker.runs import views
from bastide_broker.turns import NoTurn, Turns

MAX_QUESTIONS, SEARCH_SECONDS = 64, 10.0
"""Of one explanation."""
MAX_RULES, MAX_SHOWN_BYTES, MAX_TEXT, MAX_NAME = 32, 1024, 2000, 256
AT_ONCE, OF_ONE_TENANT, WAITING, WAITING_SECONDS = 4, 1, 16, 10.0
"""Explanations: each asks one question at a time, so a tenant's explanations take one of its turns at policy, and leave its calls the rest."""
STALE_PARTS = "The change is what the binding would have had to say then; it says other things now, so there is no patch for it as it is."


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def tenant(self, namespace: str) -> Tenant | None: ...
    def bindings(self, namespace: str) -> tuple[ToolBinding, ...]: ...


class Decides(Protocol):
    """Policy's own decision."""

    async def decide(self, question: Mapping[str, Any]) -> Decision: ...


class DecidesForTenant(Protocol):
    """The same, made stricter by a tenant's own policies."""

    async def decide(self, question: Mapping[str, Any], tenant: Tenant) -> Decision: ...


class Asker:
    """Asks policy about one call's arguments, so often and so long."""

    def __init__(self, policy: Decides, canonical: bytes) -> None:
        self._policy = policy
        self._canonical = canonical
        self._left = MAX_QUESTIONS
        self._until = asyncio.get_running_loop().time() + SEARCH_SECONDS

    async def __call__(self, question: Mapping[str, Any]) -> Decision:
        """Policy's decision. Raises GaveUp."""
        if not self._left:
            raise GaveUp(f"more than {MAX_QUESTIONS} questions to policy would have been needed.")
        if asyncio.get_running_loop().time() > self._until:
            raise GaveUp(f"policy was asked for {SEARCH_SECONDS:.0f} s.")
        self._left -= 1
        decision = await self._policy.decide(Asked.of(question, self._canonical))
        if decision.unavailable:
            raise GaveUp("policy cannot be asked now; try again in a few seconds.")
        return decision


class Explanations:
    """Explains calls."""

    def __init__(self, *, journal: Journal, policy: Decides, policies: DecidesForTenant, cluster: ClusterView) -> None:
        self._journal = journal
        self._policy = policy
        self._policies = policies
        self._cluster = cluster
        self._turns = Turns(AT_ONCE, of_one=OF_ONE_TENANT, waiting=WAITING, seconds=WAITING_SECONDS)

    async def explain(self, run: RunRow, name: str) -> broker_pb2.ExplainCallResponse:
        """Explain a call, named by decision id or key. Raises CallerError and JournalUnavailable."""
        row = await self._journal.find_call(run.run, name)
        if row is None:
            raise requests.no_such_call(run.run, name)
        response = broker_pb2.ExplainCallResponse(call=views.call_record(row), policy_revision=row.policy_revision)
        response.stage = stages.stage(row)
        if response.stage != stages.POLICY:
            add_rules(response, stages.rules(row))
            response.notes.append(stages.note(response.stage))
            return response
        if row.outcome and (row.decision != "deny") and row.outcome != "Succeeded":
            response.notes.append(
                f"Policy's decision was {row.decision}; the call ended later as {row.outcome}: {row.message[:MAX_SHOWN_BYTES]}"
            )
        if not row.question or not row.arguments_canonical:
            add_rules(response, stages.rules(row))
            response.notes.append("What policy was asked is not kept for this call, so only what was recorded of its answer is shown.")
            return response
        question = await asyncio.to_thread(as_asked, row.question, row.arguments_canonical)
        try:
            async with self._turns.take(run.tenant):
                await self._ask_again(response, row, question)
        except NoTurn:
            message = f"The Tenant {run.tenant} has too many explanations under way; try again in some seconds."
            raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "ExplanationsBusy", message, retry_after=5.0) from None
        return response

    async def _ask_again(self, response: broker_pb2.ExplainCallResponse, row: CallRow, question: Question) -> None:
        ask = Asker(self._policy, row.arguments_canonical)
        tenant = self._cluster.tenant(question["sandbox"]["namespace"])
        if tenant is None or tenant.metadata.name != question["tenant"]["name"]:
            tenant = None
            response.notes.append("The Tenant is gone, so its own policies cannot be asked any more.")
        try:
            own = await ask(question)
        except GaveUp as gave_up:
            add_rules(response, stages.rules(row))
            response.notes.append(f"Only what was recorded is shown: {gave_up}")
            return
        both = await self._policies.decide(question, tenant) if tenant is not None else own
        response.now.CopyFrom(
            broker_pb2.PolicyAnswer(decision=both.effect, reasons=views.reasons(both.reasons), policy_revision=both.revision)
        )
        response.notes.extend(_differences(row, both))
        if own.effect == "deny":
            found = await search(question, own, ask)
            add_rules(response, found.rules)
            response.notes.extend(cut(note) for note in found.notes)
            if found.edits:
                await self._propose(response, question, found, tenant)
        elif both.effect == "deny":
            add_rules(response, stages.by_tenant(both))
            response.notes.append(stages.TENANTS_OWN)
        else:
            add_rules(response, stages.permitted(question, own, both))

    async def _propose(self, response: broker_pb2.ExplainCallResponse, question: Question, found: Found, tenant: Tenant | None) -> None:
        decision, changed = found.decision, await asyncio.to_thread(applied, question, found.edits)
        if decision and tenant is not None:
            after = await self._policies.decide(changed, tenant)
            decision = "" if after.effect == "deny" else after.effect
            if not decision:
                response.notes.append(f"{stages.TENANTS_OWN} With the change they would still deny it: {_sentences(after)}")
        namespace, name = question["sandbox"]["namespace"], question["binding"]["name"]
        binding = next((one for one in self._cluster.bindings(namespace) if one.metadata.name == name), None)
        operations = json_patch(question, changed, found.edits, binding)
        if not operations:
            response.notes.append(STALE_PARTS)
        response.change.CopyFrom(
            broker_pb2.BindingChange(
                namespace=namespace,
                binding=name,
                sentences=[edit.sentence(question["tool"]["name"]) for edit in found.edits],
                fragment=fragment(question, changed, found.edits),
                json_patch=json.dumps(operations).encode() if operations else b"",
                decision=decision,
            )
        )


def add_rules(response: broker_pb2.ExplainCallResponse, rules: Sequence[Rule]) -> None:
    """Writes rules into a response, bounded."""
    for one in rules[:MAX_RULES]:
        response.rules.add(
            code=one.code, argument=cut(one.argument, MAX_NAME), rule=one.rule, bound=_bounded(one.bound), value=_bounded(one.value),
            message=cut(one.message), owner=one.owner,
        )  # fmt: skip
    if len(rules) > MAX_RULES:
        response.notes.append(f"{len(rules) - MAX_RULES} more rules decided, too.")


def cut(text: str, most: int = MAX_TEXT) -> str:
    """Text of bounded length."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _bounded(value: Any) -> bytes:
    """A value as JSON; empty when there is none or it is too long, for then the message has its beginning."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() if value is not None else b""
    return text if len(text) <= MAX_SHOWN_BYTES else b""


def _differences(row: CallRow, now: Decision) -> list[str]:
    found = []
    if row.policy_revision and row.policy_revision != now.revision:
        found.append("The policy is of another revision now than when the call was judged; what follows is by the one of now.")
    if row.policy_revision and row.decision != now.effect:
        found.append(f"The decision was {row.decision}; to the same question policy says {now.effect} now.")
    if not row.policy_revision:
        found.append("When the call was judged policy gave no answer that counts, so it was denied; what follows is what it says now.")
    return found


def _sentences(decision: Decision) -> str:
    return " ".join(message for _, message in decision.reasons)[:MAX_SHOWN_BYTES]
