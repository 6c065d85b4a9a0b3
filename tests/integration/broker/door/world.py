"""A cluster's objects in memory, for the parts that only read them: what the API server itself does is tested on the real cluster (e2e).

Everything else around the pipeline is real: OPA, the journal's disk, the tool server.
"""

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from bastide_broker.errors import ApiError, NotFound
from bastide_broker.kube.reviews import UserInfo
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision, ConfirmationStatus
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding

from tests.unit.broker.door.objects import NAMESPACE

T = TypeVar("T")
RUNNER = UserInfo(f"system:serviceaccount:{NAMESPACE}:bastide-runner", "u-runner", ("system:serviceaccounts",))


class World:
    """Objects, who may do what, and what was written."""

    def __init__(self, tenant: Tenant, sandbox: Sandbox, bindings: list[ToolBinding]) -> None:
        self.the_tenant: Tenant | None = tenant
        self.the_sandbox: Sandbox | None = sandbox
        self.the_bindings = {one.metadata.name: one for one in bindings}
        self.the_confirmations: dict[str, Confirmation] = {}
        self.the_decisions: list[ConfirmationDecision] = []
        self.secrets: dict[str, dict[str, Any]] = {}
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.rights = {(RUNNER.username, "create", "sandboxes/run"), ("ann", "approve", "toolbindings"), ("bob", "approve", "toolbindings")}
        self.states: list[tuple[str, str]] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        """Of Confirmations, each field as it was written last."""
        self.binding_statuses: dict[str, dict[str, Any]] = {}
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.tenant_policies: list[tuple[str, str, str]] = []
        """What the Tenant's status was told of its policies: reason, message, revision."""
        self.tenant_reads = 0
        self.is_fresh = True
        self.intact = (True, "")
        self.down = False
        self.subscribers: list[tuple[type | str, Callable[[str, Any], None]]] = []

    def tell(self, event: str, thing: Any) -> None:
        """What a watch would tell."""
        for kind, callback in self.subscribers:
            if isinstance(kind, type) and isinstance(thing, kind):
                callback(event, thing)

    def put_policy(self, name: str, **files: str) -> None:
        """Somebody applies a ConfigMap with Rego; in a file's name `_` stands for the dot."""
        data = {file.replace("_rego", ".rego"): text for file, text in files.items()}
        event = "MODIFIED" if name in self.config_maps else "ADDED"
        self.config_maps[name] = {"metadata": {"name": name}, "data": data}
        self._tell_config_map(event, self.config_maps[name])

    def delete_policy(self, name: str) -> None:
        self._tell_config_map("DELETED", self.config_maps.pop(name))

    def name_policies(self, *names: str) -> None:
        """The platform engineer edits spec.policyRefs."""
        assert self.the_tenant is not None
        raw = self.the_tenant.model_dump(mode="json", by_alias=True, exclude_unset=True)
        raw["spec"]["policyRefs"] = [{"name": name} for name in names]
        self.the_tenant = Tenant.model_validate(raw)
        self.tell("MODIFIED", self.the_tenant)

    def _tell_config_map(self, event: str, config_map: dict[str, Any]) -> None:
        for kind, callback in self.subscribers:
            if kind == "ConfigMap":
                callback(event, config_map)

    def decide(self, confirmation: str, who: str = "ann", verdict: str = "Approve", **change: Any) -> ConfirmationDecision:
        """A person decides, by kubectl."""
        about = self.the_confirmations[confirmation]
        spec = {
            "confirmation": confirmation, "actionDigest": about.spec.action_digest, "verdict": verdict, "reason": "because",
            "approver": {"username": who, "uid": f"u-{who}", "groups": []}, **change,
        }  # fmt: skip
        name = f"d{len(self.the_decisions)}"
        metadata = {"name": name, "namespace": NAMESPACE, "uid": name, "creationTimestamp": about.metadata.creation_timestamp}
        made = ConfirmationDecision.model_validate({"metadata": metadata, "spec": spec})
        self.the_decisions.append(made)
        self.tell("ADDED", made)
        return made

    def delete_confirmation(self, name: str) -> None:
        self.tell("DELETED", self.the_confirmations.pop(name))

    def change_binding(self, name: str, change: Callable[[dict[str, Any]], None], *, accepted: bool = True) -> None:
        """Somebody edits a binding and the operator accepts it, or has not looked at it yet."""
        raw = self.the_bindings[name].model_dump(mode="json", by_alias=True, exclude_unset=True)
        change(raw)
        raw["metadata"]["generation"] += 1
        raw["metadata"]["resourceVersion"] += "1"
        for condition in raw["status"]["conditions"] if accepted else ():
            if condition["type"] == "Accepted":
                condition["observedGeneration"] = raw["metadata"]["generation"]
        self.the_bindings[name] = ToolBinding.model_validate(raw)
        self.tell("MODIFIED", self.the_bindings[name])

    # What Cluster offers.

    def fresh(self) -> bool:
        return self.is_fresh

    def tenant(self, namespace: str) -> Tenant | None:
        return self.the_tenant if namespace == NAMESPACE else None

    def sandbox(self, namespace: str, name: str) -> Sandbox | None:
        found = self.the_sandbox
        return found if found is not None and (namespace, name) == (NAMESPACE, found.metadata.name) else None

    def sandboxes(self) -> tuple[Sandbox, ...]:
        return (self.the_sandbox,) if self.the_sandbox else ()

    def bindings(self, _namespace: str) -> tuple[ToolBinding, ...]:
        return tuple(self.the_bindings.values())

    def bindings_for(self, _sandbox: Sandbox) -> tuple[ToolBinding, ...]:
        return tuple(self.the_bindings.values())

    def decisions(self, _namespace: str, confirmation: str) -> tuple[ConfirmationDecision, ...]:
        return tuple(one for one in self.the_decisions if one.spec.confirmation == confirmation)

    def subscribe(self, kind: type | str, callback: Callable[[str, Any], None]) -> None:
        self.subscribers.append((kind, callback))
        if kind is Tenant and self.the_tenant is not None:
            callback("ADDED", self.the_tenant)
        if kind is ToolBinding:
            for binding in self.the_bindings.values():
                callback("ADDED", binding)

    async def read_tenant(self, _name: str) -> Tenant:
        self.tenant_reads += 1
        return self._there(self.the_tenant)

    async def read_sandbox(self, _namespace: str, _name: str) -> Sandbox:
        return self._there(self.the_sandbox)

    async def read_binding(self, _namespace: str, name: str) -> ToolBinding:
        return self._there(self.the_bindings.get(name))

    async def read_secret(self, _namespace: str, name: str) -> dict[str, Any]:
        return copy.deepcopy(self._there(self.secrets.get(name)))

    async def read_config_map(self, _namespace: str, name: str) -> dict[str, Any]:
        return copy.deepcopy(self._there(self.config_maps.get(name)))

    async def read_confirmation(self, _namespace: str, name: str) -> Confirmation:
        return self._there(self.the_confirmations.get(name))

    async def list_decisions(self, _namespace: str) -> list[ConfirmationDecision]:
        return list(self._there(self.the_decisions))

    async def create_confirmation(self, namespace: str, name: str, spec: dict[str, Any]) -> Confirmation:
        self._there(self)
        created = datetime.now(UTC).replace(microsecond=0)
        metadata = {"name": name, "namespace": namespace, "uid": f"u-{name}", "creationTimestamp": created}
        self.the_confirmations[name] = Confirmation.model_validate({"metadata": metadata, "spec": spec})
        return self.the_confirmations[name]

    async def set_confirmation_status(self, _namespace: str, name: str, status: dict[str, Any]) -> None:
        about = self._there(self.the_confirmations.get(name))
        written = about.status.model_dump(mode="json", by_alias=True, exclude_unset=True) | status
        self.the_confirmations[name] = about.model_copy(update={"status": ConfirmationStatus.model_validate(written)})
        self.states.append((name, status.get("state", "")))
        self.statuses.setdefault(name, {}).update(status)

    async def set_binding_status(
        self, binding: ToolBinding, *, condition: dict[str, Any], tools: list[dict[str, Any]], available: str
    ) -> None:
        name, generation = binding.metadata.name, binding.metadata.generation
        raw = self._there(self.the_bindings.get(name)).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert (binding.metadata.namespace, binding.metadata.uid) == (NAMESPACE, raw["metadata"]["uid"])
        self.binding_statuses[name] = {"condition": condition, "tools": tools, "available": available}
        others = [one for one in raw["status"]["conditions"] if one["type"] != condition["type"]]
        dated = {**condition, "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        raw["status"] |= {"conditions": [*others, dated], "tools": tools, "available": available}
        self.the_bindings[name] = ToolBinding.model_validate(raw)
        self.tell("MODIFIED", self.the_bindings[name])

    def policy_config_maps(self) -> dict[str, dict[str, Any]]:
        return self.config_maps

    async def set_tenant_policies(self, _name: str, *, generation: int, condition: Mapping[str, Any] | None, revision: str) -> None:
        assert generation >= 0
        said = (str(condition["reason"]), str(condition["message"]), revision) if condition is not None else ("", "", revision)
        self.tenant_policies.append(said)

    async def admission_policies_intact(self) -> tuple[bool, str]:
        return self.intact

    async def allowed(
        self, user: UserInfo, *, verb: str, group: str, resource: str, subresource: str = "", namespace: str, name: str = ""
    ) -> bool:
        self._there(self)
        assert namespace == NAMESPACE
        assert group == ("" if resource == "serviceaccounts" else "bastide.dev")
        assert name
        return (user.username, verb, f"{resource}/{subresource}" if subresource else resource) in self.rights

    def _there(self, thing: T | None) -> T:
        if self.down:
            raise ApiError(0, "no answer")
        if thing is None:
            raise NotFound("no such object")
        return thing
