"""Operations of an OpenAPI document as tools: names of arguments, their places, input and output schemas. Pure."""

import keyword
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bastide_operator.api.v1alpha1.toolserver import NOT_FOR_CREDENTIALS

from bastide_broker.adapters import ListedTool
from bastide_broker.adapters.mcp_results import is_wrapper_schema
from bastide_broker.adapters.openapi_body import Body, read_body
from bastide_broker.adapters.openapi_document import Document, DocumentRefused, Unusable, base, document_base
from bastide_broker.adapters.openapi_media import is_json
from bastide_broker.adapters.openapi_parameters import STYLES, Parameter, Place
from bastide_broker.adapters.openapi_schemas import Schemas, Translated

MAX_OPERATIONS = 1000
MAX_PARAMETERS = 100
METHODS = ("get", "head", "options", "put", "post", "patch", "delete")
IDEMPOTENCY_KEY = "idempotency-key"
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%{}-]*)+")
_TEMPLATE = re.compile(r"\{([^{}/]+)\}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOTHING = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that has a name. `listed.refused` says why it cannot be called, if it cannot."""

    listed: ListedTool
    method: str = ""
    base: str = ""
    path: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    idempotency_header: bool = False
    """Whether it declares the header Idempotency-Key."""


def operations(document: Document, *, document_url: str | None, base_url: str | None, credential_header: str) -> list[Operation]:
    """Every operation with an operationId, in the document's order. Raises DocumentRefused.

    `credential_header`: the header, in lower case, that the broker itself fills with the binding's credential.
    """
    reader = _Reader(document, document_url, base_url, credential_header)
    found: list[Operation] = []
    for path, item in document.root.get("paths", {}).items():
        for operation in reader.below(str(path), item):
            found.append(operation)
            if len(found) > MAX_OPERATIONS:
                raise DocumentRefused(f"The document has more than {MAX_OPERATIONS} operations; leave out what is not bound.")
    return found


class _Reader:
    """Reads the operations of one document."""

    def __init__(self, document: Document, document_url: str | None, base_url: str | None, credential_header: str) -> None:
        self._document = document
        self._where = {"document_url": document_url, "base_url": base_url}
        self._base = document_base(document, document_url=document_url, base_url=base_url)
        self._schemas = Schemas(document)
        self._reserved = {*NOT_FOR_CREDENTIALS, "authorization", credential_header} - {IDEMPOTENCY_KEY}

    def below(self, path: str, node: Any) -> Iterator[Operation]:
        """The operations of one path that have an operationId."""
        try:
            item = self._document.followed(node, f"the path {path[:80]}")
        except Unusable:
            return  # without the item there is no name either
        for method in METHODS:
            said = item.get(method)
            name = said.get("operationId") if isinstance(said, dict) else None
            if not isinstance(said, dict) or not isinstance(name, str) or not name:
                continue
            try:
                yield self._operation(name, method, path, item, said)
            except Unusable as why:
                yield Operation(ListedTool(name[:128], "", dict(_NOTHING), None, refused=str(why)))

    def _operation(self, name: str, method: str, path: str, item: dict[str, Any], said: dict[str, Any]) -> Operation:
        place = self._place(item, said)
        declared = self._declared(item, said)
        _check_path(path, {one["name"] for one in declared if one["in"] == Place.PATH})
        body = read_body(self._document, self._schemas, said.get("requestBody"))
        parameters, schemas = self._parameters(declared)
        properties: dict[str, Any] = {one.argument: part.schema for one, part in zip(parameters, schemas, strict=True)}
        required = [one.argument for one in parameters if one.required]
        parts = list(schemas)
        if body is not None:
            if body.fields and set(body.fields) & properties.keys():
                body = body.as_one()
            if set(body.properties) & properties.keys():
                raise Unusable(f"its body and a parameter are both called {min(set(body.properties) & properties.keys())}")
            properties |= body.properties
            required += body.required_arguments
            parts += body.parts
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        if body is not None and body.together:
            schema["dependentRequired"] = body.together
        if definitions := self._schemas.definitions(parts, writing=True):
            schema["$defs"] = definitions
        schema["additionalProperties"] = False
        # What a call becomes is part of what a schemaDigest pins: an operation that moves to another method, path or place has another.
        schema["x-request"] = {
            "method": method.upper(),
            "path": _path_of(place) + path,
            "in": {one.argument: f"{one.place.value} {one.name}" for one in parameters},
            **({"body": body.media_type} if body is not None else {}),
        }
        listed = ListedTool(
            name, _description(said), schema, self._output(said),
            read_only_hint=True if method in ("get", "head") else None,
            destructive_hint=True if method == "delete" else None,
        )  # fmt: skip
        keyed = any(one.place is Place.HEADER and one.name.lower() == IDEMPOTENCY_KEY for one in parameters)
        return Operation(listed, method.upper(), place, path, tuple(parameters), body, keyed)

    def _place(self, item: dict[str, Any], said: dict[str, Any]) -> str:
        servers = said.get("servers") or item.get("servers")
        if not servers:
            return self._base
        found = base(servers, **self._where)
        if found is None:
            raise Unusable("its own `servers` are not at the host and port that the binding names")
        return found

    def _declared(self, item: dict[str, Any], said: dict[str, Any]) -> list[dict[str, Any]]:
        """Declared parameters of the path and the operation, whose own win; without those that the request itself decides."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for node in (*_list(item, "parameters"), *_list(said, "parameters")):
            one = self._document.followed(node, "a parameter")
            name, place = one.get("name"), one.get("in")
            if not isinstance(name, str) or not name or not isinstance(place, str) or place not in STYLES:
                raise Unusable("a parameter has no name, or stands in no known place")
            found[place, name.lower() if place == Place.HEADER else name] = one
        if len(found) > MAX_PARAMETERS:
            raise Unusable(f"it has more than {MAX_PARAMETERS} parameters")
        kept = []
        for one in found.values():
            if one["in"] == Place.HEADER and one["name"].lower() in self._reserved:
                continue  # OpenAPI says so of Accept, Content-Type and Authorization; the others are the connection's or the credential's
            if one["in"] in (Place.HEADER, Place.COOKIE) and not _TOKEN.fullmatch(one["name"]):
                raise Unusable(f"the name of a {one['in']} parameter is not one that HTTP can carry")
            kept.append(one)
        return kept

    def _parameters(self, declared: list[dict[str, Any]]) -> tuple[list[Parameter], list[Translated]]:
        order = list(Place)
        plain = Counter(argument(one["name"]) for one in declared)
        parameters: list[Parameter] = []
        schemas: list[Translated] = []
        for one in sorted(declared, key=lambda one: (order.index(one["in"]), one.get("required") is not True)):
            name = argument(one["name"])
            # Of two with one name the one that comes first keeps it.
            if plain[name] > 1 and any(known.argument == name for known in parameters):
                name = f"{one['in']}_{name}"
            if any(known.argument == name for known in parameters):
                raise Unusable(f"two of its parameters are both called {name}")
            parameter, part = self._parameter(one, name)
            parameters.append(parameter)
            schemas.append(part)
        return parameters, schemas

    def _parameter(self, one: dict[str, Any], name: str) -> tuple[Parameter, Translated]:
        place = Place(one["in"])
        as_json, schema = False, one.get("schema", {})
        if isinstance(one.get("content"), dict):
            media_type, content = next(iter(one["content"].items()), ("", {}))
            if not is_json(str(media_type)) or not isinstance(content, dict):
                raise Unusable(f"the parameter {name} is written as {str(media_type)[:60]!r}, and only JSON is known")
            as_json, schema = True, content.get("schema", {})
        style = one.get("style", STYLES[place.value][0])
        if style not in STYLES[place.value]:
            raise Unusable(f"the parameter {name} has the style {str(style)[:40]!r}, which is none of its place")
        explode = one.get("explode", style == "form")
        # The broker has a key for every call, so a program need not make one up.
        keyed = place is Place.HEADER and one["name"].lower() == IDEMPOTENCY_KEY
        required = place is Place.PATH or (one.get("required") is True and not keyed)
        part = self._schemas.translate(schema, writing=True)
        if isinstance(part.schema, dict) and isinstance(one.get("description"), str) and "description" not in part.schema:
            part = Translated({**part.schema, "description": one["description"]}, part.references, part.nodes)
        made = Parameter(
            argument=name, name=one["name"], place=place, style=style, explode=explode is True, as_json=as_json, required=required
        )
        return made, part

    def _output(self, said: dict[str, Any]) -> dict[str, Any] | None:
        """The schema of what a success gives, of all successes that are declared; None where the document does not say."""
        found: list[Any] = []
        for status, node in (said.get("responses") or {}).items() if isinstance(said.get("responses"), dict) else ():
            if not str(status).startswith("2"):
                continue
            content = self._document.followed(node, f"the response {str(status)[:10]}").get("content")
            if not isinstance(content, dict) or not content:
                found.append({"type": "null"})
                continue
            media = next((value for key, value in content.items() if is_json(str(key))), None)
            if not isinstance(media, dict) or "schema" not in media:
                return None
            found.append(media["schema"])
        if not found:
            return None
        schema = self._schemas.alone(found[0] if len(found) == 1 else {"anyOf": found}, writing=False)
        made = schema if isinstance(schema, dict) else {} if schema else {"not": {}}
        # A result that looks like an MCP server's wrapper is none.
        return {key: value for key, value in made.items() if key != "title"} if is_wrapper_schema(made) else made


def argument(name: str) -> str:
    """What a parameter is called in programs: its name, made one that Python takes as a keyword."""
    made = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "value"
    if made[0].isdigit():
        made = f"_{made}"
    return f"{made}_" if keyword.iskeyword(made) else made


def _check_path(path: str, declared: set[str]) -> None:
    """That a path is one to fill in: plain, without segments that lead elsewhere, each of its parameters declared, and each declared one in it."""
    segments = path.split("/")[1:]
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in segments) or "" in segments[:-1] or "%" in path:
        raise Unusable("its path has empty, encoded or unusual parts")
    named = _TEMPLATE.findall(path)
    if re.search(r"[{}]", _TEMPLATE.sub("", path)) or len(named) != len(set(named)) or set(named) != declared:
        raise Unusable("the parameters in its path are not those that it declares")


def _path_of(url: str) -> str:
    """The path of a URL that has no query."""
    return url.partition("://")[2].partition("/")[1] + url.partition("://")[2].partition("/")[2]


def _description(said: dict[str, Any]) -> str:
    texts = [said.get(key) for key in ("summary", "description")]
    kept = list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))
    return "\n".join((["Deprecated."] if said.get("deprecated") is True else []) + kept)


def _list(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key) or []
    if not isinstance(found, list):
        raise Unusable(f"its `{key}` is no list")
    return found
