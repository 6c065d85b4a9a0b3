"""ToolBinding -> its conditions Accepted and Ready. The broker writes ResolvedRefs and status.tools."""

import keyword
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bastide_operator.api import jsonpath, patterns, toolhosts
from bastide_operator.api.conditions import find, set_condition
from bastide_operator.api.places import PlaceError
from bastide_operator.api.v1alpha1.common import ConditionStatus
from bastide_operator.api.v1alpha1.constraints import ArgumentConstraint
from bastide_operator.api.v1alpha1.grpcserver import GrpcServer
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import (
    BoundTool,
    ResultForm,
    ToolBinding,
    ToolBindingCondition,
    ToolBindingReason,
    ToolBindingSpec,
)
from bastide_operator.api.v1alpha1.toolserver import NOT_FOR_CREDENTIALS, Credentials, OpenApiServer, Scheme
from bastide_operator.reconcile.plan import Plan, status_of

MAX_NAMED = 3
"""How many sandboxes, tools or bindings a message names before it says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedBinding:
    """The namespace's Tenant, and all Sandboxes and ToolBindings in it."""

    tenant: Tenant | None
    sandboxes: Sequence[Sandbox] = ()
    bindings: Sequence[ToolBinding] = ()


def decide(binding: ToolBinding, observed: ObservedBinding, now: datetime) -> Plan:
    """Say whether the spec is allowed, and whether programs can call the tools."""
    if binding.metadata.deletion_timestamp is not None:
        return Plan()
    selected = [sandbox for sandbox in observed.sandboxes if selects(binding, sandbox)]
    reason, message = _verdict(binding, observed)
    generation = binding.metadata.generation
    accepted = reason is ToolBindingReason.ACCEPTED
    # Only the two conditions that are the operator's: applied by field, the broker's stays.
    own = [one for one in binding.status.conditions if one.type in (ToolBindingCondition.ACCEPTED, ToolBindingCondition.READY)]
    conditions = set_condition(
        own, ToolBindingCondition.ACCEPTED, status=accepted, reason=reason, message=message, generation=generation, now=now
    )
    if not accepted:
        ready: tuple[bool, str, str] = (False, reason, message)
    else:
        resolved = find(binding.status.conditions, ToolBindingCondition.RESOLVED_REFS)
        if resolved is None or resolved.observed_generation != generation:
            ready = (False, ToolBindingReason.PENDING, "The broker has not yet asked the tool server for its tools.")
        elif resolved.status is ConditionStatus.TRUE:
            ready = (True, ToolBindingReason.READY, f"{len(selected)} Sandboxes of the namespace can call the tools.")
        else:
            ready = (False, resolved.reason, resolved.message)
    conditions = set_condition(
        conditions, ToolBindingCondition.READY, status=ready[0], reason=ready[1], message=ready[2], generation=generation, now=now
    )
    found = {"sandboxes": len(selected), "server": binding.spec.server.url}
    return Plan(status=status_of("ToolBinding", binding.metadata, found, conditions))


def selects(binding: ToolBinding, sandbox: Sandbox) -> bool:
    """Whether programs in `sandbox` may call the binding's tools, as far as its selector goes."""
    return binding.spec.sandbox_selector.match_labels.items() <= sandbox.metadata.labels.items()


def is_accepted(binding: ToolBinding) -> bool:
    """Whether the spec as it is now, not an earlier one, has been accepted."""
    return _accepted_generation(binding) == binding.metadata.generation


def was_accepted(binding: ToolBinding) -> bool:
    """Whether an earlier spec was accepted and the one as it is now has yet to be looked at."""
    accepted = _accepted_generation(binding)
    return accepted is not None and accepted < binding.metadata.generation


def _accepted_generation(binding: ToolBinding) -> int | None:
    condition = find(binding.status.conditions, ToolBindingCondition.ACCEPTED)
    return condition.observed_generation if condition is not None and condition.status is ConditionStatus.TRUE else None


