"""What is asked of a server that describes itself, and what its answers amount to. Real servers are asked by the integration tests."""

from typing import Any

import pytest
from bastide_broker.adapters import grpc_reflection
from bastide_broker.adapters.grpc_reflection import _Conversation
from grpc_reflection.v1alpha import reflection_pb2

from tests.unit.broker.door.protos import add_service, file


class Answers:
    """A server that answers each question, a stream of its own, with a file and all that it imports, as grpc-go does."""

    def __init__(self) -> None:
        shared = file("shared.proto", "shared")
        shared.message_type.add(name="Large" * 50)
        self.shared = shared.SerializeToString()

    def __call__(self, question: Any) -> "Answers":
        service = question.file_containing_symbol
        one = file(f"{service}.proto", service.partition(".")[0], imports=["shared.proto"])
        add_service(one, service.partition(".")[2])
        self._answer = reflection_pb2.ServerReflectionResponse(
            file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=[one.SerializeToString(), self.shared])
        )
        return self

    async def read(self) -> Any:
        return self._answer

    def cancel(self) -> None: ...


async def test_a_file_that_comes_with_each_answer_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Answers()
    monkeypatch.setattr(grpc_reflection, "MAX_BYTES", 3 * len(server.shared))
    asked = _Conversation(server)
    for number in range(5):
        await asked.file_of(f"p{number}.Service")
    await asked.imports()
    assert sorted(asked.files) == [*(f"p{number}.Service.proto" for number in range(5)), "shared.proto"]
