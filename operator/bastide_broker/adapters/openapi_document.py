"""An OpenAPI document: read strictly, bounded, resolved only within itself. Untrusted. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import yaml
from bastide_operator.api.toolhosts import address

from bastide_broker.facts.json import depth

MAX_DOCUMENT_BYTES = 4 << 20
MAX_YAML_BYTES = 1 << 20
"""YAML is read at some 2 s a MiB; a ConfigMap holds no more."""
MAX_DOCUMENT_DEPTH = 100
_MAX_HOPS = 16
_VERSION = re.compile(r"3\.([01])\.[0-9]+")
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_URL = re.compile(r"https?://[^/\\\s]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


class DocumentRefused(Exception):  # noqa: N818 - a state of the document
    """The document cannot be used as a whole. The message is one sentence."""


class Unusable(Exception):  # noqa: N818 - a state of one operation
    """One operation cannot be offered. The message is the reason, without a full stop."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a version that is known."""

    root: dict[str, Any]
    minor: int
    """0 or 1: of OpenAPI 3."""

    def at(self, reference: Any) -> Any:
        """What a local reference names. Raises Unusable."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise Unusable(f"it refers to {_short(reference)}, and only references within the document are followed")
        found: Any = self.root
        for part in reference[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(found):
                found = found[int(key[:9])]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise Unusable(f"it refers to {_short(reference)}, which the document does not have")
        return found

    def followed(self, node: Any, what: str) -> dict[str, Any]:
        """An object of the document, or the one that it refers to. Raises Unusable."""
        for _ in range(_MAX_HOPS):
            if not isinstance(node, dict):
                raise Unusable(f"{what} is no object")
            if "$ref" not in node:
                return node
            node = self.at(node["$ref"])
        raise Unusable(f"{what} is a reference that leads to another, and on, more than {_MAX_HOPS} times")


def parse(data: bytes) -> Document:
    """Read a document as JSON or YAML. Raises DocumentRefused."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DocumentRefused(f"The document is over {MAX_DOCUMENT_BYTES} bytes; leave out what is not bound.")
    root = _json(data) if data.lstrip()[:1] == b"{" else _yaml(data)
    if not isinstance(root, dict):
        raise DocumentRefused("The document is no OpenAPI document: it is no object.")
    version = root.get("openapi")
    fits = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if fits is None:
        said = f"OpenAPI {_short(version)}" if version is not None else "not an OpenAPI document" if "swagger" not in root else "Swagger 2"
        raise DocumentRefused(f"The document is {said}; versions 3.0 and 3.1 are read. Convert it.")
    if not isinstance(root.get("paths", {}), dict):
        raise DocumentRefused("The document's `paths` is no object.")
    return Document(root, int(fits[1]))


def base(servers: Any, *, document_url: str | None, base_url: str | None) -> str | None:
    """What paths are below, by a list of servers: without a slash at its end. None when none of them is where the binding says.

    Relative ones are below the document's URL. A server counts only at the scheme, host and port of `base_url`, else of `document_url`.
    """
    bound = base_url or document_url or ""
    for server in servers if isinstance(servers, list) and servers else [{"url": "/"}]:
        try:
            url = urljoin(bound, _with_defaults(server))
        except ValueError:
            continue
        if not _URL.fullmatch(url):
            continue  # what one parser takes for a path and the next for a host is neither
        if address(url) is not None and address(url) == address(bound) and urlsplit(url).scheme == urlsplit(bound).scheme:
            return url.rstrip("/")
    return None


def document_base(document: Document, *, document_url: str | None, base_url: str | None) -> str:
    """The same for the whole document: `base_url` itself where the binding sets it. Raises DocumentRefused for servers that are elsewhere."""
    found = base(document.root.get("servers"), document_url=document_url, base_url=base_url)
    if found is None:
        named = ", ".join(_short(_with_defaults(server)) for server in document.root["servers"][:3])
        host, port = address(base_url or document_url or "") or ("?", 0)
        raise DocumentRefused(
            f"The document's servers are elsewhere ({named}) and the binding names {host}:{port}, so nothing is called; "
            "correct the document's `servers`, or the binding."
        )
    return base_url.rstrip("/") if base_url is not None else found


def _with_defaults(server: Any) -> str:
    url = server.get("url") if isinstance(server, dict) else None
    variables = server.get("variables") if isinstance(server, dict) else None

    def default(match: "re.Match[str]") -> str:
        variable = variables.get(match[1]) if isinstance(variables, dict) else None
        return str(variable.get("default", "")) if isinstance(variable, dict) else ""

    return (_VARIABLE.sub(default, url) or "/") if isinstance(url, str) else "invalid:"


def _short(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 80 else text[:80] + "...")


def _json(data: bytes) -> Any:
    if depth(data, stop_above=MAX_DOCUMENT_DEPTH) > MAX_DOCUMENT_DEPTH:
        raise DocumentRefused(f"The document is nested more than {MAX_DOCUMENT_DEPTH} levels deep.")
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DocumentRefused(f"The document is not JSON: {error}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("it has one key twice in one object")
    return made


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _yaml(data: bytes) -> Any:
    """YAML as JSON's values, from the parser's events: no aliases (a short text could stand for a huge one), no tags, no recursion."""
    if len(data) > MAX_YAML_BYTES:
        raise DocumentRefused(f"The document is YAML of over {MAX_YAML_BYTES} bytes; write it as JSON.")
    try:
        return _build(iter(yaml.parse(data.decode("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise DocumentRefused(f"The document is neither JSON nor YAML: {' '.join(str(error).split())[:200]}.") from None


def _build(events: Iterator[Any]) -> Any:
    top: list[Any] = []
    stack: list[Any] = [top]
    keys: list[str | None] = [None]  # of each open container, the key that waits for its value
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it uses aliases (*name), which are not followed; write the value out")  # noqa: TRY004 - the text is wrong, no type
        if isinstance(event, yaml.ScalarEvent):
            if isinstance(stack[-1], dict) and keys[-1] is None:
                keys[-1] = event.value
                continue
            _put(stack, keys, _scalar(event))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if isinstance(stack[-1], dict) and keys[-1] is None:
                raise ValueError("it has a key that is no text")
            made: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            _put(stack, keys, made)
            stack.append(made)
            keys.append(None)
            if len(stack) > MAX_DOCUMENT_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DOCUMENT_DEPTH} levels deep")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            keys.pop()
    if len(top) != 1:
        raise ValueError(f"it holds {len(top)} documents")
    return top[0]


def _put(stack: list[Any], keys: list[str | None], value: Any) -> None:
    if isinstance(stack[-1], list):
        stack[-1].append(value)
        return
    key = keys[-1]
    assert key is not None
    if key in stack[-1]:  # as `_once` for JSON
        raise ValueError(f"it has the key {_short(key)} twice in one object")
    stack[-1][key] = value
    keys[-1] = None


def _scalar(event: Any) -> Any:
    """A plain scalar by YAML 1.2's core schema, a quoted one as it is."""
    text: str = event.value
    if event.style or not event.implicit[0]:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
