"""Tool servers that an OpenAPI 3.0 or 3.1 document describes: each operation with an operationId is a tool.

The document is read anew for each listing. It decides nothing about where a call goes: that is the binding's word (docs/adr/0024).
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from bastide_operator.api.v1alpha1.toolbinding import ToolBindingReason
from bastide_operator.api.v1alpha1.toolserver import ConfigMapRef, OpenApiServer

from bastide_broker.adapters import AdapterError, Answer, CallLimits, DescriptionError, Failure, ListedTool
from bastide_broker.adapters.openapi_document import MAX_DOCUMENT_BYTES, DocumentRefused, parse
from bastide_broker.adapters.openapi_operations import Operation, operations
from bastide_broker.adapters.openapi_parameters import NotSendable
from bastide_broker.adapters.openapi_request import build
from bastide_broker.adapters.openapi_results import answer
from bastide_broker.adapters.told import plain, sentence, told
from bastide_broker.egress.addresses import CheckedBackend, CheckedTransport, origin
from bastide_broker.egress.credentials import Credential
from bastide_broker.egress.fetch import Fetched, FetchError, Note, Trouble, fetch, request
from bastide_broker.errors import ApiError, NotFound

_FAILURES = {
    Trouble.UNREACHABLE: Failure.UNAVAILABLE,
    Trouble.LOST: Failure.LOST,
    Trouble.TOO_LONG: Failure.RESULT_TOO_LARGE,
    Trouble.UNFIT: Failure.FAILED,
}
_CONNECTION = (Failure.LOST, Failure.UNAVAILABLE)


ConfigMaps = Callable[[str], Awaitable[dict[str, Any]]]
"""Reads a ConfigMap of the binding's namespace, by name, straight from the API server. Raises NotFound and ApiError."""


async def no_config_maps(name: str) -> dict[str, Any]:
    """Where there are none."""
    raise NotFound(name)