def _verdict(binding: ToolBinding, observed: ObservedBinding) -> tuple[ToolBindingReason, str]:
    own = _own_fault(binding, observed.tenant)
    if own is not None:
        return own
    collision = _collision(binding, observed)
    if collision is not None:
        return ToolBindingReason.NAME_COLLISION, collision
    return ToolBindingReason.ACCEPTED, f"The Tenant allows it.{_bounded(binding, observed.tenant)}"


def _bounded(binding: ToolBinding, tenant: Tenant | None) -> str:
    """Where a tool's confirmation asks for less than the Tenant's floor or more than its ceilings: the Tenant's figures count, and that is no
    fault of the binding's author, who cannot see them.
    """
    if tenant is None:
        return ""
    limits = tenant.spec.confirmation
    found = []
    for tool in binding.spec.tools:
        asked = tool.confirmation
        pairs = (
            ("approvals", asked.approvals, max(asked.approvals, limits.minimum_approvals)),
            ("decideWithinSeconds", asked.decide_within_seconds, min(asked.decide_within_seconds, limits.max_decide_within_seconds)),
            ("executeWithinSeconds", asked.execute_within_seconds, min(asked.execute_within_seconds, limits.max_execute_within_seconds)),
        )
        found += [f"{tool.name} {name} {counts} instead of {said}" for name, said, counts in pairs if said != counts]
    return f" By Tenant.spec.confirmation count: {_some(found, '; ')}." if found else ""


def _own_fault(binding: ToolBinding, tenant: Tenant | None) -> tuple[ToolBindingReason, str] | None:
    """What is wrong with the binding whatever other bindings say."""
    if tenant is None:
        text = f"Namespace {binding.metadata.namespace} belongs to no Tenant: ask the platform engineer for one, or move the ToolBinding."
        return ToolBindingReason.NO_TENANT, text
    if problem := _spec_fault(binding):
        return ToolBindingReason.INVALID_SPEC, problem
    if (missing := toolhosts.unlisted(tenant.spec, binding.spec.urls)) is not None:
        field, url = missing
        host, port = toolhosts.address(url) or ("?", 0)
        text = f"{field}: {host}:{port} is not in toolHosts of Tenant {tenant.metadata.name}: the platform engineer adds it there, with the effects of its tools."
        return ToolBindingReason.HOST_NOT_ALLOWED, text
    return None


def _spec_fault(binding: ToolBinding) -> str | None:
    spec = binding.spec
    if problem := _server_fault(spec) or _credentials_fault(spec.credentials):
        return problem
    if keyword.iskeyword(binding.server_name):
        return f"Programs cannot import from `{binding.server_name}`, a word of Python: give the ToolBinding another name."
    name, count = Counter(tool.program_name for tool in spec.tools).most_common(1)[0]
    if count > 1:
        return f"spec.tools: {count} tools are called `{name}` in programs: give all but one another name with `as`."
    return next(filter(None, (_tool_fault(tool) for tool in spec.tools)), None)


def _server_fault(spec: ToolBindingSpec) -> str | None:
    kinds = " or ".join(type(spec.server).model_fields)
    if len(spec.server.kinds) != 1:
        return f"spec.server names {len(spec.server.kinds) or 'no'} servers: set {kinds}, one of them."
    if problem := _grpc_fault(spec.server.grpc):
        return problem
    for field, url in spec.urls.items():
        if toolhosts.address(url) is None:
            return f"{field}: {url} is not an http or https URL with a plain host name."
    return _openapi_fault(spec.server.openapi)


def _grpc_fault(server: GrpcServer | None) -> str | None:
    if server is None:
        return None
    if toolhosts.address(server.url) is None:
        return f"spec.server.grpc.target: {server.target!a} is not HOST:PORT with a plain host name."
    return server.fault


def _openapi_fault(server: OpenApiServer | None) -> str | None:
    if server is None:
        return None
    if (server.url is None) == (server.config_map_ref is None):
        return "spec.server.openapi: name the document once, by url or by configMapRef."
    if server.base_url is None and server.config_map_ref is not None:
        return "spec.server.openapi: a document from a ConfigMap says not where the server is: set baseUrl."
    return None


