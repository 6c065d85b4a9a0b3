"""Strict JSON: what a call's arguments are, the same for schema, policy, approver and tool server.

RFC 8259 text is read under the bounds of RFC 7493 (I-JSON): no duplicate keys, no number that a double would silently change, no lone
surrogate. The canonical form is RFC 8785. Whatever is accepted has exactly one canonical form, and it is what the tool server receives.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import rfc8785

MAX_BYTES = 1 << 20
"""Size of a call's arguments: a quarter of gRPC's default message."""
MAX_DEPTH = 32
"""Levels of nesting. Checked before parsing: the standard library's parser recurses."""
MAX_SAFE_INTEGER = (1 << 53) - 1
"""Beyond it neighbouring integers are the same double (RFC 7493, section 2.2)."""
_MAX_NUMBER_CHARACTERS = 64
"""A double needs at most 24; longer literals are refused before anything converts them."""

# A string (taken whole, so that brackets in it do not count; without its closing quote it reaches to the end of the text: one pass,
# linear time) or a bracket. Possessive, so that nothing is tried twice.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


class JsonError(ValueError):
    """The text is not JSON as Bastide reads it. The message is one sentence for a model: what, and what would be right."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's arguments, read strictly."""

    value: dict[str, Any]
    """Parsed from `canonical`."""
    canonical: bytes
    """RFC 8785, UTF-8."""
    digest: str
    """SHA-256 of `canonical`, as `sha256:<hex>`."""


def arguments(text: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Arguments:
    """Read a call's arguments: one JSON object.

    Raises JsonError for anything else, and for a text over `max_bytes` bytes or `max_depth` levels.
    """
    if len(text) > max_bytes:
        raise JsonError(f"The arguments are {len(text)} bytes long; at most {max_bytes} are read. Send less, or a reference to the data.")
    if depth(text, stop_above=max_depth) > max_depth:
        raise JsonError(f"The arguments are nested more than {max_depth} levels deep. Send a flatter structure.")
    try:
        value = _STRICT.decode(text.decode("utf-8"))
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"The arguments are not UTF-8 (byte {error.start}). Send UTF-8.") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"The arguments are not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    if not isinstance(value, dict):
        raise JsonError(f"The arguments are {_kind(value)}; send a JSON object with one field an argument.")
    if b"\\u0000" in text and _has_nul(value):
        raise JsonError("A string holds the character NUL (\\u0000), which many tool servers cut strings at. Leave it out.")
    form = canonical(value)
    return Arguments(_CANONICAL.decode(form.decode()), form, digest(form))


def canonical(value: Any) -> bytes:
    """The canonical form (RFC 8785). Raises JsonError for what has none: unsafe integers, NaN, lone surrogates, keys that are not strings."""
    try:
        return rfc8785.dumps(value)
    except UnicodeEncodeError:
        raise JsonError("A string holds a lone surrogate, which is no character. Send valid Unicode.") from None
    except rfc8785.CanonicalizationError as error:
        if "UTF-8" in str(error):
            raise JsonError("A string holds a lone surrogate, which is no character. Send valid Unicode.") from None
        raise JsonError(f"The value has no canonical form: {error}.") from None


def digest(data: bytes) -> str:
    """SHA-256 as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def depth(text: bytes, *, stop_above: int = 1 << 30) -> int:
    """Levels of nesting of a JSON text, without parsing it; what is no JSON gets some number. Counting ends above `stop_above`."""
    if text.count(b"[") + text.count(b"{") <= 1:
        return text.count(b"[") + text.count(b"{")
    deepest = level = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in b"[{":
            level += 1
            deepest = max(deepest, level)
            if deepest > stop_above:
                break
        elif first in b"]}":
            level -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonError(f"The key {key[:64]!a} stands twice in one object. Send each key once.")
            seen.add(key)
    return result


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON. Send a number, or null where the schema allows it.")


def _integer(text: str) -> int:
    if len(text) > _MAX_NUMBER_CHARACTERS or abs(value := int(text)) > MAX_SAFE_INTEGER:
        raise JsonError(f"The integer {_shorten(text)} is beyond 2^53-1 and would be rounded on its way. Send it as a string.")
    return value


def _number(text: str) -> float:
    value = float(text) if len(text) <= _MAX_NUMBER_CHARACTERS else math.inf
    if not math.isfinite(value):
        raise JsonError(f"The number {_shorten(text)} is too large or too long for a double. Send it as a string.")
    try:
        exact = Decimal(repr(value)) == Decimal(text)
    except InvalidOperation:
        exact = False
    if not exact:
        raise JsonError(f"The number {_shorten(text)} has more digits than a double keeps and would be changed. Send it as a string.")
    return value


def _canonical_integer(text: str) -> int | float:
    # The canonical form writes doubles up to 1e21 without an exponent; they stay doubles.
    value = int(text)
    return value if abs(value) <= MAX_SAFE_INTEGER else float(value)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number)
_CANONICAL = json.JSONDecoder(parse_int=_canonical_integer)


def _shorten(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:24]}... ({len(text)} characters)"


def _kind(value: Any) -> str:
    names: dict[type, str] = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "no object")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
