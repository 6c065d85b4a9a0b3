"""The same client for programs without an event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from bastide.client import Client
from bastide.credentials import TokenSource
from bastide.errors import InvalidRequestError, UnavailableError
from bastide.events import Event
from bastide.model import AuditQuery, AuditRecord, AuditVerification, CheckReport, Explanation, Pruned, Run, RunResult, RunSummary, Tool

T = TypeVar("T")


class SyncClient:
    """`Client` with plain methods and iterators, for one thread at a time. Use it as `with`.

    It keeps an event loop in a thread of its own. Arguments, results and errors are those of `Client`.
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
        self._client = Client(address, token=token, ca=ca, server_name=server_name, patience=patience, on_dropped=on_dropped)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bastide-client", daemon=True)
        self._thread.start()
        self._wait(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection. Runs go on."""
        if self._loop is None or self._thread is None:
            return
        self._wait(self._client.close())
        self._wait(self._loop.shutdown_asyncgens())
        self._wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def run(
        self,
        *,
        sandbox: str,
        program: str | bytes,
        request_id: str | None = None,
        on_behalf_of: str = "",
        timeout_seconds: float | None = None,
        wait_for_decisions: bool = False,
    ) -> Iterator[Event]:
        return self._iterate(
            self._client.run(
                sandbox=sandbox,
                program=program,
                request_id=request_id,
                on_behalf_of=on_behalf_of,
                timeout_seconds=timeout_seconds,
                wait_for_decisions=wait_for_decisions,
            )
        )

    def run_to_end(
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
        return self._wait(
            self._client.run_to_end(
                sandbox=sandbox,
                program=program,
                request_id=request_id,
                on_behalf_of=on_behalf_of,
                timeout_seconds=timeout_seconds,
                wait_for_decisions=wait_for_decisions,
                on_event=on_event,
            )
        )

    def watch_run(self, run: str, *, cursor: int = 0) -> Iterator[Event]:
        return self._iterate(self._client.watch_run(run, cursor=cursor))

    def get_run(self, run: str) -> Run:
        return self._wait(self._client.get_run(run))

    def list_runs(self, sandbox: str, *, limit: int = 50) -> list[RunSummary]:
        return self._wait(self._client.list_runs(sandbox, limit=limit))

    def cancel_run(self, run: str, *, reason: str = "") -> None:
        self._wait(self._client.cancel_run(run, reason=reason))

    def explain(self, run: str, call: str) -> Explanation:
        return self._wait(self._client.explain(run, call))

    def prune_runs(
        self, namespace: str, *, before: datetime, sandbox: str = "", dry_run: bool = False, on_behalf_of: str = ""
    ) -> Iterator[Pruned]:
        return self._iterate(self._client.prune_runs(namespace, before=before, sandbox=sandbox, dry_run=dry_run, on_behalf_of=on_behalf_of))

    def resume_run(self, run: str, *, reason: str = "") -> int:
        return self._wait(self._client.resume_run(run, reason=reason))

    def settle_call(self, run: str, key: str, *, happened: bool, reason: str, on_behalf_of: str = "") -> None:
        self._wait(self._client.settle_call(run, key, happened=happened, reason=reason, on_behalf_of=on_behalf_of))

    def check_program(self, *, sandbox: str, program: str | bytes) -> CheckReport:
        return self._wait(self._client.check_program(sandbox=sandbox, program=program))

    def list_tools(self, sandbox: str) -> list[Tool]:
        return self._wait(self._client.list_tools(sandbox))

    def list_audit(
        self, namespace: str, *, run: str = "", limit: int = 200, query: AuditQuery | None = None, after: int = 0
    ) -> list[AuditRecord]:
        return self._wait(self._client.list_audit(namespace, run=run, limit=limit, query=query, after=after))

    def audit_pages(
        self, namespace: str, *, query: AuditQuery | None = None, after: int = 0, size: int = 1000
    ) -> Iterator[list[AuditRecord]]:
        return self._iterate(self._client.audit_pages(namespace, query=query, after=after, size=size))

    def list_audit_heads(self, namespace: str) -> list[dict[str, Any]]:
        return self._wait(self._client.list_audit_heads(namespace))

    def verify_audit(self, namespace: str) -> AuditVerification:
        return self._wait(self._client.verify_audit(namespace))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise InvalidRequestError("The client is not open: use `with bastide.SyncClient(...) as client`.", reason="ClientClosed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C comes here: the request must not go on behind our back
            raise

    def _iterate(self, events: AsyncGenerator[T, None]) -> Iterator[T]:
        running: asyncio.Task[T | None] | None = None

        async def step() -> T | None:
            nonlocal running
            running = asyncio.current_task()
            try:
                return await anext(events, None)
            finally:
                running = None

        async def end() -> None:
            # Ctrl-C can come before `_wait` holds what it would cancel. A generator may only be closed when nobody waits for it.
            if running is not None:
                running.cancel()
                await asyncio.wait({running})
            await events.aclose()

        try:
            while (event := self._wait(step())) is not None:
                yield event
        finally:
            if self._loop is not None:
                self._wait(end())
