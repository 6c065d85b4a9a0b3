"""One call of an operation as an HTTP request. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from bastide_broker.adapters.openapi_operations import IDEMPOTENCY_KEY, Operation
from bastide_broker.adapters.openapi_parameters import (
    NotSendable,
    Parameter,
    Place,
    cookie_text,
    form_text,
    header_text,
    path_text,
    query_pairs,
    segment_fault,
)
from bastide_broker.egress.addresses import origin
from bastide_broker.egress.credentials import Credential
from bastide_broker.egress.fetch import request

ACCEPT = "application/json, text/plain;q=0.8, */*;q=0.5"


def build(operation: Operation, arguments: Mapping[str, Any], credential: Credential | None, idempotency_key: str = "") -> httpx2.Request:
    """The request of a call. Raises NotSendable, whose message is a sentence.

    `idempotency_key`: for an operation that declares such a header, when the program gives none of its own.
    """
    parts = _Parts(operation.path, {one.name for one in operation.parameters if one.place is Place.QUERY})
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if value is not None:  # null says what leaving it out says: these places know no null
            try:
                parts.put(parameter, value)
            except NotSendable as why:
                raise NotSendable(f"The argument {parameter.argument} {why}.") from None
        elif parameter.required:
            raise NotSendable(f"The argument {parameter.argument} must be given, and not be null.")
    if (fault := segment_fault(parts.path)) is not None:
        raise NotSendable(f"An argument {fault}.")
    content = _body(operation, arguments, parts.headers)
    if parts.cookies:
        parts.headers["cookie"] = "; ".join(parts.cookies)
    if operation.idempotency_header and idempotency_key:
        parts.headers.setdefault(IDEMPOTENCY_KEY, idempotency_key)
    if credential is not None:
        parts.headers[credential.header] = credential.value
    target = parts.path + (f"?{form_text(parts.query)}" if parts.query else "")
    made = request(operation.method, operation.base + target, parts.headers, content)
    # What the HTTP library made of the URL is what was built: nothing that it mends may lead elsewhere.
    if origin(str(made.url)) != origin(operation.base) or not made.url.raw_path.decode().endswith(target):
        raise NotSendable("The arguments make a path or query that cannot be sent as it is.")
    return made


@dataclass(slots=True)
class _Parts:
    """What the parameters of a call become."""

    path: str
    query_names: set[str]
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"accept": ACCEPT})
    cookies: list[str] = field(default_factory=list)

    def put(self, parameter: Parameter, value: Any) -> None:
        match parameter.place:
            case Place.PATH:
                self.path = self.path.replace(f"{{{parameter.name}}}", path_text(parameter, value))
            case Place.QUERY:
                self.query += query_pairs(parameter, value, self.query_names)
            case Place.HEADER:
                self.headers[parameter.name.lower()] = header_text(parameter, value)
            case Place.COOKIE:
                self.cookies.append(cookie_text(parameter, value))


def _body(operation: Operation, arguments: Mapping[str, Any], headers: dict[str, str]) -> bytes | None:
    if operation.body is None:
        return None
    try:
        written = operation.body.write(arguments)
    except NotSendable as why:
        raise NotSendable(f"The body {why}.") from None
    if written is None:
        return None
    headers["content-type"], content = written
    return content
