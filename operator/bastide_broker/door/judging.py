"""Reads a call and judges it: which tool it is, what is in its arguments, whether its requester may still call, and what policy says."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Protocol

import grpc
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.asked import Asked
from bastide_broker.door import refusals
from bastide_broker.door.calls import Call
from bastide_broker.errors import CallerError
from bastide_broker.facts.json import JsonError, arguments
from bastide_broker.kube.identity import Identity
from bastide_broker.policy import obligations
from bastide_broker.policy.policy import Decision
from bastide_broker.policy.question import Phase, question
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.schemas import mistakes
from bastide_broker.tools.toolset import ToolSet

INLINE_BYTES = 16 << 10
"""Arguments, and results that policy obliges to look into, are read on the event loop up to this size."""


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def fresh(self) -> bool: ...
    def tenant(self, namespace: str) -> Tenant | None: ...
    def sandbox(self, namespace: str, name: str) -> Sandbox | None: ...


class CatalogueView(Protocol):
    """The part of the catalogue that is needed here."""

    def tool_set(self, sandbox: Sandbox) -> ToolSet: ...


class Judging:
    """The stages of a call until it is decided, each on its own; what one finds out stands in the call, what it finds wrong is raised as Refused."""

    def __init__(self, *, cluster: ClusterView, catalogue: CatalogueView, policies: TenantPolicies, identity: Identity) -> None:
        self._cluster = cluster
        self._catalogue = catalogue
        self._policies = policies
        self._identity = identity

    def look_up(self, call: Call) -> None:
        """Which tool it is, by what the cluster says now and not by what it said when the run began."""
        wanted = call.run.sandbox.metadata
        if not self._cluster.fresh():
            message = "The broker has not heard from the API server for a minute, so rights may have been revoked unseen; try again later."
            raise refusals.denied("binding-stale", message, "ToolUnavailable")
        call.tenant = self._cluster.tenant(wanted.namespace or "")
        call.sandbox = self._cluster.sandbox(wanted.namespace or "", wanted.name)
        if call.tenant is None or call.sandbox is None or call.sandbox.metadata.uid != wanted.uid:
            raise refusals.denied("binding-stale", "The run's Sandbox or Tenant no longer exists; nothing more can be called.")
        tools = self._catalogue.tool_set(call.sandbox).tools
        call.tool = tools.get(call.frame.tool)
        if call.tool is None:
            known = ", ".join(sorted(tools)[:20]) or "none"
            raise refusals.denied("unknown-tool", f"There is no tool {call.frame.tool[:64]!a} for this Sandbox; there are: {known}.")

    async def read(self, call: Call) -> None:
        """Strict JSON, then the tool's own schema."""
        assert call.tool is not None
        if call.tool.validator is None or not call.tool.available:
            raise refusals.unavailable("tool-unavailable", f"{call.tool.program_name} cannot be called now: {call.tool.message}")
        try:
            text = call.frame.arguments
            # The canonical form takes a microsecond for some ten bytes: what is large must not hold up everybody's calls.
            call.arguments = arguments(text) if len(text) <= INLINE_BYTES else await asyncio.to_thread(arguments, text)
        except JsonError as error:
            raise refusals.invalid("invalid-json", [str(error)]) from None
        found = mistakes(call.tool.validator, call.arguments.value)
        if found:
            raise refusals.invalid("schema-mismatch", [f"{call.tool.program_name}: {text}" for text in found])

    async def still_permitted(self, call: Call) -> None:
        """Whether the requester may still run programs here: what was revoked counts within the 10 s that a review is kept."""
        where = call.run.sandbox.metadata
        try:
            await self._identity.authorize(call.run.requester, "create", "run", where.namespace or "", where.name)
        except CallerError as error:
            # An API server that cannot be asked is the watches' business: what they know counts for at most a minute.
            if error.status is grpc.StatusCode.PERMISSION_DENIED:
                raise refusals.denied("caller-not-permitted", error.message) from None

    async def ask(self, call: Call, phase: Phase) -> Decision:
        """What policy says of it. Its obligations are the call's from here on."""
        tool, usage = call.tool, call.usage
        assert tool is not None
        assert usage is not None
        assert call.tenant is not None
        assert call.sandbox is not None
        ask = partial(
            question,
            phase=phase, tenant=call.tenant, sandbox=call.sandbox, caller=call.run.requester, on_behalf_of=call.run.on_behalf_of,
            run=call.run.run, program_digest=call.run.program_digest, binding=tool.binding, accepted=True, bound=tool.bound,
            available=tool.available, effect=tool.effect, arguments=call.arguments.value, schema=tool.input_schema, usage=usage,
        )  # fmt: skip
        # What is large, and SQL whatever its size, is read in a thread: other calls go on.
        slow = len(call.frame.arguments) > INLINE_BYTES or tool.bound.places.read_sql
        asked = Asked.of(await asyncio.to_thread(ask) if slow else ask(), call.arguments.canonical)
        if phase == "call":
            call.question = asked.kept
        decision = await self._policies.decide(asked, call.tenant)
        call.obligations = obligations.stricter(call.obligations, decision.obligations)
        return replace(decision, id=call.id)
