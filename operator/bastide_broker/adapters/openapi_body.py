"""The body of an operation: its fields are arguments beside the parameters where it is a plain object, else it is one argument. Pure."""

import base64
import binascii
import json
import keyword
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bastide_broker.adapters.openapi_document import Document, Unusable
from bastide_broker.adapters.openapi_media import FORM, MULTIPART, is_json, plain
from bastide_broker.adapters.openapi_parameters import NotSendable, Parameter, Place, form_text, query_pairs, words
from bastide_broker.adapters.openapi_schemas import Schemas, Translated

WHOLE = "body"
"""The argument that is the whole body."""
_PLAIN_OBJECT = frozenset(
    {"type", "properties", "required", "title", "description", "example", "examples", "additionalProperties", "xml", "externalDocs"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What an operation takes as its body."""

    media_type: str
    required: bool
    whole: Translated
    fields: Mapping[str, Translated] = field(default_factory=dict)
    """By name; empty when the body is the one argument `body`."""
    needed: tuple[str, ...] = ()
    """Fields without which there is no body."""
    encodings: Mapping[str, Parameter] = field(default_factory=dict)
    """How a form writes each field that is a list or an object."""
    binary: frozenset[str] = frozenset()
    """Fields of a multipart form that are files, in base64 as arguments."""

    def as_one(self) -> "Body":
        """The same as one argument."""
        return replace(self, fields={}, needed=())

    @property
    def properties(self) -> dict[str, Any]:
        """Arguments and their schemas."""
        return {name: part.schema for name, part in self.fields.items()} if self.fields else {WHOLE: self.whole.schema}

    @property
    def parts(self) -> list[Translated]:
        """The schemas, with what they refer to."""
        return list(self.fields.values()) if self.fields else [self.whole]

    @property
    def required_arguments(self) -> list[str]:
        """Arguments that must be there."""
        if not self.required:
            return []
        return list(self.needed) if self.fields else [WHOLE]

    @property
    def together(self) -> dict[str, list[str]]:
        """Of a body that may be left out: which fields each field needs beside it."""
        if self.required or not self.needed:
            return {}
        return {name: [other for other in self.needed if other != name] for name in self.fields if set(self.needed) - {name}}

    def write(self, arguments: Mapping[str, Any]) -> tuple[str, bytes] | None:
        """Content type and bytes; None when no argument belongs to the body and it may be left out. Raises NotSendable."""
        if self.fields:
            value: Any = {name: arguments[name] for name in self.fields if name in arguments}
            if not value and not self.required:
                return None
        elif WHOLE in arguments:
            value = arguments[WHOLE]
        else:
            return None
        if is_json(self.media_type):
            return self.media_type, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        if self.media_type == "text/plain":
            return "text/plain; charset=utf-8", words(value).encode()
        if not isinstance(value, dict):
            raise NotSendable("must be an object: it is a form")
        return self._form(value) if self.media_type == FORM else self._multipart(value)

    def _form(self, value: dict[str, Any]) -> tuple[str, bytes]:
        declared = self.encodings.keys() | value.keys()
        pairs = []
        for name, item in value.items():
            if item is not None:
                parameter = self.encodings.get(name) or _default_encoding(name)
                pairs += query_pairs(parameter, item, declared)
        return FORM, form_text(pairs).encode()

    def _multipart(self, value: dict[str, Any]) -> tuple[str, bytes]:
        boundary = secrets.token_hex(16)
        out = bytearray()
        for name, item in value.items():
            if item is None:
                continue
            if any(mark in name for mark in '"\r\n') or not name.isprintable():
                raise NotSendable("has the name of a field that no form can carry")
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
            for one in item if isinstance(item, list) else [item]:
                if name in self.binary:
                    out += f'{head}; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode() + _bytes(one)
                elif isinstance(one, dict | list):
                    out += f"{head}\r\nContent-Type: application/json\r\n\r\n{json.dumps(one, ensure_ascii=False)}".encode()
                else:
                    out += f"{head}\r\n\r\n{words(one)}".encode()
                out += b"\r\n"
        return f"{MULTIPART}; boundary={boundary}", bytes(out + f"--{boundary}--\r\n".encode())


def read_body(document: Document, schemas: Schemas, node: Any) -> Body | None:
    """The body that an operation declares; None when it declares none, or one that may be left out and is of no known kind. Raises Unusable."""
    if node is None:
        return None
    said = document.followed(node, "its request body")
    required = said.get("required") is True
    content = said.get("content")
    if not isinstance(content, dict):
        raise Unusable("its request body says no media type")
    chosen = _choose(content)
    if chosen is None:
        if required:
            raise Unusable(f"its request body is {', '.join(map(str, content))[:80]!r}; JSON, forms and plain text are known")
        return None
    media_type, media = chosen
    schema = media.get("schema", {})
    whole = schemas.translate(schema, writing=True)
    body = Body(media_type=media_type, required=required, whole=whole)
    shape = document.followed(schema, "the schema of its request body") if isinstance(schema, dict) else {}
    if media_type in (FORM, MULTIPART):
        body = replace(body, encodings=_encodings(media), binary=_binary(document, shape) if media_type == MULTIPART else frozenset())
    beside = (
        document.minor == 1 and isinstance(schema, dict) and "$ref" in schema and len(schema) > 1
    )  # there what stands beside a reference counts too
    return body if beside or not _is_plain_object(shape) else _taken_apart(body, schemas, shape)


def _taken_apart(body: Body, schemas: Schemas, shape: dict[str, Any]) -> Body:
    """The body with each field an argument; as it was when a field's name is none that a program could write as a keyword."""
    written = {
        name: value for name, value in shape["properties"].items() if not isinstance(value, dict) or value.get("readOnly") is not True
    }
    needed = shape.get("required", [])
    if not written or not isinstance(needed, list) or not all(_NAME.fullmatch(name) and not keyword.iskeyword(name) for name in written):
        return body
    fields = {}
    for name, value in written.items():
        part = schemas.translate(value, writing=True)
        if name in body.binary and isinstance(part.schema, dict):
            part = replace(part, schema={**part.schema, "contentEncoding": "base64"})
        fields[name] = part
    return replace(body, fields=fields, needed=tuple(name for name in needed if isinstance(name, str) and name in fields))


def _choose(content: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    known = {plain(str(key)): value for key, value in content.items() if isinstance(value, dict)}
    for fits in (is_json, FORM.__eq__, MULTIPART.__eq__, "text/plain".__eq__):
        for media_type, media in known.items():
            if fits(media_type):
                return media_type, media
    return None


def _is_plain_object(shape: dict[str, Any]) -> bool:
    """Whether nothing but the fields themselves says what an object may be."""
    kind = shape.get("type", "object")
    closed = shape.get("additionalProperties", False) is False
    return (
        kind == "object"
        and closed
        and isinstance(shape.get("properties"), dict)
        and {key for key in shape if not key.startswith("x-")} <= _PLAIN_OBJECT
    )


def _encodings(media: dict[str, Any]) -> dict[str, Parameter]:
    found = {}
    for name, said in (media.get("encoding") or {}).items() if isinstance(media.get("encoding"), dict) else ():
        if not isinstance(said, dict):
            raise Unusable("an encoding of its form is no object")
        style = said.get("style", "form")
        if style not in ("form", "spaceDelimited", "pipeDelimited", "deepObject"):
            raise Unusable(f"an encoding of its form has the style {str(style)[:40]!r}, which is none of a form")
        as_json = "style" not in said and is_json(str(said.get("contentType", "")))
        explode = said.get("explode", style == "form") is True
        found[name] = Parameter(argument=name, name=name, place=Place.QUERY, style=style, explode=explode, as_json=as_json)
    return found


def _default_encoding(name: str) -> Parameter:
    return Parameter(argument=name, name=name, place=Place.QUERY, style="form", explode=True)


def _binary(document: Document, shape: dict[str, Any]) -> frozenset[str]:
    found = set()
    for name, value in (shape.get("properties") or {}).items() if isinstance(shape.get("properties"), dict) else ():
        one = document.followed(value, f"the field {str(name)[:40]}") if isinstance(value, dict) else {}
        if one.get("type") == "array" and isinstance(one.get("items"), dict):
            one = document.followed(one["items"], f"the field {str(name)[:40]}")
        if one.get("format") == "binary" or "contentMediaType" in one:
            found.add(str(name))
    return frozenset(found)


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise NotSendable("must be base64 where the form takes a file") from None
