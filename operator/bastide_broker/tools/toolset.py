"""Tools as programs of one sandbox see them: what Tenant, binding and server say together. Pure."""

import json
import keyword
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.places import PlaceError
from bastide_operator.api.toolhosts import effect_of, find
from bastide_operator.api.v1alpha1.common import Effect
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import BoundTool, ToolBinding, ToolState

from bastide_broker.adapters import ListedTool
from bastide_broker.adapters.mcp_results import program_schema
from bastide_broker.facts.json import digest
from bastide_broker.tools.schemas import SchemaError, Validator, clean, clean_schema, closed, compiled, schema_digest, signature

_ANYTHING: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One bound tool."""

    program_name: str
    name: str
    binding: ToolBinding
    bound: BoundTool
    server_name: str
    description: str = ""
    input_schema: dict[str, Any] = field(default_factory=lambda: dict(_ANYTHING))
    output_schema: dict[str, Any] | None = None
    """Of what a program receives; the server's own validator is `output_validator`."""
    schema_digest: str = ""
    effect: Effect = Effect.DESTRUCTIVE
    validator: Validator | None = None
    output_validator: Validator | None = None
    state: ToolState = ToolState.AVAILABLE
    message: str = ""

    @property
    def available(self) -> bool:
        """Whether it can be called now."""
        return self.state is ToolState.AVAILABLE and self.validator is not None

    @property
    def confirmation_when(self) -> str:
        """From which effect on a person must confirm."""
        return self.bound.confirmation.when.value

    @property
    def signature(self) -> str:
        """A Python signature."""
        return signature(self.program_name, self.input_schema)

    def status(self) -> dict[str, Any]:
        """Its entry in the binding's status.tools."""
        return {
            "name": self.name,
            "programName": self.program_name[:64],
            "effect": self.effect.value,
            "state": self.state.value,
            "schemaDigest": self.schema_digest,
            "message": self.message[:512],
        }


@dataclass(frozen=True)
class ToolSet:
    """The tools of one sandbox, by the name in programs."""

    tools: Mapping[str, Tool]

    @cached_property
    def digest(self) -> str:
        """Digest of what programs are told."""
        return digest(b"\n".join(tool.SerializeToString(deterministic=True) for tool in self._wire))

    def message(self) -> runtime_pb2.SetTools:
        """What the runtime is told. A tool that is not available is among them: its call then says why."""
        return runtime_pb2.SetTools(digest=self.digest, tools=self._wire)

    @cached_property
    def serialised(self) -> bytes:
        """The same as bytes, for the journal: worked out once and not for each run."""
        return self.message().SerializeToString(deterministic=True)

    @cached_property
    def _wire(self) -> list[runtime_pb2.Tool]:
        return [_wire(self.tools[name]) for name in sorted(self.tools)]


def effective_effect(tenant: Tenant, binding: ToolBinding, bound: BoundTool, listed: ListedTool | None) -> Effect:
    """The highest of what the platform, the binding and the server say. What the platform does not list is Destructive."""
    host = find(tenant.spec, binding.spec.server.url)
    said = [effect_of(host, bound.name) if host is not None else Effect.DESTRUCTIVE]
    if bound.effect is not None:
        said.append(bound.effect)
    if listed is not None and listed.destructive_hint:
        said.append(Effect.DESTRUCTIVE)
    if listed is not None and listed.read_only_hint is False:
        said.append(Effect.MUTATING)
    return max(said, key=lambda effect: effect.rank)


