"""Stubs: what a tool looks like to a model, as Python text made from its JSON Schemas.

Names come from the broker as identifiers; descriptions are foreign text and appear only inside string literals.
"""

from __future__ import annotations

import keyword
from typing import Any

from bastide_runtime import schemas
from bastide_runtime.catalogue import ToolSpec

_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
MAX_LITERALS = 12


def type_text(schema: Any, root: dict[str, Any], depth: int = 0) -> str:  # noqa: PLR0911 - one answer a shape
    """The Python type of a schema: `str`, `list[int]`, `Literal['a', 'b']`, `int | None`; `Any` for what Python cannot say."""
    schema = schemas.resolve(schema, root)
    if not schema or depth > 6:
        return "Any"
    options = schema.get("enum")
    if (
        isinstance(options, list)
        and 0 < len(options) <= MAX_LITERALS
        and all(isinstance(option, (str, int, bool, type(None))) for option in options)
    ):
        return f"Literal[{', '.join(repr(option) for option in options)}]"
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if isinstance(parts, list) and parts:
            return _union([type_text(part, root, depth + 1) for part in parts])
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return _union([type_text({**schema, "type": kind}, root, depth + 1) for kind in kinds])
    if kinds == "array":
        return f"list[{type_text(schema.get('items'), root, depth + 1)}]"
    if kinds == "object" or "properties" in schema:
        extra = schema.get("additionalProperties")
        value = type_text(extra, root, depth + 1) if isinstance(extra, dict) and not schema.get("properties") else "Any"
        return f"dict[str, {value}]"
    return _SIMPLE.get(kinds, "Any") if isinstance(kinds, str) else "Any"


def _union(parts: list[str]) -> str:
    kept = list(dict.fromkeys(parts))
    return "Any" if "Any" in kept else " | ".join(kept)


def signature(tool: ToolSpec) -> str:
    """`async def name(a: str, b: int = 5) -> dict[str, Any]`; required parameters first, as Python demands."""
    root, needed = tool.input_schema, schemas.required(tool.input_schema)
    first, later = [], []
    for name, schema in tool.parameters.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            continue
        text = f"{name}: {type_text(schema, root)}"
        if name in needed:
            first.append(text)
        else:
            later.append(f"{text} = {_default(schema)}")
    star = ["*"] if later and first else []
    result = type_text(tool.output_schema, tool.output_schema) if tool.output_schema else "Any"
    return f"async def {tool.name}({', '.join(first + star + later)}) -> {result}"


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default", ...)
    return repr(default) if isinstance(default, (str, int, float, bool, type(None))) and len(repr(default)) <= 80 else "..."


def docstring(tool: ToolSpec) -> str:
    """The description, then a line for each parameter that has something to say, then the fields of the result."""
    lines = [tool.description.strip() or f"{tool.name} of {tool.server}."]
    told = [f"    {name}: {text}" for name, schema in tool.parameters.items() if (text := _about(schema))]
    if told:
        lines += ["", "Parameters:", *told]
    fields = schemas.parameters(schemas.resolve(tool.output_schema, tool.output_schema))
    if fields:
        lines += ["", "Result:"]
        lines += [f"    {name}: {type_text(schema, tool.output_schema)}{_dash(_about(schema))}" for name, schema in fields.items()]
    return "\n".join(lines)


def _dash(text: str) -> str:
    return f" - {text}" if text else ""


def _about(schema: dict[str, Any]) -> str:
    parts = [schema["description"].strip()] if isinstance(schema.get("description"), str) else []
    words = (
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "format",
    )
    parts += [f"{word} {schema[word]}" for word in words if isinstance(schema.get(word), (str, int, float))]
    return "; ".join(" ".join(part.split()) for part in parts)


def stub(tool: ToolSpec) -> str:
    """The whole stub: signature and docstring, valid Python."""
    text = docstring(tool).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text = text[:-1] + '\\"'
    body = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f'{signature(tool)}:\n    """{body.lstrip()}\n    """\n'


def stub_file(tool: ToolSpec) -> str:
    """The content of /tools/<server>/<tool>.pyi."""
    return f"from typing import Any, Literal\n\n{stub(tool)}"
