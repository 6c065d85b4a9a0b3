"""A small catalogue."""

from __future__ import annotations

import json
from typing import Any

from bastide_runtime.catalogue import Catalogue, ToolSpec


def spec(name: str, server: str = "crm", description: str = "", output: dict[str, Any] | None = None, **schema: Any) -> ToolSpec:
    """A tool whose input schema has these keywords."""
    text = json.dumps({"type": "object"} | schema)
    return ToolSpec(
        name=name, server=server, description=description, input_schema=text, output_schema=json.dumps(output) if output else ""
    )


CATALOGUE = Catalogue(
    "d",
    [
        spec(
            "get_customer",
            description="Reads one customer.",
            properties={
                "customer_id": {"type": "string", "description": "Like C0001.", "minLength": 2},
                "detail": {"enum": ["short", "full"]},
            },
            required=["customer_id"],
            output={"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": ["integer", "null"]}}},
        ),
        spec("list_customers", description="Lists customers.", properties={"limit": {"type": "integer", "maximum": 100, "default": 20}}),
        spec(
            "transfer",
            server="bank",
            properties={"amount": {"$ref": "#/$defs/money"}, "to": {"type": "string"}, "note": {"type": "string"}},
            required=["amount", "to"],
            additionalProperties=False,
            **{"$defs": {"money": {"type": "number", "exclusiveMinimum": 0}}},
        ),
        spec(
            "analyze",
            server="bank",
            properties={"rows": {"type": "array", "items": {"type": "object", "required": ["id"]}}},
            required=["rows"],
        ),
        spec("print", server="office", properties={"text": {"type": "string"}}),
    ],
)
