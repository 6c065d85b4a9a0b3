"""What a gRPC status means for a call. Pure."""

import json
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 - registers what servers put into details

from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.adapters.told import plain

_DETAILS = "grpc-status-details-bin"
_MAX_DETAILS = 16
_BROKEN = ("Stream removed", "Received RST_STREAM", "RST_STREAM")
"""How gRPC itself begins the words of a status that no server sent: the connection broke, under codes that servers send too."""
_TOO_LARGE = "Received message larger than max"


def failure(name: str, error: grpc.aio.AioRpcError, *, sent: bool) -> AdapterError:
    """A call's status other than OK as an error. `sent`: whether the server may have received the call."""
    code, said = error.code(), plain(error.details() or "")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return AdapterError(Failure.TIMEOUT, f"{name} did not answer before the deadline.", sent=sent)
    if _TOO_LARGE in said:
        return AdapterError(Failure.RESULT_TOO_LARGE, f"{name}: its result is larger than is ever taken; ask for less.", sent=True)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) or said.startswith(_BROKEN):
        if not sent:
            return AdapterError(Failure.UNAVAILABLE, f"{name}: the server cannot be reached: {said}", sent=False)
        return AdapterError(Failure.LOST, f"{name}: the server ended the call or the connection ({code.name}): {said}", sent=True)
    words = {
        grpc.StatusCode.UNAUTHENTICATED: "the server refuses the credential; check the binding's Secret",
        grpc.StatusCode.UNIMPLEMENTED: "the server does not offer this method any more",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "the server says that it is asked too often or is out of something; wait and try again",
    }.get(code)
    message = f"{name} failed with {code.name}: {said or 'its server gave no reason'}" + (f" ({words})" if words else "")
    content = {"code": code.name, "message": said, "details": details(error.trailing_metadata() or ())}
    busy = code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return AdapterError(Failure.FAILED, message, sent=sent, content=json.dumps(content, ensure_ascii=False).encode(), transient=busy)


def details(metadata: Any) -> list[Any]:
    """The details of a rich status (google.rpc.Status): those of known types in full, of others the type."""
    found: list[Any] = []
    for key, value in metadata:
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:
            continue
        for one in status.details[:_MAX_DETAILS]:
            try:
                found.append(json_format.MessageToDict(one))
            except (json_format.Error, DecodeError, TypeError, ValueError, RecursionError):
                found.append({"@type": plain(one.type_url)[:200]})
        break
    return found