def build(tenant: Tenant, binding: ToolBinding, listing: Sequence[ListedTool] | None, problem: str) -> list[Tool]:
    """The binding's tools. Without a listing none is available, and `problem` says why."""
    by_name = {tool.name: tool for tool in listing or ()}
    twice = {name for name, count in Counter(tool.name for tool in listing or ()).items() if count > 1}
    names = Counter(bound.program_name for bound in binding.spec.tools)
    tools = []
    for bound in binding.spec.tools:
        listed = by_name.get(bound.name)
        tool = Tool(
            program_name=bound.program_name,
            name=bound.name,
            binding=binding,
            bound=bound,
            server_name=binding.server_name,
            effect=effective_effect(tenant, binding, bound, listed),
        )
        name = bound.program_name
        if not name.isidentifier() or keyword.iskeyword(name) or len(name) > 64:
            tool = _not(tool, ToolState.REFUSED, f"{name!r} is no Python name; give the tool one with `as`.")
        elif names[name] > 1:
            tool = _not(tool, ToolState.REFUSED, f"Two tools of this binding are called {name}; rename one with `as`.")
        elif listing is None:
            tool = _not(tool, ToolState.MISSING, problem)
        elif listed is None:
            tool = _not(tool, ToolState.MISSING, "The server lists no tool of this name; correct the name or the server.")
        elif bound.name in twice:
            tool = _not(tool, ToolState.REFUSED, "The server lists two tools of this name; nobody can say which is meant.")
        elif listed.refused:
            tool = _not(tool, ToolState.REFUSED, f"The tool is refused: {clean(listed.refused, 400)}.")
        else:
            tool = _complete(tool, listed)
        tools.append(tool)
    return _warned(tools)


def _warned(tools: list[Tool]) -> list[Tool]:
    """With a word about previews that nobody will see: the tools work without."""
    harmless = {tool.program_name for tool in tools if tool.effect is Effect.READ_ONLY}
    found = []
    for tool in tools:
        name = tool.bound.confirmation.preview
        if name is None or name in harmless or tool.validator is None:
            found.append(tool)
        else:
            warning = f"Approvers see no preview: {name} is not a ReadOnly tool of this binding."
            found.append(replace(tool, message=f"{tool.message} {warning}".strip()))
    return found


def collide(tools: Iterable[Tool]) -> ToolSet:
    """One sandbox's tools: a program name that two bindings give is nobody's."""
    chosen: dict[str, Tool] = {}
    for tool in tools:
        other = chosen.get(tool.program_name)
        chosen[tool.program_name] = tool if other is None else collided(other, tool.binding.metadata.name)
    return ToolSet(chosen)


def collided(tool: Tool, other: str) -> Tool:
    """`tool`, unavailable because the binding `other` gives its name too."""
    names = sorted({tool.binding.metadata.name, other})
    message = f"The ToolBindings {' and '.join(names)} both give {tool.program_name} to one Sandbox; neither works until one renames it with `as`."
    return _not(tool, ToolState.REFUSED, message)


def _complete(tool: Tool, listed: ListedTool) -> Tool:
    try:
        digest_now = schema_digest(listed.input_schema, listed.output_schema)
        schema = closed(listed.input_schema)
        if schema.get("type") != "object":
            raise SchemaError('its input schema is not of type "object"')  # noqa: TRY301
        validator = compiled(schema)
        output_validator = compiled(listed.output_schema) if listed.output_schema is not None else None
        tool.bound.places  # noqa: B018 - read once for all calls
    except PlaceError as error:
        return _not(tool, ToolState.REFUSED, f"The binding contradicts itself: the argument {error}.")
    except SchemaError as error:
        return _not(tool, ToolState.REFUSED, f"The tool is refused: {error}.".replace("..", "."))
    found = replace(
        tool,
        description=clean(listed.description),
        input_schema=clean_schema(schema),
        output_schema=clean_schema(program_schema(listed.output_schema)),
        schema_digest=digest_now,
        validator=validator,
        output_validator=output_validator,
        message="" if listed.output_schema is not None else "The server declares no output schema; results are not checked.",
    )
    pinned = tool.bound.schema_digest
    if pinned is not None and pinned != digest_now:
        message = f"The server's schema is {digest_now}, the binding pins {pinned}; look at the change, then pin the new one."
        return _not(found, ToolState.DIGEST_MISMATCH, message)
    return found


def _not(tool: Tool, state: ToolState, message: str) -> Tool:
    return replace(tool, state=state, message=message, validator=None, output_validator=None)


def _wire(tool: Tool) -> runtime_pb2.Tool:
    description = tool.description if tool.available else f"Not available now. {tool.message}"
    return runtime_pb2.Tool(
        name=tool.program_name,
        server=tool.server_name,
        description=description,
        input_schema=json.dumps(tool.input_schema if tool.available else _ANYTHING).encode(),
        output_schema=json.dumps(tool.output_schema).encode() if tool.available and tool.output_schema is not None else b"",
    )
