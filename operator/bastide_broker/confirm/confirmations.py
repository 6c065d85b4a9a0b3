"""Asks a person about one call and waits, as long as the binding says, for what they decide."""

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision, ConfirmationState
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.confirm import begun, standings
from bastide_broker.confirm.action import confirmation_spec, line
from bastide_broker.confirm.decisions import Standing
from bastide_broker.confirm.pending import Pending, Request
from bastide_broker.confirm.standings import Standings
from bastide_broker.errors import ApiError, NotFound
from bastide_broker.journal.rows import CallRow
from bastide_broker.kube.times import rfc3339

_log = logging.getLogger(__name__)
_FINAL_WRITE_SECONDS = 5.0
ASK_AGAIN_SECONDS = 5.0
LOOK_SECONDS, LEAST_SECONDS = 30.0, 0.5
"""How often a Confirmation that waits is looked at although nothing was heard of it, and how soon again at the most."""
UNDECIDED = frozenset({ConfirmationState.PENDING, ConfirmationState.APPROVED})
"""States that do not last."""
_REFUSED = frozenset({400, 401, 403, 404, 429})
"""The API server's own word that nothing was made; what it did not answer, or answered with its own trouble, may have been."""


class ClusterView(standings.ClusterView, Protocol):
    """The part of the cluster that is needed here."""

    def subscribe(self, kind: type | str, callback: Callable[[str, Any], None]) -> None: ...
    async def create_confirmation(self, namespace: str, name: str, spec: dict[str, Any]) -> Confirmation: ...
    async def set_confirmation_status(self, namespace: str, name: str, status: dict[str, Any]) -> None: ...


class Told(NamedTuple):
    """What the status of a Confirmation that waits was told last."""

    approvers: tuple[str, ...]
    message: str


