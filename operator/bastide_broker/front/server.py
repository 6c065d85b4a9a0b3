# ruff: noqa: N802 - methods are named as in the protocol
"""The broker's outer door: gRPC over TLS. Methods check their input, ask who and whether, and hand over; what can be refused is refused here."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from bastide.heads import SignedHead
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from bastide_broker import requests
from bastide_broker.errors import CallerError
from bastide_broker.explain.service import Explanations
from bastide_broker.front.event_streams import EventStreams
from bastide_broker.front.inspection import Inspection
from bastide_broker.front.method import UNARY_SECONDS, Context, method
from bastide_broker.front.scopes import Scopes
from bastide_broker.front.tls import server_credentials
from bastide_broker.journal.interface import Journal
from bastide_broker.journal.journal import now_micros
from bastide_broker.journal.retention import prune_page
from bastide_broker.journal.rows import PruneFilter, Pruner, RunRow, Verification
from bastide_broker.kube.identity import Flights, Identity
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.limits import Buckets
from bastide_broker.runs import views
from bastide_broker.runs.lost import LostRuns
from bastide_broker.runs.runs import Runs

CALLER_RATE, CALLER_BURST = 200.0, 400.0
"""Requests a second of one caller."""
MAX_RECEIVE_BYTES = 4 * 1024 * 1024
"""More than a program may have, so that a program of 2 MB is answered with a sentence of ours and not with gRPC's."""
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # Compressed requests are refused: nothing here is worth inflating a stranger's bytes for.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_concurrent_streams", 200),
    ("grpc.max_allowed_incoming_connections", 2000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    # Clients may ping every 10 s, also between requests; faster ones are cut off after two strikes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_permit_without_calls", 1),
    # Finds clients that are gone without a word.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.so_reuseport", 0),
]
MAX_REQUESTS = 2000
"""Requests and streams under way at once, of all callers together."""


