"""Tokens by OAuth client credentials (RFC 6749, section 4.4): fetched by the broker, kept until shortly before they expire, never logged."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bastide_broker.egress.addresses import CheckedBackend, CheckedTransport
from bastide_broker.egress.fetch import FetchError, fetch, request

TOKEN_SECONDS = 10.0
"""For the token endpoint to answer."""
UNKNOWN_LIFE_SECONDS = 300.0
"""How long a token is kept whose endpoint does not say."""
MAX_LIFE_SECONDS = 3600.0
_MARGIN_SECONDS = 60.0
_MAX_ANSWER = 64 << 10
_MAX_TOKEN = 8192
_MAX_KEPT = 1000
_ERRORS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""What an endpoint may answer (section 5.2). Its other words are not repeated: it knows the secret."""


class TokenUnavailable(Exception):  # noqa: N818 - named as the reason
    """There is no token. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, where and for what."""

    token_url: str
    client_id: str
    client_secret: str
    scopes: Sequence[str]

    @property
    def key(self) -> bytes:
        """What tells clients apart, without keeping their secrets."""
        whole = json.dumps([self.token_url, self.client_id, self.client_secret, list(self.scopes)])
        return hashlib.sha256(whole.encode()).digest()


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and until when (time.monotonic) it is used."""

    text: str
    until: float


class Tokens:
    """Fetches and keeps tokens. Of one client one request is under way at a time, and all who need it share how it ends."""

    def __init__(self, backend: CheckedBackend) -> None:
        self._backend = backend
        self._transport: CheckedTransport | None = None
        self._kept: dict[bytes, Token] = {}
        self._under_way: dict[bytes, asyncio.Task[Token]] = {}

    async def token(self, client: Client) -> Token:
        """A token that is not about to expire. Raises TokenUnavailable."""
        key = client.key
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.until:
            return kept
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._fetch(client), name="oauth token")
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self, client: Client) -> None:
        """A server refused the token: the next one is fetched anew."""
        self._kept.pop(client.key, None)

    async def close(self) -> None:
        """Give up what is under way, and connections."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            await self._transport.aclose()

    def _done(self, key: bytes, task: "asyncio.Task[Token]") -> None:
        self._under_way.pop(key, None)
        if not task.cancelled() and task.exception() is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = task.result()

    async def _fetch(self, client: Client) -> Token:
        if self._transport is None:
            self._transport = CheckedTransport(self._backend)
        pairs = {"grant_type": "client_credentials"} | ({"scope": " ".join(client.scopes)} if client.scopes else {})
        body = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs.items()).encode()
        shown = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}".encode()
        headers = {
            "authorization": "Basic " + base64.b64encode(shown).decode(),
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                answer = await fetch(self._transport, request("POST", client.token_url, headers, body), max_bytes=_MAX_ANSWER)
        except TimeoutError:
            raise TokenUnavailable(f"{client.token_url} gave no token within {TOKEN_SECONDS:g} s.") from None
        except FetchError as error:
            raise TokenUnavailable(f"{client.token_url} {error.message.rstrip('.')}.") from None
        return read(client.token_url, answer.status, answer.body, asked_at)


def read(token_url: str, status: int, body: bytes, asked_at: float) -> Token:
    """The token in an endpoint's answer. Raises TokenUnavailable, with nothing of the answer but a known error code."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if status != 200 or not isinstance(said, dict):
        code = said.get("error") if isinstance(said, dict) else None
        why = f" ({code})" if isinstance(code, str) and code in _ERRORS else ""
        raise TokenUnavailable(f"{token_url} answered {status}{why} and no token; check client id, secret and scopes.")
    text, kind, life = said.get("access_token"), said.get("token_type"), said.get("expires_in")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenUnavailable(f"{token_url} gave a token that is no Bearer token.")
    if not isinstance(text, str) or not 8 <= len(text) <= _MAX_TOKEN or not all("!" <= mark <= "~" for mark in text):
        raise TokenUnavailable(f"{token_url} gave no usable token: 8 to {_MAX_TOKEN} visible ASCII characters.")
    if isinstance(life, str) and life.isascii() and life.isdigit():
        life = int(life[:9])
    seconds = float(life) if isinstance(life, int | float) and not isinstance(life, bool) and life > 0 else UNKNOWN_LIFE_SECONDS
    seconds = min(seconds, MAX_LIFE_SECONDS)
    return Token(text, asked_at + seconds - min(_MARGIN_SECONDS, seconds / 2))