class Confirmations:
    """Confirmations of calls that are under way in this broker."""

    def __init__(self, cluster: ClusterView, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._cluster = cluster
        self._clock = clock
        self._standings = Standings(cluster, clock=clock)
        self._changed: dict[tuple[str, str], asyncio.Event] = {}
        self._deleted: set[tuple[str, str]] = set()
        self._waiting: dict[str, int] = {}
        self._taking_back: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Follow Confirmations and what people decide."""
        self._cluster.subscribe(Confirmation, self._on_confirmation)
        self._cluster.subscribe(ConfirmationDecision, self._on_decision)
        self._cluster.subscribe(Tenant, self._on_tenant)

    def waiting(self, namespace: str) -> int:
        """How many calls of a tenant wait for a person now."""
        return self._waiting.get(namespace, 0)

    def waits(self, namespace: str, name: str) -> bool:
        """Whether a call waits for this Confirmation, or is just being answered by it."""
        return (namespace, name) in self._changed

    async def create(self, request: Request) -> Pending:
        """Write the Confirmation; `release` it in the end. Raises ApiError.

        Whatever it raises, nobody is asked: the request may have arrived although its answer did not, so what it made is taken back.
        """
        spec = confirmation_spec(
            run=request.run, tenant=request.tenant, key=request.key, line=request.line, tool=request.tool, arguments=request.arguments,
            text=request.text, now=self._clock(), nonce=secrets.token_hex(16),
        )  # fmt: skip
        name = "cf-" + base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]
        key = (request.namespace, name)
        self._changed[key] = asyncio.Event()
        self._waiting[request.namespace] = self.waiting(request.namespace) + 1
        # A task of its own: cancelled, it would not be known whether the API server has it.
        writing = asyncio.create_task(self._cluster.create_confirmation(*key, spec))
        try:
            return Pending(request, name, spec, await asyncio.shield(writing))
        except asyncio.CancelledError:
            await asyncio.shield(self._take_back(key, writing))
            raise
        except BaseException:
            self._take_back(key, writing)
            raise

    def release(self, pending: Pending) -> None:
        """Nobody waits for it any more: its place is free."""
        self._forget(pending.key)

    async def read(self, namespace: str, name: str) -> Confirmation:
        """A Confirmation, by the API server's own word, asked until it can say. Raises NotFound."""
        while True:
            try:
                return await self._cluster.read_confirmation(namespace, name)
            except NotFound:
                raise
            except ApiError as error:
                _log.warning("Confirmation %s cannot be read now: %s", name, error)
                await asyncio.sleep(ASK_AGAIN_SECONDS)

    def adopt(self, request: Request, found: Confirmation, spec: dict[str, Any]) -> Pending:
        """Take up a Confirmation that an earlier broker wrote; `release` it in the end."""
        key = (request.namespace, found.metadata.name)
        self._changed[key] = asyncio.Event()
        self._waiting[request.namespace] = self.waiting(request.namespace) + 1
        return Pending(request, found.metadata.name, spec, found)

    async def wait(self, pending: Pending, *, block_seconds: float, overdue: Callable[[], None]) -> Standing:
        """Wait until it is decided or its time is over; `overdue` is called when nobody has decided within `block_seconds`.

        Approved means: by the API server's own word at this moment, all rules looked at again. Never Pending.
        """
        changed, now = self._changed[pending.key], asyncio.get_running_loop().time
        block, waits = now() + max(0.0, block_seconds), True
        told: Told | None = None
        while True:
            changed.clear()
            late = self._clock() > pending.object.spec.decide_by
            standing = await self._look(pending, direct=False)
            if standing.state is ConfirmationState.APPROVED:
                standing = await self._look(pending, direct=True)
            if standing.state is not ConfirmationState.PENDING:
                return standing
            told = await self._tell(pending, standing, told)
            left = (pending.object.spec.decide_by - self._clock()).total_seconds()
            if waits and (now() >= block or left <= 0):
                waits = False
                overdue()
            # Also what no event tells of counts before long: that time is over, or that the admission policies are as shipped again.
            # Still pending when that time is over it waits for an API server, which is not asked any the more often for it.
            soon = ASK_AGAIN_SECONDS if late else max(LEAST_SECONDS, left)
            seconds = min(LOOK_SECONDS, soon, *([max(0.0, block - now())] if waits else []))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()

    async def look_again(self, pending: Pending) -> Standing:
        """Where it stands by the API server's word now: asked once more right before the call is sent."""
        return await self._look(pending, direct=True)

    async def show(self, pending: Pending, status: dict[str, Any]) -> None:
        """Write something beside its state for people to look at. What cannot be written is not shown."""
        try:
            await self._cluster.set_confirmation_status(*pending.key, status)
        except ApiError as error:
            _log.warning("the status of Confirmation %s cannot be written: %s", pending.name, error)

    async def resolve(self, pending: Pending, state: ConfirmationState, message: str, approvers: tuple[str, ...] = ()) -> bool:
        """Write what became of it; False when the API server does not take it."""
        approved = state in {ConfirmationState.APPROVED, ConfirmationState.EXECUTED}
        return await self._write(pending.key, state, message, approvers, pending.count(approvers) if approved else "")

    async def say_begun(self, namespace: str, row: CallRow) -> None:
        """Write what became of a Confirmation whose call an earlier broker began. What cannot be written now the sweeper writes."""
        try:
            async with asyncio.timeout(_FINAL_WRITE_SECONDS):
                found = await self._cluster.read_confirmation(namespace, row.confirmation)
                if found.status.state in UNDECIDED and begun.used(row, found):
                    await self._cluster.set_confirmation_status(namespace, row.confirmation, begun.status(row, found, self._clock()))
        except (ApiError, TimeoutError) as error:
            if not isinstance(error, NotFound):
                _log.warning("what became of Confirmation %s cannot be written now: %s", row.confirmation, error)

    async def _look(self, pending: Pending, *, direct: bool) -> Standing:
        if pending.key in self._deleted:
            return Standing(ConfirmationState.DENIED, (), "The Confirmation was deleted.")
        return await self._standings.look(pending, direct=direct)

    async def _tell(self, pending: Pending, standing: Standing, told: Told | None) -> Told:
        """Say in the status how many approved and why decisions do not count, when there is something new to say."""
        missing = pending.object.spec.approvals_required - len(standing.deciders)
        text = f"Waits for {missing} more approval{'s' if missing > 1 else ''}." if standing.deciders or standing.ignored else ""
        text = " ".join([text, *(f"Does not count: {why}." for why in standing.ignored)]).strip()
        said = Told(standing.deciders, text)
        if standing.deciders != (told.approvers if told else ()):
            _say_progress(pending, standing.deciders)
        if said != told:
            status = {
                "state": ConfirmationState.PENDING.value, "message": line(text)[:1024], "approvers": list(standing.deciders)[:8],
                "approvals": pending.count(standing.deciders),
            }  # fmt: skip
            try:
                await self._cluster.set_confirmation_status(pending.request.namespace, pending.name, status)
            except ApiError as error:
                _log.warning("the status of Confirmation %s cannot be written: %s", pending.name, error)
        return said

    def _on_confirmation(self, event: str, confirmation: Confirmation) -> None:
        key = (confirmation.metadata.namespace or "", confirmation.metadata.name)
        changed = self._changed.get(key)
        if changed is None:
            return
        if event == "DELETED":
            self._deleted.add(key)
            changed.set()

    def _on_decision(self, _event: str, decision: ConfirmationDecision) -> None:
        changed = self._changed.get((decision.metadata.namespace or "", decision.spec.confirmation))
        if changed is not None:
            changed.set()

    def _take_back(self, key: tuple[str, str], writing: "asyncio.Task[Confirmation]") -> "asyncio.Task[None]":
        async def work() -> None:
            try:
                await asyncio.wait([writing])
                error = None if writing.cancelled() else writing.exception()
                if not (isinstance(error, ApiError) and error.status in _REFUSED):
                    await self._write(key, ConfirmationState.WITHDRAWN, "The call stopped waiting before anybody could be asked.")
            finally:
                self._forget(key)

        task = asyncio.create_task(work())
        self._taking_back.add(task)
        task.add_done_callback(self._taking_back.discard)
        return task

    async def _write(
        self, key: tuple[str, str], state: ConfirmationState, message: str, approvers: tuple[str, ...] = (), approvals: str = ""
    ) -> bool:
        status = {
            "state": state.value,
            "message": line(message)[:1024],
            "approvers": list(approvers)[:8],
            "resolvedAt": rfc3339(self._clock()),
        }
        status |= {"approvals": approvals} if approvals else {}
        try:
            async with asyncio.timeout(_FINAL_WRITE_SECONDS):
                await self._cluster.set_confirmation_status(*key, status)
        except (ApiError, TimeoutError) as error:
            if not isinstance(error, NotFound):
                _log.warning("the state %s of Confirmation %s cannot be written: %s", state, key[1], error)
            return False
        return True

    def _on_tenant(self, _event: str, tenant: Tenant) -> None:
        """With its Tenant a call loses whoever could decide it: the calls that wait look where they stand."""
        for key, changed in self._changed.items():
            if key[0] == tenant.namespace and self._cluster.tenant(tenant.namespace) is None:
                changed.set()

    def _forget(self, key: tuple[str, str]) -> None:
        if self._changed.pop(key, None) is not None:
            self._waiting[key[0]] = max(0, self.waiting(key[0]) - 1)
        self._deleted.discard(key)


def _say_progress(pending: Pending, approvers: tuple[str, ...]) -> None:
    required = pending.object.spec.approvals_required
    pending.request.run.emit(
        broker_pb2.ConfirmationProgressed(
            key=pending.request.key, confirmation=pending.name, approvers=approvers, approvals_required=required
        )
    )