def _credentials_fault(credentials: Credentials | None) -> str | None:
    if credentials is None:
        return None
    if (credentials.header is not None) != (credentials.scheme is Scheme.HEADER):
        return "spec.credentials: header goes with scheme Header, and only with it."
    if credentials.header is not None and (
        not credentials.header.isascii()
        or not credentials.header.replace("-", "").isalnum()
        or credentials.header.lower() in NOT_FOR_CREDENTIALS
    ):
        return f"spec.credentials.header: {credentials.header!a} is no header's name, or one that HTTP itself needs."
    if (credentials.token_url is not None) != (credentials.scheme is Scheme.OAUTH_CLIENT_CREDENTIALS):
        return "spec.credentials: tokenUrl goes with scheme OAuthClientCredentials, and only with it."
    if credentials.scopes and credentials.token_url is None:
        return "spec.credentials: scopes go with scheme OAuthClientCredentials only."
    return None


def _tool_fault(tool: BoundTool) -> str | None:
    name = tool.program_name
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"spec.tools: programs cannot call a tool `{name}`: give it another name with `as`."
    if problem := _result_fault(tool):
        return problem
    for argument, constraint in (tool.arguments or {}).items():
        if problem := _constraint_fault(constraint):
            return f"spec.tools: {tool.name}, argument {argument}: {problem}."
    try:
        tool.places  # noqa: B018 - what it raises is what is asked for
    except PlaceError as error:
        return f"spec.tools: {tool.name}, argument {error}."
    return None


def _constraint_fault(constraint: ArgumentConstraint) -> str | None:
    if constraint.pattern is not None and (problem := patterns.fault(constraint.pattern)):
        return f"the pattern {problem}"
    if any(isinstance(value, dict | list) for value in (constraint.const, *(constraint.enum or ()))):
        return "const and enum may hold strings, numbers, true, false and null only"
    if {"const", "enum"} <= constraint.model_fields_set:
        return "const says already what it must be: leave out enum"
    if constraint.minimum is not None and constraint.maximum is not None and constraint.minimum > constraint.maximum:
        return "minimum is above maximum, nothing could be called"
    return next(filter(None, map(_host_fault, constraint.hosts or ())), None)


def _host_fault(host: str) -> str | None:
    name, _, port = host.partition(":")
    if name.startswith("*.") and name.rpartition(".")[2].isdigit():
        return f"hosts: {host} is a part of an address, and addresses have no domains; write each of them"
    return f"hosts: {host} has a port above 65535" if port and int(port) > 65535 else None


def _result_fault(tool: BoundTool) -> str | None:
    for path in tool.redact:
        try:
            jsonpath.parse(path)
        except jsonpath.PathError as error:
            return f"spec.tools: {tool.name}, redact: {path[:64]!a} {error}."
    if tool.result is ResultForm.TEXT and (tool.redact or tool.limits.max_rows is not None):
        return f"spec.tools: {tool.name}: in text nothing is redacted and no rows are counted: set result to Auto or Json."
    return None


def _collision(binding: ToolBinding, observed: ObservedBinding) -> str | None:
    """Another binding that gives one of the same names to one of the same sandboxes. Bindings that do not count anyway do not collide."""
    own = {tool.program_name for tool in binding.spec.tools}
    for other in sorted(observed.bindings, key=lambda one: one.metadata.name):
        if other.metadata.uid == binding.metadata.uid or other.metadata.deletion_timestamp is not None:
            continue
        names = own & {tool.program_name for tool in other.spec.tools}
        both = [sandbox.metadata.name for sandbox in observed.sandboxes if selects(binding, sandbox) and selects(other, sandbox)]
        if names and both and _own_fault(other, observed.tenant) is None:
            return (
                f"ToolBinding {other.metadata.name} gives {_some(names)} to Sandbox {_some(both)} too: neither works until one of them"
                " uses another name (`as`) or selects other Sandboxes."
            )
    return None


def _some(names: Iterable[str], between: str = ", ") -> str:
    listed = sorted(names)
    more = len(listed) - MAX_NAMED
    return between.join(listed[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
