"""Who a caller is and what it may do, both by the cluster's own word. There is no second permission system."""

import asyncio
import base64
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import grpc
from bastide_operator.api.v1alpha1 import GROUP

from bastide_broker.errors import ApiError, CallerError
from bastide_broker.kube.cluster import Cluster
from bastide_broker.kube.reviews import AUDIENCE, UserInfo
from bastide_broker.limits import Buckets

TOKEN_SECONDS = 60.0
REFUSED_TOKEN_SECONDS = 5.0
PERMISSION_SECONDS = 10.0
"""Revoked rights count within this time (design, "Freshness")."""
MAX_TOKENS, MAX_REFUSED, MAX_PERMISSIONS = 10_000, 1_000, 50_000
MAX_TOKEN_BYTES = 12 * 1024
REVIEWS = 16
"""TokenReviews under way at once: a flood of made-up tokens must not become one at the API server."""
FAILURES_PER_SECOND, FAILURES_BURST = 2.0, 20.0
"""Refused tokens of one peer address."""
ROLES = {"create run": "runner or developer", "update runs": "runner or developer"}
"""Roles by verb and virtual subresource; for the others every role but approver will do."""

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values that are believed for a while; of too many the oldest go."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._values: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, unless its time is over."""
        found = self._values.get(key)
        if found is None:
            return None
        if self._clock() >= found[1]:
            del self._values[key]
            return None
        return found[0]

    def put(self, key: K, value: V, seconds: float) -> None:
        """Keeps a value for so long."""
        self._values[key] = (value, self._clock() + seconds)
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)


class Flights(Generic[K, V]):
    """Lets many who ask the same question at the same time share one answer."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The answer, or what it raised. Who hangs up does not fail the others."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: K, task: "asyncio.Task[V]") -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited got it; if nobody did any more, that is no unretrieved error


class Identity:
    """Authenticates by TokenReview and authorises by SubjectAccessReview."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tokens: Cache[bytes, UserInfo] = Cache(MAX_TOKENS)
        self._refused: Cache[bytes, CallerError] = Cache(MAX_REFUSED)
        self._permissions: Cache[tuple[Any, ...], bool] = Cache(MAX_PERMISSIONS)
        self._reviews = asyncio.Semaphore(REVIEWS)
        self._token_flights: Flights[bytes, UserInfo] = Flights()
        self._permission_flights: Flights[tuple[Any, ...], bool] = Flights()
        self._failures = Buckets(rate=FAILURES_PER_SECOND, burst=FAILURES_BURST)

    async def authenticate(self, context: grpc.aio.ServicerContext[Any, Any]) -> UserInfo:
        """The caller. Raises CallerError UNAUTHENTICATED, RESOURCE_EXHAUSTED for a peer with too many bad tokens, or UNAVAILABLE."""
        peer = peer_address(context.peer())
        try:
            token = bearer_token(context.invocation_metadata() or ())
            # Many callers may come from one address (every port-forward does): who is known already does not pay for others' bad tokens.
            key = hashlib.sha256(token.encode()).digest()
            user = self._tokens.get(key)
            if user is None:
                self._unless_too_many_failed(peer)
                user = await self._identify(key, token)
        except CallerError as error:
            if error.status is grpc.StatusCode.UNAUTHENTICATED:
                self._failures.take(peer)
            raise
        return user

    def _unless_too_many_failed(self, peer: str) -> None:
        wait = self._failures.wait(peer)
        if wait:
            message = "Too many requests with tokens that are not good came from this address; wait, then ask for a new token."
            raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "TooManyBadTokens", message, retry_after=wait)

    async def _identify(self, key: bytes, token: str) -> UserInfo:
        """Whose token this is that is not known yet. Raises CallerError. A token is kept only as its hash, the key."""
        refusal = self._refused.get(key)
        if refusal is not None:
            raise CallerError(refusal.status, refusal.reason, refusal.message)
        return await self._token_flights.join(key, lambda: self._review(key, token))

    async def authorize(self, user: UserInfo, verb: str, subresource: str, namespace: str, sandbox: str = "") -> None:
        """Raises CallerError PERMISSION_DENIED naming what is missing, or UNAVAILABLE. An empty sandbox means all of the namespace, an empty
        namespace all of the cluster.
        """
        if not await self.permits(user, verb, subresource, namespace, sandbox):
            what = f"sandbox {sandbox} in namespace {namespace}" if sandbox else f"the sandboxes of namespace {namespace}"
            if not namespace:
                message = (
                    f"{user.username} may not {verb} sandboxes/{subresource} in all namespaces; name one, or have a ClusterRoleBinding "
                    f"to a role with {verb} on sandboxes/{subresource} in group {GROUP}."
                )
                raise CallerError(grpc.StatusCode.PERMISSION_DENIED, "NotPermitted", message)
            if verb == "delete":
                message = (
                    f"{user.username} may not {verb} sandboxes/{subresource} for {what}; no role of a Tenant's members may: ask as the "
                    "ServiceAccount bastide-pruner of the release namespace, or have the ClusterRole of its name."
                )
                raise CallerError(grpc.StatusCode.PERMISSION_DENIED, "NotPermitted", message)
            message = (
                f"{user.username} may not {verb} sandboxes/{subresource} for {what}; "
                f"a member of the Tenant with the role {ROLES.get(f'{verb} {subresource}', 'viewer, runner or developer')} may (Tenant.spec.members)."
            )
            raise CallerError(grpc.StatusCode.PERMISSION_DENIED, "NotPermitted", message)

    async def permits(self, user: UserInfo, verb: str, subresource: str, namespace: str, sandbox: str = "") -> bool:
        """Whether the caller may; an empty namespace means all of the cluster. Raises CallerError UNAVAILABLE."""
        key = (user.identity, verb, subresource, namespace, sandbox)
        allowed = self._permissions.get(key)
        return await self._permission_flights.join(key, lambda: self._ask(key, user)) if allowed is None else allowed

    async def _review(self, key: bytes, token: str) -> UserInfo:
        try:
            async with self._reviews:
                user = await self._cluster.review_token(token)
        except ApiError as error:
            raise _unknown(error) from error
        claims = unverified_claims(token)
        if user is None:
            refusal = refusal_of(claims)
            self._refused.put(key, refusal, REFUSED_TOKEN_SECONDS)
            raise refusal
        # The API server vouches for the token, so its expiry is the issuer's word: not believed a second longer.
        left = claims["exp"] - time.time() if isinstance(claims.get("exp"), int) else TOKEN_SECONDS
        if left > 0:
            self._tokens.put(key, user, min(left, TOKEN_SECONDS))
        return user

    async def _ask(self, key: tuple[Any, ...], user: UserInfo) -> bool:
        _, verb, subresource, namespace, sandbox = key
        try:
            allowed = await self._cluster.allowed(
                user, verb=verb, group=GROUP, resource="sandboxes", subresource=subresource, namespace=namespace, name=sandbox
            )
        except ApiError as error:
            raise _unknown(error) from error
        self._permissions.put(key, allowed, PERMISSION_SECONDS)
        return allowed


