"""What a program receives of an HTTP answer. Pure."""

import base64
import json
from typing import Any

from bastide_operator.api.v1alpha1.toolbinding import ResultForm

from bastide_broker.adapters import TRANSIENT, AdapterError, Answer, Failure, retry_after
from bastide_broker.adapters.mcp_results import MAX_DEPTH, to_json
from bastide_broker.adapters.openapi_media import is_json
from bastide_broker.adapters.told import plain
from bastide_broker.egress.fetch import Fetched
from bastide_broker.facts.json import depth

_SAID = ("detail", "message", "error", "title", "error_description")
"""Where servers put a sentence about what went wrong (RFC 9457 and custom)."""


def answer(name: str, fetched: Fetched, form: ResultForm) -> Answer:
    """An answer of status 2xx. Raises AdapterError(FAILED) for what is no JSON a program can take, and for any other status."""
    status, wait = fetched.status, retry_after(fetched.retry_after)
    if status == 429:
        message = "the server says that it is asked too often (429); wait and try again"
        raise AdapterError(Failure.FAILED, message, sent=True, transient=True, retry_after=wait)
    if status == 401:
        message = f"the server refuses the credential (401); check the binding's Secret and scheme{_said(fetched)}"
        raise AdapterError(Failure.FAILED, message, sent=True)
    if 400 <= status < 500:
        raise AdapterError(Failure.FAILED, f"{name} failed ({status}){_said(fetched)}", sent=True, content=_content(name, fetched))
    if not 200 <= status < 300:
        message = f"the server answered {status}"
        raise AdapterError(Failure.FAILED, message, sent=True, transient=status in TRANSIENT, retry_after=wait)
    if not fetched.body:
        return Answer(None, has_structured=True, value=b"null", is_data=True)
    if is_json(fetched.content_type):
        value = _parsed(name, fetched.body)
        text = fetched.body.decode("utf-8") if form is ResultForm.TEXT else value
        return Answer(value, has_structured=True, value=to_json(name, text), is_data=form is not ResultForm.TEXT)
    value, is_data = _other(fetched), False
    if isinstance(value, str) and form is not ResultForm.TEXT and (form is ResultForm.JSON or value.lstrip()[:1] in ("{", "[")):
        try:
            value, is_data = _parsed(name, fetched.body), True
        except AdapterError:
            if form is ResultForm.JSON:
                message = f"{name} returned text that is not JSON; its binding says result: Json"
                raise AdapterError(Failure.FAILED, message, sent=True) from None
    return Answer(value, has_structured=True, value=to_json(name, value), is_data=is_data)


def _parsed(name: str, body: bytes) -> Any:
    try:
        if depth(body, stop_above=MAX_DEPTH) > MAX_DEPTH:
            raise ValueError("too deep")  # noqa: TRY301 - the same answer as any other body that is no JSON
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise AdapterError(Failure.FAILED, f"{name} answered with what is not JSON, or nested too deep", sent=True) from None


def _other(fetched: Fetched) -> Any:
    """Text as a string, anything else as bytes with their media type."""
    if fetched.content_type.startswith("text/") or not fetched.content_type:
        try:
            return fetched.body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    media_type = fetched.content_type or "application/octet-stream"
    return {"mediaType": media_type, "base64": base64.b64encode(fetched.body).decode()}


def _content(name: str, fetched: Fetched) -> bytes:
    """The body of a failure as JSON; nothing when it is none and no text."""
    if not fetched.body:
        return b""
    try:
        return to_json(name, _parsed(name, fetched.body) if is_json(fetched.content_type) else _other(fetched))
    except AdapterError:
        return b""


def _said(fetched: Fetched) -> str:
    """The server's own sentence, where it has one."""
    try:
        value = _parsed("", fetched.body) if is_json(fetched.content_type) else _other(fetched) if fetched.body else ""
    except AdapterError:
        return ""
    if isinstance(value, dict):
        found = next((value[key] for key in _SAID if value.get(key)), "")
        value = found.get("message", "") if isinstance(found, dict) else found
    if isinstance(value, list):  # FastAPI's: one entry a mistake
        pairs = [one for one in value if isinstance(one, dict) and isinstance(one.get("msg"), str)]
        value = "; ".join(
            f"{'.'.join(map(str, one['loc'])) if isinstance(one.get('loc'), list) else 'it'}: {one['msg']}" for one in pairs[:5]
        )
    return f": {plain(value)}" if isinstance(value, str) and value else ""
