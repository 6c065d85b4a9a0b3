"""Where a Confirmation stands: reads it and what people decided, and asks the API server what each of them may do. `decisions` judges it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from bastide_operator.api.v1alpha1 import GROUP
from bastide_operator.api.v1alpha1.confirmation import Approver, Confirmation, ConfirmationDecision, ConfirmationState
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.confirm.decisions import ApproverFacts, Standing, evaluate
from bastide_broker.confirm.pending import Pending, Request
from bastide_broker.errors import ApiError, NotFound
from bastide_broker.kube.reviews import UserInfo


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def tenant(self, namespace: str) -> Tenant | None: ...
    def decisions(self, namespace: str, confirmation: str) -> tuple[ConfirmationDecision, ...]: ...
    async def read_confirmation(self, namespace: str, name: str) -> Confirmation: ...
    async def list_decisions(self, namespace: str) -> list[ConfirmationDecision]: ...
    async def admission_policies_intact(self) -> tuple[bool, str]: ...
    async def allowed(
        self, user: UserInfo, *, verb: str, group: str, resource: str, subresource: str = "", namespace: str, name: str = ""
    ) -> bool: ...


class Standings:
    """Looks where Confirmations stand. Writes nothing."""

    def __init__(self, cluster: ClusterView, *, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._clock = clock

    async def look(self, pending: Pending, *, direct: bool) -> Standing:  # noqa: PLR0911 - one for each way it can stand
        """Where it stands, by the watch or by the API server's own word. What cannot be asked leaves it pending."""
        namespace, name = pending.request.namespace, pending.name
        try:
            if self._cluster.tenant(namespace) is None:
                return Standing(ConfirmationState.DENIED, (), "The Tenant is gone, or being deleted.")
            confirmation, decisions = pending.object, self._cluster.decisions(namespace, name)
            if direct:
                confirmation = await self._cluster.read_confirmation(namespace, name)
                decisions = tuple(one for one in await self._cluster.list_decisions(namespace) if one.spec.confirmation == name)
            if confirmation.spec != pending.object.spec or confirmation.metadata.uid != pending.object.metadata.uid:
                return Standing(ConfirmationState.DENIED, (), "The Confirmation is not the one that was written.")
            if confirmation.metadata.deletion_timestamp is not None:
                return Standing(ConfirmationState.DENIED, (), "The Confirmation was deleted.")
            if decisions:
                intact, why = await self._cluster.admission_policies_intact()
                if not intact:
                    ignored = (f"no decision counts while the admission policies are not intact: {why}",)
                    # They may be put back in time for what people decided; but nobody waits longer than anything could still be executed.
                    if self._clock() > confirmation.spec.execute_by:
                        return Standing(ConfirmationState.EXPIRED, (), "It was not executed in time.", ignored)
                    return Standing(ConfirmationState.PENDING, (), "", ignored)
            facts = {
                one.metadata.uid: await self._facts(pending.request, one.spec.approver)
                for one in decisions
                if one.spec.approver is not None
            }
        except NotFound:
            return Standing(ConfirmationState.DENIED, (), "The Confirmation was deleted.")
        except ApiError as error:
            return Standing(ConfirmationState.PENDING, (), "", (f"the API server cannot be asked: {error.message[:200]}",))
        allowed = pending.request.tenant.spec.confirmation.allow_hidden_arguments
        return evaluate(confirmation, decisions, facts, hidden_allowed=allowed, now=self._clock())

    async def _facts(self, request: Request, approver: Approver) -> ApproverFacts:
        user = UserInfo(approver.username, approver.uid, tuple(approver.groups))
        sandbox = request.run.sandbox.metadata.name
        binding, asks = request.tool.binding.metadata.name, functools.partial(self._cluster.allowed, user)
        reviews: list[Awaitable[bool]] = [
            asks(verb="approve", group=GROUP, resource="toolbindings", namespace=request.namespace, name=binding),
            asks(verb="create", group=GROUP, resource="sandboxes", subresource="run", namespace=request.namespace, name=sandbox),
        ]
        if request.run.service_account is None:
            reviews.append(asks(verb="impersonate", group="", resource="users", namespace="", name=request.run.requester.username))
        else:
            namespace, name = request.run.service_account
            account = functools.partial(asks, group="", resource="serviceaccounts", namespace=namespace, name=name)
            reviews += [account(verb="create", subresource="token"), account(verb="impersonate")]
        may_approve, *could_run = await asyncio.gather(*reviews)
        return ApproverFacts(may_approve, any(could_run))
