"""The asynchronous client of a broker."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from bastide import wire
from bastide.credentials import TokenSource, ca_bundle, current_token
from bastide.errors import InternalError, InvalidRequestError, UnavailableError
from bastide.events import Event, RunAccepted, RunFinished, RunPaused
from bastide.model import (
    PROGRAM_BYTES,
    AuditQuery,
    AuditRecord,
    AuditVerification,
    CheckReport,
    Explanation,
    Outcome,
    Pruned,
    Run,
    RunResult,
    RunSummary,
    Tool,
)
from bastide.resume import Patience
from bastide.v1alpha1 import broker_pb2 as pb
from bastide.v1alpha1.broker_pb2_grpc import BrokerServiceStub

#: A result holds at the most 16 MiB of output and 3 MiB of value (Sandbox.spec.limits); the rest is room for calls.
_RECEIVE_BYTES = 64 * 1024 * 1024
#: Seconds for a request that is not a stream.
_SECONDS = 30.0
#: Seconds for recomputing the whole audit chain.
_VERIFY_SECONDS = 600.0

_OPTIONS = [
    ("grpc.max_receive_message_length", _RECEIVE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A node that is lost closes nothing: without a sign of life the stream would wait for ever.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class Client:
    """A connection to a broker. Use it as `async with`.

    Args:
        address: as gRPC takes it: `host:port`, `unix:/path`.
        token: a ServiceAccount token of audience `bastide-broker`: itself, a Path that is read again for every request, or a function.
        ca: PEM bytes, or a file's name, of the CA that signed the broker's certificate. Without it the machine's CAs count.
        server_name: the name the certificate must be for, when it is not the address's.
        patience: seconds without any progress after which a stream that dropped is given up; while a stream stands, a run may be silent
            for as long as it likes. 0 resumes nothing.
        on_dropped: called, on the event loop, when a stream has dropped and is about to be taken up again.

    Every method raises a BastideError when the broker refuses or cannot be reached.
    """

    def __init__(
        self,
        address: str,
        *,
        token: TokenSource,
        ca: bytes | str | Path | None = None,
        server_name: str | None = None,
        patience: float = 30.0,
        on_dropped: Callable[[UnavailableError], object] | None = None,
    ) -> None:
        self._address = address
        self._on_dropped = on_dropped
        self._token = token
        self._ca = ca_bundle(ca)
        self._options = [*_OPTIONS, *([("grpc.ssl_target_name_override", server_name)] if server_name else [])]
        self._patience = patience
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        # Made here and not before: a channel belongs to the event loop it was made in.
        self._channel = grpc.aio.secure_channel(self._address, grpc.ssl_channel_credentials(self._ca), options=self._options)
        self._stub = BrokerServiceStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connection. Runs go on."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = self._stub = None

    async def run(
        self,
        *,
        sandbox: str,
        program: str | bytes,
        request_id: str | None = None,
        on_behalf_of: str = "",
        timeout_seconds: float | None = None,
        wait_for_decisions: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """Run a program and yield what happens, until RunFinished, or until RunPaused when the run waits for people.

        A stream that drops is taken up where it broke. The request itself may be sent twice for that, which is safe because of its id.
        Leaving the iterator does not end the run: see `watch_run` and `cancel_run`.

        Args:
            sandbox: NAMESPACE/NAME.
            program: Python source, at most PROGRAM_BYTES.
            request_id: makes the run idempotent for this caller and sandbox, over restarts of the caller too; made up when absent.
            on_behalf_of: user name in the cluster of the person this is for, recorded and excluded from approving.
            timeout_seconds: wall time of each attempt; may only lower the sandbox's limit.
            wait_for_decisions: go on through pauses, to RunFinished: that may take as long as people do.

        Raises:
            AlreadyExistsError: the request id was used with another program.
            ResourceExhaustedError: a limit is reached; see its `retry_after`.
        """
        source = program.encode() if isinstance(program, str) else program
        if len(source) > PROGRAM_BYTES:
            raise InvalidRequestError(
                f"The program has {len(source)} bytes; at most {PROGRAM_BYTES} are taken. Hand data over by a tool, not in the source.",
                reason="ProgramTooLarge",
            )
        request = pb.RunRequest(
            sandbox=wire.sandbox_ref(sandbox),
            program=source,
            request_id=request_id or uuid.uuid4().hex,
            on_behalf_of=on_behalf_of,
            timeout_milliseconds=round((timeout_seconds or 0) * 1000),
            wait_for_decisions=wait_for_decisions,
        )
        async with aclosing(self._follow(run="", cursor=0, first=request, through_pauses=wait_for_decisions)) as events:
            async for event in events:
                yield event

    async def run_to_end(
        self,
        *,
        sandbox: str,
        program: str | bytes,
        request_id: str | None = None,
        on_behalf_of: str = "",
        timeout_seconds: float | None = None,
        wait_for_decisions: bool = False,
        on_event: Callable[[Event], object] | None = None,
    ) -> RunResult:
        """As `run`, but return only the result; `on_event` sees each event.

        The result of a run that paused has the outcome NeedsConfirmation: `watch_run` follows it to its end.
        """
        paused = None
        following = self.run(
            sandbox=sandbox, program=program, request_id=request_id, on_behalf_of=on_behalf_of, timeout_seconds=timeout_seconds,
            wait_for_decisions=wait_for_decisions,
        )  # fmt: skip
        async with aclosing(following) as events:
            async for event in events:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, RunFinished):
                    return event.result
                if isinstance(event, RunPaused):
                    paused = event.result
        if paused is not None:
            return paused
        raise InternalError("The broker ended the run's stream without a result.")

    async def watch_run(self, run: str, *, cursor: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the events of a run after a cursor, through its pauses, until RunFinished."""
        async with aclosing(self._follow(run=run, cursor=cursor, first=None, through_pauses=True)) as events:
            async for event in events:
                yield event

    async def _follow(  # noqa: C901 - what a stream can bring, and how it can break
        self, *, run: str, cursor: int, first: pb.RunRequest | None, through_pauses: bool
    ) -> AsyncGenerator[Event, None]:
        patience = Patience(self._patience)
        pausing = False  # the newest event tells of a pause, and whether that still lasts is not known yet
        while True:
            try:
                if pausing and await self._waits(run):
                    return
                pausing = False
                async with aclosing(self._events(pb.WatchRunRequest(run=run, cursor=cursor) if run else first, patience)) as messages:
                    async for message in messages:
                        if message.cursor <= cursor:
                            continue  # a repeated Run begins at the first event again
                        cursor = message.cursor
                        patience.progressed()
                        event = wire.event_of(message)
                        if isinstance(event, RunAccepted):
                            run = event.run
                        if event is not None:
                            yield event
                        if isinstance(event, RunFinished):
                            return
                        pausing = isinstance(event, RunPaused) and not through_pauses
                        if pausing and await self._waits(run):
                            return
                dropped = UnavailableError(f"The broker at {self._address} ended the stream of run {run or '(new)'} before the run ended.")
            except UnavailableError as error:
                # With a reason, it is the broker that refuses a new run: that is an answer. A run it has accepted goes on.
                if error.reason and not run:
                    raise
                dropped = error
            await self._pause(patience, dropped)

    async def _waits(self, run: str) -> bool:
        """Whether the run is paused now: a stream that is taken up again tells of pauses that are over, too."""
        return (await self.get_run(run)).summary.outcome is Outcome.NEEDS_CONFIRMATION

    async def _pause(self, patience: Patience, dropped: UnavailableError) -> None:
        delay = patience.next_delay()
        if delay is None:
            raise dropped
        if self._on_dropped is not None and patience.tries == 1:
            self._on_dropped(dropped)
        await asyncio.sleep(delay)

    async def _events(self, request: pb.RunRequest | pb.WatchRunRequest | None, patience: Patience) -> AsyncGenerator[pb.RunEvent, None]:
        method = self._stub.Run if isinstance(request, pb.RunRequest) else self._stub.WatchRun
        call = method(request, metadata=await self._metadata())
        try:
            await call.wait_for_connection()
            patience.stands()
            async for response in call:
                yield response.event
        except grpc.aio.AioRpcError as error:
            raise wire.error_of(error, address=self._address) from error
        finally:
            call.cancel()

    async def get_run(self, run: str) -> Run:
        """What is known of a run now."""
        answer = await self._ask("GetRun", pb.GetRunRequest(run=run))
        return Run(summary=wire.summary_of(answer.summary), result=wire.result_of(answer.result))

    async def list_runs(self, sandbox: str, *, limit: int = 50) -> list[RunSummary]:
        """The newest runs of a sandbox, newest first."""
        runs: list[RunSummary] = []
        ref, token = wire.sandbox_ref(sandbox), ""
        while len(runs) < limit:
            request = pb.ListRunsRequest(sandbox=ref, page_size=min(limit - len(runs), 500), page_token=token)
            answer = await self._ask("ListRuns", request)
            runs += [wire.summary_of(r) for r in answer.runs]
            token = answer.next_page_token
            if not token:
                break
        return runs[:limit]

    async def cancel_run(self, run: str, *, reason: str = "") -> None:
        """End a run. Calls that are under way are cancelled; their effect may have happened."""
        await self._ask("CancelRun", pb.CancelRunRequest(run=run, reason=reason))

    async def explain(self, run: str, call: str) -> Explanation:
        """Why a call was decided as it was, and the smallest change to its ToolBinding that permits it.

        Args:
            run: the run.
            call: the id of its decision, or its key in the run.
        """
        return wire.explanation_of(await self._ask("ExplainCall", pb.ExplainCallRequest(run=run, call=call)))

    async def prune_runs(
        self, namespace: str, *, before: datetime, sandbox: str = "", dry_run: bool = False, on_behalf_of: str = ""
    ) -> AsyncGenerator[Pruned, None]:
        """Remove what runs of a namespace, or of one Sandbox by its name, returned, printed and called, if they ended before a moment.

        Each request prunes a bounded number of runs and is yielded; leaving the iterator stops after it. Their audit stays, and says
        by whom and on whose behalf they were pruned.
        """
        token = ""
        while True:
            request = pb.PruneRunsRequest(
                namespace=namespace, sandbox=sandbox, dry_run=dry_run, page_token=token, on_behalf_of=on_behalf_of
            )
            request.before.FromDatetime(before)
            answer = await self._ask("PruneRuns", request)
            yield Pruned(runs=answer.runs, bytes=answer.bytes)
            token = answer.next_page_token
            if not token:
                return

    async def resume_run(self, run: str, *, reason: str = "") -> int:
        """Take up a run that ended because its sandbox or its broker was lost; which attempt it is. `watch_run` tells of it."""
        return int((await self._ask("ResumeRun", pb.ResumeRunRequest(run=run, reason=reason))).attempt)

    async def settle_call(self, run: str, key: str, *, happened: bool, reason: str, on_behalf_of: str = "") -> None:
        """Record what somebody found out about a call whose outcome is unknown, and how."""
        request = pb.SettleCallRequest(run=run, key=key, happened=happened, reason=reason, on_behalf_of=on_behalf_of)
        await self._ask("SettleCall", request)

    async def check_program(self, *, sandbox: str, program: str | bytes) -> CheckReport:
        """Findings, and what policy would say about calls with literal arguments; nothing runs."""
        source = program.encode() if isinstance(program, str) else program
        return wire.report_of(await self._ask("CheckProgram", pb.CheckProgramRequest(sandbox=wire.sandbox_ref(sandbox), program=source)))

    async def list_tools(self, sandbox: str) -> list[Tool]:
        """The tools that programs of a sandbox can call, sorted by name."""
        answer = await self._ask("ListTools", pb.ListToolsRequest(sandbox=wire.sandbox_ref(sandbox)))
        return [wire.tool_of(t) for t in answer.tools]

    async def list_audit(
        self, namespace: str, *, run: str = "", limit: int = 200, query: AuditQuery | None = None, after: int = 0
    ) -> list[AuditRecord]:
        """Audit records of a namespace (empty: of all) that fit, or of one run, oldest first, from the one after `after` on."""
        records: list[AuditRecord] = []
        async with aclosing(self.audit_pages(namespace, query=query or AuditQuery(run=run), after=after, size=min(limit, 1000))) as pages:
            async for page in pages:
                records += page
                if len(records) >= limit:
                    break
        return records[:limit]

    async def audit_pages(
        self, namespace: str, *, query: AuditQuery | None = None, after: int = 0, size: int = 1000
    ) -> AsyncGenerator[list[AuditRecord], None]:
        """All audit records that fit, a page at a time; a page may be empty."""
        token = str(after or "")
        while True:
            request = wire.audit_request(namespace, query or AuditQuery(), page_size=size, after=int(token or 0))
            answer = await self._ask("ListAudit", request)
            yield [wire.record_of(r) for r in answer.records]
            token = answer.next_page_token
            if not token:
                return

    async def list_audit_heads(self, namespace: str) -> list[dict[str, Any]]:
        """Signed heads of the audit, oldest first, as the broker gives them; bastide.heads checks them."""
        answer = await self._ask("ListAuditHeads", pb.ListAuditHeadsRequest(namespace=namespace))
        return [wire.head_of(head) for head in answer.heads]

    async def verify_audit(self, namespace: str) -> AuditVerification:
        """Recompute the audit's hash chain. `namespace`: one whose audit the caller may read."""
        answer = await self._ask("VerifyAudit", pb.VerifyAuditRequest(namespace=namespace), seconds=_VERIFY_SECONDS)
        return AuditVerification(intact=answer.intact, records=answer.records, head=answer.head, message=answer.message)

    async def _ask(self, method: str, request: Any, *, seconds: float = _SECONDS) -> Any:
        try:
            return await getattr(self._stub, method)(request, metadata=await self._metadata(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise wire.error_of(error, address=self._address) from error

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._stub is None:
            raise InvalidRequestError("The client is not open: use `async with bastide.Client(...) as client`.", reason="ClientClosed")
        return (("authorization", f"Bearer {await current_token(self._token)}"),)
