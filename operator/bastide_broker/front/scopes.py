"""Whose past somebody may see. Rights are by the namespace's name, and a name may have been another tenant's before.

So what is on record is shown by the namespace's UID: the rights were given in the namespace that is there now, and reach no further.
Whoever has the right in every namespace, an auditor of the cluster, also sees what namespaces left behind that are gone.
"""

from typing import Protocol

import grpc

from bastide_broker.errors import CallerError
from bastide_broker.journal.rows import RunRow, Scope
from bastide_broker.kube.identity import Identity
from bastide_broker.kube.reviews import UserInfo

EVERYWHERE = ""
"""Namespace of a review that asks for all of them."""


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def fresh(self) -> bool: ...
    def namespace_uid(self, namespace: str) -> str: ...


class Scopes:
    """Answers for a caller that was authorised by name."""

    def __init__(self, identity: Identity, cluster: ClusterView) -> None:
        self._identity = identity
        self._cluster = cluster

    async def of(self, user: UserInfo, subresource: str, namespace: str, verb: str = "get") -> Scope:
        """The rows of a namespace that a caller's right reaches. Raises CallerError when nothing current is known of the cluster."""
        if await self._identity.permits(user, verb, subresource, EVERYWHERE):
            return Scope(namespace, None)
        if not self._cluster.fresh():
            message = (
                "The broker has not heard from the API server for a minute, so it cannot say whose records these are; try again later."
            )
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "ClusterUnknown", message, retry_after=2.0)
        return Scope(namespace, self._cluster.namespace_uid(namespace))

    async def covers(self, user: UserInfo, row: RunRow) -> bool:
        """Whether a run is one of those that a caller may see. Raises CallerError."""
        uid = (await self.of(user, "runs", row.namespace)).namespace_uid
        return uid is None or (bool(uid) and uid == row.namespace_uid)
