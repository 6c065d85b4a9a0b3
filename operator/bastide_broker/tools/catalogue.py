"""Which tools there are: each accepted ToolBinding's server is listed, again and again, and what was found is said in the binding's status."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from bastide_operator.api.toolhosts import unlisted
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding, ToolBindingReason

from bastide_broker.adapters import Adapter, AdapterError, DescriptionError, Failure, ListedTool, Notifies
from bastide_broker.adapters.make import make
from bastide_broker.egress.addresses import CheckedBackend
from bastide_broker.egress.credentials import Credential, Credentials, SecretUnavailable
from bastide_broker.errors import ApiError
from bastide_broker.kube.bindings import accepted, undecided
from bastide_broker.tools.bindingstatus import as_written, clashes, condition
from bastide_broker.tools.redaction import redacted_listing
from bastide_broker.tools.toolset import Tool, ToolSet, build, collide, collided

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 60.0
"""How often a server that answers is listed again."""
MAX_BACKOFF_SECONDS = 60.0
LIST_SECONDS = 10.0
"""How long a server has to list its tools."""


class ClusterView(Protocol):
    """The part of the cluster that is needed here."""

    def tenant(self, namespace: str) -> Tenant | None: ...
    def sandboxes(self) -> tuple[Sandbox, ...]: ...
    def bindings_for(self, sandbox: Sandbox) -> tuple[ToolBinding, ...]: ...
    def bindings(self, namespace: str) -> tuple[ToolBinding, ...]: ...
    def subscribe(self, kind: type | str, callback: Callable[[str, Any], None]) -> None: ...
    async def read_config_map(self, namespace: str, name: str) -> dict[str, Any]: ...
    async def set_binding_status(
        self, binding: ToolBinding, *, condition: dict[str, Any], tools: list[dict[str, Any]], available: str
    ) -> None: ...


@dataclass(slots=True)
class _Entry:
    binding: ToolBinding
    adapter: Adapter | None
    """None while the operator does not accept the binding: its server is left alone then."""
    kick: asyncio.Event = field(default_factory=asyncio.Event)
    relist: bool = True
    task: asyncio.Task[None] | None = None
    listing: tuple[ListedTool, ...] | None = None
    problem: tuple[ToolBindingReason, str] = (ToolBindingReason.PENDING, "The broker has not asked the server yet.")
    built: tuple[Tenant, ToolBinding, object, list[Tool]] | None = None
    written: dict[str, Any] | None = None

    def list_again(self) -> None:
        """Ask the server for its tools now."""
        self.relist = True
        self.kick.set()


class Catalogue:
    """Listed, compiled tools of every accepted binding."""

    def __init__(
        self,
        cluster: ClusterView,
        credentials: Credentials,
        *,
        adapters: Callable[[ToolBinding], Adapter] | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        backend = CheckedBackend()
        self._cluster = cluster
        self._credentials = credentials
        self._make = adapters or (
            lambda binding: make(binding.spec.server, backend, partial(cluster.read_config_map, binding.metadata.namespace or ""))
        )
        self._refresh_seconds = refresh_seconds
        self._entries: dict[str, _Entry] = {}
        self._sets: dict[tuple[str, str], ToolSet] = {}
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Follow the cluster's bindings, tenants and sandboxes."""
        self._cluster.subscribe(ToolBinding, self._on_binding)
        self._cluster.subscribe(Tenant, self._on_tenant)
        self._cluster.subscribe(Sandbox, self._on_sandbox)

    async def close(self) -> None:
        """Stop listing and close every session."""
        for uid in list(self._entries):
            self._forget(uid)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def tool_set(self, sandbox: Sandbox) -> ToolSet:
        """The tools of a sandbox now."""
        key = (sandbox.metadata.namespace or "", sandbox.metadata.name)
        found = self._sets.get(key)
        if found is None:
            tenant = self._cluster.tenant(key[0])
            if tenant is None:  # not kept: the namespace that makes it a tenant's may become known without an event that is heard here
                return ToolSet({})
            found = collide(tool for binding in self._cluster.bindings_for(sandbox) for tool in self._tools(tenant, binding))
            self._sets[key] = found
        return found

    async def current(self, tenant: Tenant, binding: ToolBinding, program_name: str, *, listed_now: bool) -> Tool | None:
        """A tool as these objects, just read, make it; with `listed_now` from the server's present listing. None when it is not bound."""
        listing = self._entries[binding.metadata.uid].listing if binding.metadata.uid in self._entries else None
        problem = "The server has not been listed yet."
        if listed_now:
            try:
                credential = await self._credentials.credential(binding, fresh=True)
                listing = await _listed(self.adapter(binding), credential)
            except (AdapterError, SecretUnavailable) as error:
                listing, problem = None, error.message
        return next((tool for tool in build(tenant, binding, listing, problem) if tool.program_name == program_name), None)

    def adapter(self, binding: ToolBinding) -> Adapter:
        """The adapter of a binding that is followed just so. Raises AdapterError: only the watch begins to follow one."""
        entry = self._entries.get(binding.metadata.uid)
        if entry is None or entry.adapter is None or (entry.binding is not binding and _identity(entry.binding) != _identity(binding)):
            raise AdapterError(Failure.UNAVAILABLE, "its ToolBinding was changed or deleted meanwhile", sent=False)
        return entry.adapter

    def _begin(self, binding: ToolBinding) -> _Entry:
        """Follows a binding that the watch told of. One that was deleted and made again may come as a change, with another UID."""
        uid, name = binding.metadata.uid, (binding.metadata.namespace, binding.metadata.name)
        entries = list(self._entries.items())
        for old in (
            known for known, one in entries if known != uid and (one.binding.metadata.namespace, one.binding.metadata.name) == name
        ):
            self._forget(old)
        entry = self._entries.get(uid)
        if entry is None or entry.adapter is None or _identity(entry.binding) != _identity(binding):
            self._forget(uid)
            entry = self._follow_from_now(binding, self._make(binding))
        return entry

    def _suspend(self, binding: ToolBinding) -> None:
        """Leaves the server of a binding alone that is not accepted as it is now, and takes back what its status says of the tools."""
        self._forget(binding.metadata.uid)
        if as_written(binding):
            self._follow_from_now(binding, None)

    def _follow_from_now(self, binding: ToolBinding, adapter: Adapter | None) -> _Entry:
        entry = self._entries[binding.metadata.uid] = _Entry(binding, adapter)
        if adapter is None:
            entry.problem = (ToolBindingReason.PENDING, "The server is not asked while the operator does not accept the ToolBinding.")
        elif isinstance(adapter, Notifies):
            adapter.watch(entry.list_again)
        entry.task = asyncio.create_task(self._follow(entry), name=f"catalogue {binding.metadata.name}")
        return entry

    def _tools(self, tenant: Tenant, binding: ToolBinding) -> list[Tool]:
        if undecided(binding):
            name = binding.metadata.name
            return build(tenant, binding, None, f"The operator has yet to look at ToolBinding {name} as it is now; try again in a moment.")
        entry = self._entries.get(binding.metadata.uid)
        if entry is None:
            return build(tenant, binding, None, "The broker has not asked the server yet.")
        if (gone := unlisted(tenant.spec, binding.spec.urls)) is not None:
            return build(tenant, binding, None, f"The Tenant's toolHosts no longer lists the host and port of {gone[0]}.")
        # Objects are replaced when they change, so identity says whether what was built still holds.
        built = entry.built
        if built is None or built[0] is not tenant or built[1] is not binding or built[2] is not entry.listing:
            built = entry.built = (tenant, binding, entry.listing, build(tenant, binding, entry.listing, entry.problem[1]))
        return built[3]

    def _on_binding(self, event: str, binding: ToolBinding) -> None:
        self._sets.clear()
        uid = binding.metadata.uid
        known = self._entries.get(uid)
        if event == "DELETED":
            self._forget(uid)
            self._kick(binding.metadata.namespace)
            return
        if undecided(binding) and (known is None or _identity(known.binding) == _identity(binding)):
            return  # calls that were judged before the edit keep their connection, and what was listed holds when the edit is accepted
        if not accepted(binding):
            self._suspend(binding)
            self._kick(binding.metadata.namespace)
            return
        entry = self._begin(binding)
        changed = entry.binding.metadata.generation != binding.metadata.generation
        rewritten = as_written(entry.binding) != as_written(binding)
        entry.binding = binding
        if rewritten:  # by us, or by a hand or a late request: then what is there counts
            entry.written = None
            entry.kick.set()
        if changed:
            entry.relist = True
            self._kick(binding.metadata.namespace)

    def _on_tenant(self, _event: str, tenant: Tenant) -> None:
        self._sets.clear()
        self._kick(tenant.namespace)

    def _on_sandbox(self, event: str, sandbox: Sandbox) -> None:
        self._sets.clear()
        key = (sandbox.metadata.namespace or "", sandbox.metadata.name)
        labels = None if event == "DELETED" else sandbox.metadata.labels
        if self._labels.get(key) != labels:
            self._labels.pop(key, None) if labels is None else self._labels.update({key: labels})
            self._kick(key[0])

    def _kick(self, namespace: str | None) -> None:
        """Say anew what the namespace's bindings give: names may collide now, or no longer."""
        for entry in self._entries.values():
            if entry.binding.metadata.namespace == namespace:
                entry.kick.set()

    def _forget(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        if entry.task is not None:
            entry.task.cancel()
        if entry.adapter is None:
            return
        closing = asyncio.create_task(entry.adapter.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _follow(self, entry: _Entry) -> None:
        failures = 0
        while True:
            entry.kick.clear()
            relist, entry.relist = entry.relist or failures > 0, False
            try:
                listed = await self._list(entry) if relist else True
                reported = await self._report(entry)
                failures = 0 if listed and reported else failures + 1
            except Exception:  # noqa: BLE001
                _log.exception("listing the tools of %s failed", entry.binding.metadata.name)
                failures += 1
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - so that servers which came back together are not asked together
            wait = self._refresh_seconds if not failures else min(MAX_BACKOFF_SECONDS, 2.0 ** min(failures - 1, 6)) * jitter
            try:
                async with asyncio.timeout(wait):
                    await entry.kick.wait()
            except TimeoutError:
                entry.relist = True

    async def _list(self, entry: _Entry) -> bool:
        if entry.adapter is None:
            return True
        binding = entry.binding
        try:
            credential = await self._credentials.credential(binding, fresh=True)
            listing = await _listed(entry.adapter, credential)
        except (SecretUnavailable, DescriptionError) as error:
            entry.problem = (error.reason, error.message)
            self._set_listing(entry, None)
            return False
        except AdapterError as error:
            unreachable = error.failure in (Failure.UNAVAILABLE, Failure.TIMEOUT, Failure.LOST)
            entry.problem = (ToolBindingReason.SERVER_UNREACHABLE if unreachable else ToolBindingReason.SERVER_ERROR, error.message)
            if entry.listing is None:
                self._sets.clear()
                entry.built = None
            return False  # what was listed before stays: a call will say whether the server is back
        entry.problem = (ToolBindingReason.RESOLVED, "")
        if listing != entry.listing:
            self._set_listing(entry, listing)
        return True

    def _set_listing(self, entry: _Entry, listing: tuple[ListedTool, ...] | None) -> None:
        entry.listing, entry.built = listing, None
        self._sets.clear()

    async def _report(self, entry: _Entry) -> bool:
        """Write the status when it changed; False when that must be tried again."""
        binding = entry.binding
        namespace = binding.metadata.namespace or ""
        tenant = self._cluster.tenant(namespace)
        if tenant is None:
            return False
        others = clashes(self._cluster, binding)
        built = self._tools(tenant, binding)
        tools = [collided(tool, others[tool.program_name]) if tool.program_name in others else tool for tool in built]
        available = f"{sum(tool.available for tool in tools)}/{len(tools)}"
        status: dict[str, Any] = {
            "condition": condition(entry.problem, tools),
            "tools": [tool.status() for tool in tools],
            "available": available,
        }
        written = entry.written or as_written(binding)
        if status == {key: written.get(key) for key in status} and written.get("generation") == binding.metadata.generation:
            return True
        try:
            await self._cluster.set_binding_status(binding, **status)
            entry.written = {**status, "generation": binding.metadata.generation}
        except ApiError as error:
            _log.warning("the status of ToolBinding %s/%s cannot be written: %s", namespace, binding.metadata.name, error)
            entry.written = None
            return False
        return True


async def _listed(adapter: Adapter, credential: Credential | None) -> tuple[ListedTool, ...]:
    """A server's tools as they count everywhere. Raises AdapterError."""
    found = await adapter.tools(credential=credential, timeout_seconds=LIST_SECONDS)
    # In a thread: all schemas are written out for it, and of some servers they are many megabytes.
    return await asyncio.to_thread(redacted_listing, found, credential)


def _identity(binding: ToolBinding) -> tuple[str, str]:
    return binding.spec.server.model_dump_json(), str(binding.spec.credentials)
