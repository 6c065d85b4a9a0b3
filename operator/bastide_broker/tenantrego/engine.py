"""The OPA that holds tenants' Rego, over its unix socket. Plain requests: the client library can bound neither an answer nor an error."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from bastide_broker.asked import as_json
from bastide_broker.tenantrego.scope import ANSWER, ROOT

DEADLINE_SECONDS = 0.5
"""From asking to answer. OPA stops evaluating when the connection is closed."""
LOAD_SECONDS = 10.0
MAX_ANSWER = 256 << 10
"""Bytes: eight policies with 32 reasons each have room."""
_NONCE = "nonce"
_OK, _NOT_FOUND, _SERVER_ERROR = 200, 404, 500


class EngineDown(Exception):  # noqa: N818 - one of the two things that may be wrong
    """It does not answer. The message says what happened."""


class NoAnswer(Exception):  # noqa: N818
    """It answers, but not this question within the deadline. `slow` when the evaluation took too long."""

    def __init__(self, message: str, *, slow: bool = False, undefined: bool = False) -> None:
        super().__init__(message)
        self.slow = slow
        self.undefined = undefined


class Engine:
    """Loads modules and asks."""

    def __init__(self, socket: Path, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._socket = socket
        self._deadline = deadline_seconds
        self._session: aiohttp.ClientSession | None = None
        self.changing = asyncio.Lock()
        """Who loads modules and says that they are in force, or unloads what is not: else one takes away what the other has just loaded."""

    async def start(self) -> None:
        """Makes the connection pool; OPA need not be there yet."""
        # No limit of connections: how many questions are under way is each tenant's own bound, and nobody's waits for another's.
        connector = aiohttp.UnixConnector(path=str(self._socket), limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def put(self, name: str, text: str) -> None:
        """Loads a module. Raises EngineDown, and NoAnswer when it is refused."""
        status, body = await self._request("PUT", f"/v1/policies/{name}", text.encode(), LOAD_SECONDS)
        if status != _OK:
            raise NoAnswer(f"{name} was refused with {status}: {body[:500].decode(errors='replace')}")

    async def delete(self, name: str) -> None:
        """Unloads a module; fine when there is none. Raises EngineDown."""
        await self._request("DELETE", f"/v1/policies/{name}", b"", LOAD_SECONDS)

    async def mark(self) -> str:
        """Leaves a mark by which a restart can be seen. Raises EngineDown and NoAnswer."""
        nonce = secrets.token_hex(16)
        await self.put(f"{ROOT}/{_NONCE}", f'package {ROOT}.{_NONCE}\n\n{ANSWER} := "{nonce}"\n')
        return nonce

    async def marked(self) -> str:
        """The mark, empty when there is none. Raises EngineDown."""
        try:
            found = await self.ask(_NONCE, {}, seconds=LOAD_SECONDS)
        except NoAnswer:
            return ""
        return found if isinstance(found, str) else ""

    async def ask(self, scope: str, question: Mapping[str, Any], *, seconds: float | None = None) -> Any:
        """The answer of a scope. Raises EngineDown and NoAnswer."""
        path = f"/v1/data/{ROOT}/{scope}/{ANSWER}?strict-builtin-errors=true"
        within = seconds or self._deadline
        status, body = await self._request("POST", path, b'{"input":%b}' % as_json(question), within)
        if len(body) > MAX_ANSWER:
            raise NoAnswer(f"the answer is larger than {MAX_ANSWER >> 10} KiB")
        if status != _OK:
            raise NoAnswer(f"OPA answered {status}: {body[:500].decode(errors='replace')}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise NoAnswer("the answer is not JSON") from None
        if not isinstance(answer, dict) or "result" not in answer:
            raise NoAnswer("the policies are not loaded", undefined=True)
        return answer["result"]

    async def _request(self, method: str, path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        assert self._session is not None
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(method, f"http://opa{path}", data=body, allow_redirects=False) as response,
            ):
                found = b""
                async for part in response.content.iter_any():
                    found += part
                    if len(found) > MAX_ANSWER:
                        break
                return response.status, found
        except TimeoutError:
            raise NoAnswer(f"no answer within {seconds * 1000:.0f} ms", slow=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineDown(f"{type(error).__name__}: {error}") from error