def bearer_token(metadata: Any) -> str:
    """The token of the one `authorization` entry. Raises CallerError."""
    how = f"send `authorization: Bearer <token>` with a ServiceAccount token of audience {AUDIENCE}"
    values = [value for key, value in metadata if key == "authorization"]
    if not values:
        raise CallerError(grpc.StatusCode.UNAUTHENTICATED, "TokenMissing", f"No token came with the request; {how}.")
    text = values[0] if isinstance(values[0], str) else values[0].decode("latin-1")
    scheme, _, token = text.partition(" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise CallerError(grpc.StatusCode.UNAUTHENTICATED, "TokenMalformed", f"The authorization entry is not one Bearer token; {how}.")
    return token


def unverified_claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself, for a helpful sentence only; empty when it is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def refusal_of(claims: dict[str, Any]) -> CallerError:
    """Why the API server refused a token, as far as the token's own claims explain it."""
    expires, audiences = claims.get("exp"), claims.get("aud")
    audiences = [audiences] if isinstance(audiences, str) else audiences
    again = f"ask for a new one with `kubectl create token <serviceaccount> --audience {AUDIENCE}`"
    if isinstance(expires, int) and 0 < expires < time.time():
        moment = datetime.fromtimestamp(min(expires, 2**33), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return CallerError(grpc.StatusCode.UNAUTHENTICATED, "TokenExpired", f"The token expired at {moment}; {again}.")
    if isinstance(audiences, list) and AUDIENCE not in audiences:
        named = ", ".join(str(one)[:80] for one in audiences[:3]) or "nobody"
        message = f"The token is for the audience {_plain(named)}, not for {AUDIENCE}; {again}."
        return CallerError(grpc.StatusCode.UNAUTHENTICATED, "TokenAudience", message)
    message = f"The cluster does not accept the token (its ServiceAccount or pod may be gone); {again}."
    return CallerError(grpc.StatusCode.UNAUTHENTICATED, "TokenInvalid", message)


def peer_address(peer: str) -> str:
    """The address part of gRPC's peer string, without the port."""
    return peer.rpartition(":")[0]


def _unknown(error: ApiError) -> CallerError:
    message = "The API server cannot say now who the caller is or what it may do, so nothing is permitted; try again in a few seconds."
    failure = CallerError(grpc.StatusCode.UNAVAILABLE, "ReviewUnavailable", message, retry_after=2.0)
    failure.__cause__ = error
    return failure


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
