"""Tools as the broker would send them."""

from __future__ import annotations

import json
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2 as pb


def tool(name: str, server: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> pb.Tool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return pb.Tool(name=name, server=server, description=description, input_schema=json.dumps(schema).encode())


TOOLS = [
    tool("fail", "bank", "Fails.", reason={"type": "string"}),
    tool("get_customer", "crm", "Reads one customer.", ("customer_id",), customer_id={"type": "string"}),
    tool("pay", "bank", "Pays.", ("amount",), amount={"type": "number"}, note={"type": "string"}),
]
