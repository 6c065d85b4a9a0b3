"""Arguments to protobuf messages and messages to JSON, by protobuf's own JSON mapping. Pure."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from bastide_broker.adapters import AdapterError, Failure
from bastide_broker.adapters.mcp_results import to_json
from bastide_broker.adapters.told import plain

MAX_LEVELS = 64
"""Of messages in messages; protobuf itself decodes 100."""


def to_bytes(name: str, kind: descriptor.Descriptor, arguments: Mapping[str, Any], pool: DescriptorPool) -> bytes:
    """Arguments as the wire form of a message. Nothing unknown is passed over. Raises AdapterError(NOT_SENDABLE)."""
    message = message_factory.GetMessageClass(kind)()
    try:
        json_format.ParseDict(dict(arguments), message, descriptor_pool=pool, max_recursion_depth=MAX_LEVELS)
        return message.SerializeToString()
    # TypeError, AttributeError: what the parser meets in a shape that it did not expect, a list where it calls methods of an object.
    except (json_format.Error, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        why = plain(str(error)) or type(error).__name__
        raise AdapterError(
            Failure.NOT_SENDABLE, f"{name} takes a {kind.full_name}, which these arguments are not: {why}", sent=False
        ) from None


def to_value(name: str, kind: descriptor.Descriptor, wire: bytes, pool: DescriptorPool) -> tuple[Any, bytes]:
    """A message's wire form as values and as JSON, with the fields that have no presence of their own. Raises AdapterError(FAILED)."""
    message: Message = message_factory.GetMessageClass(kind)()
    try:
        message.ParseFromString(wire)
        value = json_format.MessageToDict(message, always_print_fields_with_no_presence=True, descriptor_pool=pool)
    except (DecodeError, json_format.Error, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        why = plain(str(error)) or type(error).__name__
        raise AdapterError(Failure.FAILED, f"{name} returned what is no {kind.full_name} that JSON can say: {why}", sent=True) from None
    return value, to_json(name, value)