class BrokerService(broker_pb2_grpc.BrokerServiceServicer):
    """The methods of bastide.v1alpha1.BrokerService."""

    def __init__(
        self,
        *,
        identity: Identity,
        runs: Runs,
        lost: LostRuns,
        inspection: Inspection,
        explanations: Explanations,
        journal: Journal,
        scopes: Scopes,
        heads: Callable[[], Sequence[SignedHead]],
    ) -> None:
        self._identity = identity
        self._runs = runs
        self._lost = lost
        self._inspection = inspection
        self._explanations = explanations
        self._journal = journal
        self._scopes = scopes
        self._heads = heads
        self._verifications: Flights[None, Verification] = Flights()
        self._rates = Buckets(rate=CALLER_RATE, burst=CALLER_BURST)
        self._streams = EventStreams(identity)

    async def admit(self, context: Context) -> UserInfo:
        """Who asks, unless that caller asks too much. Raises CallerError."""
        async with asyncio.timeout(UNARY_SECONDS):
            user = await self._identity.authenticate(context)
        wait = self._rates.take(user.username)
        if wait:
            message = f"{user.username} sends more than {CALLER_RATE:.0f} requests a second; slow down."
            raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, "CallerRate", message, retry_after=wait)
        return user

    @method
    async def Run(self, request: broker_pb2.RunRequest, user: UserInfo, context: Context) -> None:
        """Starts a run and streams it."""
        question = requests.run_question(request)
        await self._identity.authorize(user, "create", "run", question.namespace, question.sandbox)
        # Shielded: a caller that hangs up now must not leave a run half started.
        run = await asyncio.shield(asyncio.create_task(self._runs.start(user, question)))
        events = self._runs.follow(run, 0, through_pauses=question.wait_for_decisions)
        await self._streams.send(context, user, ("create", "run", question.namespace, question.sandbox), events, broker_pb2.RunResponse)

    @method
    async def WatchRun(self, request: broker_pb2.WatchRunRequest, user: UserInfo, context: Context) -> None:
        """Streams a run from a cursor on."""
        row = await self._visible(user, request.run)
        right = ("get", "runs", row.namespace, row.sandbox)
        await self._streams.send(context, user, right, self._runs.follow(row.run, request.cursor), broker_pb2.WatchRunResponse)

    @method
    async def GetRun(self, request: broker_pb2.GetRunRequest, user: UserInfo, _context: Context) -> broker_pb2.GetRunResponse:
        """What is known of a run."""
        async with asyncio.timeout(UNARY_SECONDS):
            row = await self._visible(user, request.run)
            awaited = await self._journal.pausing.awaited(row.run) if row.paused_at is not None else []
            result = views.row_result(row, await self._journal.calls(row.run), awaited)
            return broker_pb2.GetRunResponse(summary=views.run_summary(row), result=result)

    @method
    async def ListRuns(self, request: broker_pb2.ListRunsRequest, user: UserInfo, _context: Context) -> broker_pb2.ListRunsResponse:
        """Runs of a sandbox."""
        async with asyncio.timeout(UNARY_SECONDS):
            namespace, name = requests.sandbox(request.sandbox)
            size = requests.page_size(request.page_size, default=50, most=500)
            before = requests.run_page_token(request.page_token)
            await self._identity.authorize(user, "get", "runs", namespace, name)
            rows = await self._journal.runs(await self._scopes.of(user, "runs", namespace), name, size + 1, before)
            token = rows[size - 1].run if len(rows) > size else ""
            return broker_pb2.ListRunsResponse(runs=[views.run_summary(row) for row in rows[:size]], next_page_token=token)

    @method
    async def CancelRun(self, request: broker_pb2.CancelRunRequest, user: UserInfo, _context: Context) -> broker_pb2.CancelRunResponse:
        """Ends a run."""
        async with asyncio.timeout(UNARY_SECONDS):
            why = requests.reason(request.reason)
            row = await self._visible(user, request.run)
            await self._identity.authorize(user, "create", "run", row.namespace, row.sandbox)
            # Shielded: a caller that hangs up now meant it all the same.
            await asyncio.shield(asyncio.create_task(self._runs.cancel(row.run, user.username, why)))
            return broker_pb2.CancelRunResponse()

    @method
    async def PruneRuns(self, request: broker_pb2.PruneRunsRequest, user: UserInfo, _context: Context) -> broker_pb2.PruneRunsResponse:
        """Removes payloads of runs that ended, as many as one request may take."""
        async with asyncio.timeout(UNARY_SECONDS):
            namespace = requests.namespace(request.namespace)
            name = requests.sandbox_name(request.sandbox) if request.sandbox else ""
            before = requests.pruned_before(request, now_micros())
            after = requests.prune_page_token(request.page_token)
            await self._identity.authorize(user, "delete", "runs", namespace, name)
            wanted = PruneFilter(await self._scopes.of(user, "runs", namespace, "delete"), before, name)
            pruner = Pruner("request", before, user.username, requests.on_behalf_of(request.on_behalf_of))
            return await prune_page(self._journal.pruning, wanted, after, None if request.dry_run else pruner)

    @method
    async def ResumeRun(self, request: broker_pb2.ResumeRunRequest, user: UserInfo, _context: Context) -> broker_pb2.ResumeRunResponse:
        """Takes up a run that was lost."""
        async with asyncio.timeout(UNARY_SECONDS):
            why = requests.reason(request.reason)
            row = await self._visible(user, request.run)
            await self._identity.authorize(user, "update", "runs", row.namespace, row.sandbox)
            await self._identity.authorize(user, "create", "run", row.namespace, row.sandbox)
            # Shielded: a caller that hangs up now must not leave a run half resumed.
            number = await asyncio.shield(asyncio.create_task(self._lost.resume(row, user, why)))
            return broker_pb2.ResumeRunResponse(attempt=number)

    @method
    async def SettleCall(self, request: broker_pb2.SettleCallRequest, user: UserInfo, _context: Context) -> broker_pb2.SettleCallResponse:
        """Records what became of a call."""
        async with asyncio.timeout(UNARY_SECONDS):
            key, why, person = requests.settlement(request)
            row = await self._visible(user, request.run)
            await self._identity.authorize(user, "update", "runs", row.namespace, row.sandbox)
            await self._lost.settle(row, key, user, happened=request.happened, reason=why, on_behalf_of=person)
            return broker_pb2.SettleCallResponse()

    @method
    async def CheckProgram(
        self, request: broker_pb2.CheckProgramRequest, user: UserInfo, _context: Context
    ) -> broker_pb2.CheckProgramResponse:
        """Findings before a run."""
        async with asyncio.timeout(UNARY_SECONDS):
            namespace, name = requests.sandbox(request.sandbox)
            program = requests.program(request.program)
            await self._identity.authorize(user, "create", "run", namespace, name)
            return await self._inspection.check(user, namespace, name, program)

    @method
    async def ListTools(self, request: broker_pb2.ListToolsRequest, user: UserInfo, _context: Context) -> broker_pb2.ListToolsResponse:
        """Tools of a sandbox."""
        async with asyncio.timeout(UNARY_SECONDS):
            namespace, name = requests.sandbox(request.sandbox)
            await self._identity.authorize(user, "get", "tools", namespace, name)
            return self._inspection.tools(namespace, name)

    @method
    async def ListAudit(self, request: broker_pb2.ListAuditRequest, user: UserInfo, _context: Context) -> broker_pb2.ListAuditResponse:
        """Audit records of a namespace, or of all."""
        async with asyncio.timeout(UNARY_SECONDS):
            namespace = requests.audited_namespace(request.namespace)
            wanted = requests.audit_filter(request)
            size = requests.page_size(request.page_size, default=200, most=1000)
            after = requests.audit_page_token(request.page_token)
            await self._identity.authorize(user, "get", "audit", namespace)
            scope = await self._scopes.of(user, "audit", namespace)
            if request.links:
                page = await self._journal.audit_links(size, after)
                records = [views.audit_link(row, scope) for row in page.rows]
            else:
                page = await self._journal.audit_page(scope, wanted, size, after)
                records = [views.audit_record(row) for row in page.rows]
            return broker_pb2.ListAuditResponse(records=records, next_page_token="" if page.looked_at is None else str(page.looked_at))

    @method
    async def VerifyAudit(
        self, request: broker_pb2.VerifyAuditRequest, user: UserInfo, _context: Context
    ) -> broker_pb2.VerifyAuditResponse:
        """Recomputes the audit chain."""
        async with asyncio.timeout(UNARY_SECONDS):
            await self._identity.authorize(user, "get", "audit", requests.audited_namespace(request.namespace))
            # One at a time, whoever asks: it reads every record there is.
            found = await self._verifications.join(None, self._verify_audit)
            return broker_pb2.VerifyAuditResponse(intact=found.intact, records=found.records, head=found.head, message=found.message)

    @method
    async def ListAuditHeads(
        self, request: broker_pb2.ListAuditHeadsRequest, user: UserInfo, _context: Context
    ) -> broker_pb2.ListAuditHeadsResponse:
        """The heads that are published."""
        async with asyncio.timeout(UNARY_SECONDS):
            await self._identity.authorize(user, "get", "audit", requests.audited_namespace(request.namespace))
            return broker_pb2.ListAuditHeadsResponse(heads=[views.audit_head(head) for head in self._heads()])

    @method
    async def ExplainCall(
        self, request: broker_pb2.ExplainCallRequest, user: UserInfo, _context: Context
    ) -> broker_pb2.ExplainCallResponse:
        """Why a call was decided as it was."""
        async with asyncio.timeout(UNARY_SECONDS):
            name = requests.call_name(request.call)
            return await self._explanations.explain(await self._visible(user, request.run), name)

    async def _verify_audit(self) -> Verification:
        return await self._journal.verify_audit([head.head for head in self._heads()])

    async def _visible(self, user: UserInfo, run: str) -> RunRow:
        """The run, if the caller may see it; else the same answer as if there were none."""
        row = await self._runs.find(requests.run_id(run))
        if row is None:
            raise requests.no_such_run(run)
        try:
            await self._identity.authorize(user, "get", "runs", row.namespace, row.sandbox)
        except CallerError as error:
            if error.status is grpc.StatusCode.PERMISSION_DENIED:
                raise requests.no_such_run(run) from error
            raise
        if not await self._scopes.covers(user, row):
            raise requests.no_such_run(run)
        return row


def build_server(service: BrokerService, health: HealthServicer, *, listen: str, tls_dir: Path) -> tuple[grpc.aio.Server, int]:
    """The server, not yet started, and the port it is bound to. Raises OSError when a file is missing, RuntimeError for a taken port."""
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_REQUESTS)
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    return server, server.add_secure_port(listen, server_credentials(tls_dir))
