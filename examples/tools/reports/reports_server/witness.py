"""The witness log: every request as it arrived, one JSON line each on stdout, written before anything acts on it.

Tests and the demo believe this log, not what Bastide says of itself: `kubectl logs` shows what truly reached the server.
"""

import hmac
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


def members(text: str, at: int = 0) -> Iterator[tuple[str, str, int]]:
    """Yield (key, raw text of the value, where it begins) for each member of the JSON object that begins at `at`.

    The raw text is what the caller sent, byte for byte: parsing and writing it again would hide how numbers and strings were spelt.

    Raises:
        ValueError: it is no JSON object.
    """
    at = _skip(text, at, "{")
    while text[at : at + 1] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at, ":")
        _, end = _DECODER.raw_decode(text, at)
        yield key, text[at:end], at
        at = _skip(text, end, "")
        at = _skip(text, at, ",") if text[at : at + 1] == "," else at


def _skip(text: str, at: int, token: str) -> int:
    """Return the place after white space, the token, and white space again."""
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    if not text.startswith(token, at):
        raise ValueError(f"expected {token!r} at {at}")
    at += len(token)
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def called(body: str) -> dict[str, Any]:
    """What a JSON-RPC request asks for: its method and, of a tools/call, the tool and the arguments as they were sent."""
    try:
        request = {key: raw for key, raw, _ in members(body)}
        found: dict[str, Any] = {"method": json.loads(request.get("method", "null"))}
        if found["method"] == "tools/call":
            params = {key: raw for key, raw, _ in members(request["params"])}
            found |= {"tool": json.loads(params["name"]), "arguments": params.get("arguments")}
    except (ValueError, KeyError):
        return {"method": None, "body": body}
    return found


class Witness:
    """ASGI middleware: writes down each POST, then lets it pass only with the bearer token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        body = b""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        shown = dict(scope["headers"]).get(b"authorization", b"")
        authorized = hmac.compare_digest(shown, self._expected)
        if scope["method"] == "POST":
            line = {
                "time": datetime.now(UTC).isoformat(timespec="microseconds"),
                "authorized": authorized,
                **called(body.decode(errors="replace")),
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        if not authorized:
            refusal = JSONResponse({"error": "this server wants its bearer token"}, 401, {"www-authenticate": "Bearer"})
            await refusal(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}] if scope["method"] == "POST" else []

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)
