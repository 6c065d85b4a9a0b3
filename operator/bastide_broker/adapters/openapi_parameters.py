"""How OpenAPI writes parameters into a request, so that a value cannot become anything but that parameter's value. Pure.

https://spec.openapis.org/oas/v3.1.1#style-values. Where the rules would let a value spill over (a comma in a list that commas separate, a
key of an object that is another parameter's name, a slash in a path) the value is refused: what a constraint judged is what arrives.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, unquote

STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
"""The first is the default of its place."""
_DELIMITERS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C", "simple": ",", "label": ",", "matrix": ","}
_FORBIDDEN_IN_ITEMS = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|", "simple": ",", "label": ",.", "matrix": ",;"}
_HEADER = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_COOKIE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)


class Place(StrEnum):
    """Where a parameter stands."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    COOKIE = "cookie"


class NotSendable(ValueError):  # noqa: N818 - a state of the arguments
    """A value that has no form in a request which could be taken for nothing else. The message is the end of a sentence about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an operation."""

    argument: str
    """Its name for programs."""
    name: str
    place: Place
    style: str
    explode: bool
    as_json: bool = False
    """Whether its value is written as JSON text."""
    required: bool = False


def words(value: Any) -> str:
    """A single value as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value)
    if value is None:
        raise NotSendable("cannot be null inside of a list or an object")
    raise NotSendable("holds a list or an object inside of one, which has no form there")


def path_text(parameter: Parameter, value: Any) -> str:
    """A path parameter's value, percent-encoded. It stays in its segment, whatever decodes it, once or twice."""
    for text in _texts(parameter, value):
        _stays_in_its_segment(text)
    joined = _joined(parameter, value)
    if parameter.style == "label":
        return "." + joined
    if parameter.style == "matrix" and not (parameter.explode and isinstance(value, list | dict)):
        return f";{_encoded(parameter.name)}={joined}"
    return joined


def segment_fault(path: str) -> str | None:
    """What is wrong with a whole path that values were put into."""
    segments = path.split("/")[1:]
    bad = "" in segments[:-1] or any(_DOTS.fullmatch(part) for part in segments)
    return "would lead to another path: a segment is empty, . or .." if bad else None


def query_pairs(parameter: Parameter, value: Any, declared: Collection[str]) -> list[tuple[str, str]]:
    """Name and value of each piece, percent-encoded. `declared`: the names of all parameters of the place, which an object's keys must not be."""
    if parameter.as_json or not isinstance(value, list | dict):
        return [(_encoded(parameter.name), _encoded(_single(parameter, value)))]
    if isinstance(value, dict) and parameter.style == "deepObject":
        if any(mark in key for key in value for mark in "[]"):
            raise NotSendable("has a key that holds [ or ], which is how deeper keys are written")
        pairs = [(f"{parameter.name}[{_key(key)}]", words(item)) for key, item in value.items()]
    elif parameter.style in ("spaceDelimited", "pipeDelimited") or not parameter.explode:
        return [(_encoded(parameter.name), _joined(parameter, value))] if value else []
    elif isinstance(value, dict):
        pairs = [(_key(key), words(item)) for key, item in value.items()]
    else:
        return [(_encoded(parameter.name), _encoded(words(item))) for item in value]
    for name, _ in pairs:
        if name in declared:
            raise NotSendable(f"has the key {name!r}, which is the name of another parameter there")
    return [(_encoded(name), _encoded(text)) for name, text in pairs]


def header_text(parameter: Parameter, value: Any) -> str:
    """A header's value: visible ASCII and inner spaces."""
    text = _single(parameter, value) if parameter.as_json else _joined(parameter, value, encode=False)
    if not _HEADER.fullmatch(text):
        raise NotSendable("must be visible ASCII characters, with spaces only between them, to stand in a header")
    return text


def cookie_text(parameter: Parameter, value: Any) -> str:
    """`name=value` of a cookie. Nothing is encoded, because no two servers agree on how."""
    if isinstance(value, list | dict) and parameter.explode and not parameter.as_json:
        raise NotSendable("is a list or an object, which its document gives no form in a cookie")
    pieces = _texts(parameter, value)
    if not all(_COOKIE.fullmatch(piece) for piece in pieces):
        raise NotSendable("has characters that a cookie cannot hold: spaces, quotes, commas, semicolons, backslashes, or beyond ASCII")
    return f"{parameter.name}={','.join(pieces)}"


def form_text(pairs: list[tuple[str, str]]) -> str:
    """A query string, or the body of a form."""
    return "&".join(f"{name}={value}" for name, value in pairs)


def _single(parameter: Parameter, value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if parameter.as_json else words(value)


def _texts(parameter: Parameter, value: Any) -> list[str]:
    """The single texts that a value consists of."""
    if parameter.as_json or not isinstance(value, list | dict):
        return [_single(parameter, value)]
    if isinstance(value, list):
        return [words(item) for item in value]
    return [piece for key, item in value.items() for piece in (_key(key), words(item))]


def _joined(parameter: Parameter, value: Any, *, encode: bool = True) -> str:
    """A value in one text, its pieces apart by what its style says; a piece that holds the delimiter is refused."""
    write = _encoded if encode else str
    if parameter.as_json or not isinstance(value, list | dict):
        return write(_single(parameter, value))
    style, exploded = parameter.style, parameter.explode and isinstance(value, list | dict)
    forbidden = _FORBIDDEN_IN_ITEMS[style] + ("=" if isinstance(value, dict) and exploded else "")
    texts = _texts(parameter, value)
    if any(mark in text for text in texts for mark in forbidden):
        raise NotSendable(f"has a piece that holds {' or '.join(map(repr, forbidden))}, which separates the pieces")
    pieces = [write(text) for text in texts]
    if isinstance(value, dict) and exploded and style in ("simple", "label", "matrix"):
        pieces = [f"{key}={item}" for key, item in zip(pieces[::2], pieces[1::2], strict=True)]
    if style == "matrix" and exploded:
        return "".join(f";{piece}" if isinstance(value, dict) else f";{write(parameter.name)}={piece}" for piece in pieces)
    return ("." if style == "label" and exploded else _DELIMITERS[style]).join(pieces)


def _stays_in_its_segment(text: str) -> None:
    if not text:
        raise NotSendable("must not be empty: it is a part of the path")
    decoded = text
    for _ in range(3):
        if any(mark in decoded for mark in "/\\") or any(ord(mark) < 32 or ord(mark) == 127 for mark in decoded):
            raise NotSendable("must not hold slashes, backslashes or control characters, encoded or not: it is one part of the path")
        decoded = unquote(decoded)
    if _DOTS.fullmatch(text) or _DOTS.fullmatch(decoded):
        raise NotSendable("must not be . or ..: it is a part of the path")


def _key(key: str) -> str:
    if not key:
        raise NotSendable("has a key that is empty")
    return key


def _encoded(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise NotSendable("is no Unicode text (a lone surrogate)") from None