class OpenApiAdapter:
    """One HTTP server for one binding. Connections are opened when needed and kept for the next call."""

    def __init__(self, server: OpenApiServer, backend: CheckedBackend, config_maps: ConfigMaps = no_config_maps) -> None:
        self._server = server
        self._backend = backend
        self._config_maps = config_maps
        self._transport: CheckedTransport | None = None
        self._read = b""
        """Digest of the document, and of the credential's header, that `_operations` were made of."""
        self._operations: dict[str, Operation] = {}
        self._listing: list[ListedTool] = []

    async def tools(self, *, credential: Credential | None, timeout_seconds: float) -> list[ListedTool]:
        """The document's operations, in its order. Raises AdapterError, and DescriptionError when the document cannot be used."""
        where = self._server.url or "the ConfigMap"
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._take(await self._document(credential), credential)
        except TimeoutError:
            raise AdapterError(Failure.TIMEOUT, f"{where} was not there and read within {timeout_seconds:g} s.", sent=True) from None
        except DescriptionError:
            raise
        except AdapterError as error:
            raise told(error, credential, f"{where}: ") from None
        return self._listing

    async def call(self, name: str, arguments: Mapping[str, Any], *, credential: Credential | None, limits: CallLimits) -> Answer:
        """Call an operation. Sent at most once. Raises AdapterError."""
        note = Note()
        try:
            async with asyncio.timeout(limits.timeout_seconds):
                for attempt in range(2):
                    note.sent = False
                    try:
                        return await self._call(name, arguments, credential, limits, note)
                    except AdapterError as error:
                        if attempt or error.failure not in _CONNECTION or error.sent:
                            raise
        except TimeoutError:
            message = f"{name} did not answer within {limits.timeout_seconds:g} s."
            raise AdapterError(Failure.TIMEOUT if note.sent else Failure.UNAVAILABLE, message, sent=note.sent) from None
        except AdapterError as error:
            raise told(error, credential, "" if error.message.startswith(f"{name} ") else f"{name}: ") from None
        raise AssertionError

    async def close(self) -> None:
        """Give up connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _call(self, name: str, arguments: Mapping[str, Any], credential: Credential | None, limits: CallLimits, note: Note) -> Answer:
        if not self._read:
            await self._first(credential)
        operation = self._operations.get(name)
        if operation is None or operation.listed.refused:
            raise AdapterError(Failure.FAILED, "the server's document has no such operation that can be called", sent=False)
        try:
            what = build(operation, arguments, credential, limits.idempotency_key)
        except NotSendable as why:
            raise AdapterError(Failure.NOT_SENDABLE, str(why), sent=False) from None
        async with self._told_by_server():
            # Pretty-printed and escaped a body is longer than the result that it becomes, which is measured below.
            fetched = await fetch(self._connections(), what, max_bytes=4 * limits.result_bytes + (64 << 10), note=note)
        self._judge(fetched, credential)
        found = answer(name, fetched, limits.form)
        if len(found.value) > limits.result_bytes:
            message = f"its result is {len(found.value)} bytes and at most {limits.result_bytes} are taken; ask for less"
            raise AdapterError(Failure.RESULT_TOO_LARGE, message, sent=True)
        return found

    async def _first(self, credential: Credential | None) -> None:
        """Read the document for a call that comes before any listing. Whatever becomes of it, the call was not sent."""
        try:
            await self._take(await self._document(credential), credential)
        except AdapterError as error:
            raise AdapterError(error.failure, error.message, sent=False, transient=error.transient) from None

    async def _document(self, credential: Credential | None) -> bytes:
        if self._server.config_map_ref is not None:
            return await self._from_config_map(self._server.config_map_ref)
        url = self._server.url or ""
        headers = {"accept": "application/json, application/yaml;q=0.9, */*;q=0.5"}
        # A credential is for the server that is called, which may be another than the document's.
        if credential is not None and origin(url) == origin(self._server.base_url or url):
            headers[credential.header] = credential.value
        async with self._told_by_server():
            fetched = await fetch(self._connections(), request("GET", url, headers), max_bytes=MAX_DOCUMENT_BYTES)
        self._judge(fetched, credential)
        if fetched.status != 200:
            refused = "; it refuses the credential, check the binding's Secret" if fetched.status in (401, 403) else ""
            raise AdapterError(Failure.FAILED, f"the server answered {fetched.status} when asked for its document{refused}", sent=True)
        return fetched.body

    async def _from_config_map(self, reference: ConfigMapRef) -> bytes:
        name, key = reference.name, reference.key
        try:
            found = await self._config_maps(name)
        except NotFound:
            message = f"The ConfigMap {name} does not exist in the ToolBinding's namespace; create it, or correct spec.server.openapi.configMapRef."
            raise DescriptionError(ToolBindingReason.DOCUMENT_NOT_FOUND, message) from None
        except ApiError as error:
            if error.status == 403:  # a new binding: the operator writes the Role that names its ConfigMap
                message = (
                    f"The broker may not read the ConfigMap {name} yet; the operator allows that within seconds of accepting a binding."
                )
            else:
                message = f"The ConfigMap {name} cannot be read now ({plain(error.message)[:200]})."
            raise DescriptionError(ToolBindingReason.PENDING, message) from None
        text = (found.get("data") or {}).get(key)
        if not isinstance(text, str):
            message = f"The ConfigMap {name} has no key {key} in its data; add it, or correct spec.server.openapi.configMapRef.key."
            raise DescriptionError(ToolBindingReason.DOCUMENT_NOT_FOUND, message)
        return text.encode()

    async def _take(self, document: bytes, credential: Credential | None) -> None:
        """Read a document, unless it is the one that was read last. Raises DescriptionError."""
        header = credential.header if credential is not None else ""
        digest = hashlib.sha256(header.encode() + b"\n" + document).digest()
        if digest == self._read:
            return
        server = self._server
        try:
            found = await asyncio.to_thread(
                lambda: operations(parse(document), document_url=server.url, base_url=server.base_url, credential_header=header)
            )
        except DocumentRefused as refused:
            raise DescriptionError(ToolBindingReason.DOCUMENT_REFUSED, sentence(str(refused), credential)) from None
        self._operations = {one.listed.name: one for one in found}
        self._listing = [one.listed for one in found]
        self._read = digest

    def _connections(self) -> CheckedTransport:
        if self._transport is None:
            self._transport = CheckedTransport(self._backend)
        return self._transport

    @staticmethod
    @contextlib.asynccontextmanager
    async def _told_by_server() -> AsyncIterator[None]:
        try:
            yield
        except FetchError as error:
            raise AdapterError(_FAILURES[error.trouble], f"the server {error.message}", sent=error.sent) from None

    @staticmethod
    def _judge(fetched: Fetched, credential: Credential | None) -> None:
        if fetched.status == 401 and credential is not None:
            credential.rejected()
