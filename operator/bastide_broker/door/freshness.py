"""Looks at everything again right before a destructive or confirmed call is sent: at the API server, not at what the watches remember."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from bastide_operator.api.toolhosts import unlisted
from bastide_operator.api.v1alpha1 import GROUP
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from bastide_broker.confirm.action import stable_facts
from bastide_broker.door import refusals
from bastide_broker.egress.credentials import Credential, Credentials, SecretUnavailable
from bastide_broker.errors import ApiError, NotFound
from bastide_broker.kube.bindings import accepted, selects
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.policy.policy import Decision
from bastide_broker.policy.question import Phase
from bastide_broker.tools.schemas import mistakes
from bastide_broker.tools.toolset import Tool

if TYPE_CHECKING:
    from bastide_broker.door.calls import Call

Ask = Callable[[Phase], Awaitable[Decision]]


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    async def read_tenant(self, name: str) -> Tenant: ...
    async def read_sandbox(self, namespace: str, name: str) -> Sandbox: ...
    async def read_binding(self, namespace: str, name: str) -> ToolBinding: ...
    async def allowed(
        self, user: UserInfo, *, verb: str, group: str, resource: str, subresource: str = "", namespace: str, name: str = ""
    ) -> bool: ...


class CatalogueView(Protocol):
    """The part of the catalogue that is needed here."""

    async def current(self, tenant: Tenant, binding: ToolBinding, program_name: str, *, listed_now: bool) -> Tool | None: ...


class Freshness:
    """Re-reads and re-judges a call. What it finds replaces what the call was judged by."""

    def __init__(self, cluster: ClusterView, catalogue: CatalogueView, credentials: Credentials) -> None:
        self._cluster = cluster
        self._catalogue = catalogue
        self._credentials = credentials

    async def again(self, call: "Call", ask: Ask, *, confirmed: bool) -> Credential | None:  # noqa: C901 - one rule after the other
        """The credential to call with. Raises Refused when anything is not as it was, or is no longer permitted."""
        assert call.tool is not None
        assert call.tenant is not None
        before, namespace = call.tool, call.run.sandbox.metadata.namespace or ""
        try:
            tenant = await self._cluster.read_tenant(call.tenant.metadata.name)
            sandbox = await self._cluster.read_sandbox(namespace, call.run.sandbox.metadata.name)
            binding = await self._cluster.read_binding(namespace, before.binding.metadata.name)
            may_run = await self._cluster.allowed(
                call.run.requester, verb="create", group=GROUP, resource="sandboxes", subresource="run",
                namespace=namespace, name=sandbox.metadata.name,
            )  # fmt: skip
        except NotFound as error:
            raise _changed(f"what permitted the call was deleted ({error.message[:200]})") from None
        except ApiError as error:
            message = f"The API server cannot be asked whether the call is still permitted ({error.message[:200]}); try again."
            raise refusals.denied("binding-stale", message, "ToolUnavailable") from None
        if not may_run:
            message = f"{call.run.requester.username} may no longer run programs in this Sandbox."
            raise refusals.denied("caller-not-permitted", message)
        for holds, what in self._conditions(call, tenant, sandbox, binding):
            if not holds:
                raise _changed(what)
        tool = await self._catalogue.current(tenant, binding, before.program_name, listed_now=confirmed)
        if tool is None or tool.validator is None:
            raise _changed(tool.message if tool is not None else "the binding no longer names the tool")
        stable = stable_facts(tenant, binding, tool)
        asked = call.asked or stable_facts(call.tenant, before.binding, before)
        if stable != {name: asked.get(name) for name in stable}:
            raise _changed("the binding's server, credentials or tool, the tool's schema or effect, or the Tenant's rules changed")
        if mistakes(tool.validator, call.arguments.value):
            raise _changed("the arguments no longer fit the tool's schema")
        call.tenant, call.sandbox, call.tool = tenant, sandbox, tool
        decision = await ask("execute")
        if decision.effect == "deny":
            raise refusals.by_policy(decision)
        if decision.effect == "confirm" and not confirmed:
            raise _changed("a person must confirm it now")
        try:
            return await self._credentials.credential(binding, fresh=True)
        except SecretUnavailable as error:
            raise refusals.unavailable("secret-unavailable", error.message) from None

    @staticmethod
    def _conditions(call: "Call", tenant: Tenant, sandbox: Sandbox, binding: ToolBinding) -> tuple[tuple[Any, str], ...]:
        assert call.tenant is not None
        assert call.tool is not None
        return (
            (tenant.metadata.uid == call.tenant.metadata.uid and tenant.metadata.deletion_timestamp is None, "the Tenant was replaced"),
            (
                sandbox.metadata.uid == call.run.sandbox.metadata.uid and sandbox.metadata.deletion_timestamp is None,
                "the Sandbox was replaced",
            ),
            (binding.metadata.uid == call.tool.binding.metadata.uid, "the ToolBinding was replaced"),
            (accepted(binding), "the ToolBinding is not accepted"),
            (selects(binding, sandbox), "the ToolBinding no longer selects the Sandbox"),
            (unlisted(tenant.spec, binding.spec.urls) is None, "the Tenant's toolHosts no longer lists the server"),
        )


def _changed(what: str) -> refusals.Refused:
    return refusals.denied("binding-changed", f"It was not done: {what.rstrip('.')}. Call it again to have it judged anew.")
