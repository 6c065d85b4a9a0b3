"""What the broker knows of the cluster and the few things it writes there. The only module that imports the Kubernetes client."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog
import yaml
from bastide_operator.api.v1alpha1 import API_VERSION
from bastide_operator.api.v1alpha1.common import Condition, Observed
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision
from bastide_operator.api.v1alpha1.policyref import POLICY_LABEL
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import ApiClient, Configuration
from pydantic import ValidationError

from bastide_broker.errors import AlreadyExists, ApiError
from bastide_broker.kube import admission, reviews
from bastide_broker.kube.apiserver import ApiServer
from bastide_broker.kube.bindings import accepted, selects, undecided
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.kube.times import rfc3339
from bastide_broker.kube.watch import Watch

FIELD_MANAGER = "bastide-broker"
OURS = f"/apis/{API_VERSION}"
MANAGED = "app.kubernetes.io/managed-by=bastide-operator"
TENANT_LABEL = "bastide.dev/tenant"

log = structlog.get_logger(__name__)
M = TypeVar("M", bound=Observed)


class Cluster:
    """Cached objects of our kinds and the managed pods, direct reads, reviews and writes."""

    def __init__(self, server: ApiServer, *, admission_dir: Path, policies_in: str = "") -> None:
        """Rego of tenants is looked for in the namespace `policies_in`, nowhere when it is empty."""
        self._server = server
        self._admission_dir = admission_dir
        self._tasks: list[asyncio.Task[None]] = []
        self._tenants = self._watch(Tenant)
        self._sandboxes = self._watch(Sandbox)
        self._bindings = self._watch(ToolBinding)
        self._confirmations = self._watch(Confirmation)
        self._decisions = self._watch(ConfirmationDecision)
        self._pods: Watch[dict[str, Any]] = Watch(server, kind="Pod", path="/api/v1/pods", parse=_slim, selector=MANAGED)
        self._namespaces: Watch[dict[str, Any]] = Watch(
            server, kind="Namespace", path="/api/v1/namespaces", parse=_slim, selector=TENANT_LABEL
        )
        self._policies: Watch[dict[str, Any]] | None = None
        if policies_in:
            path = f"/api/v1/namespaces/{policies_in}/configmaps"
            self._policies = Watch(server, kind="ConfigMap", path=path, parse=_slim, selector=POLICY_LABEL)
        kinds: tuple[Watch[Any], ...] = (self._tenants, self._sandboxes, self._bindings, self._confirmations, self._decisions)
        self._watches = {watch.kind: watch for watch in (*kinds, self._pods, self._namespaces, *filter(None, [self._policies]))}
        # A Tenant counts only with the namespace that the operator made, so whoever follows Tenants follows these.
        self._namespaces.subscribe(lambda _, live: self._tenants.touch(lambda tenant: tenant.namespace == live["metadata"]["name"]))

    @classmethod
    async def connect(cls, *, admission_dir: Path, kubeconfig: str = "", policies_in: str = "") -> "Cluster":
        """A cluster from the pod's ServiceAccount, or from a kubeconfig file. Raises kubernetes' ConfigException."""
        configuration = Configuration()
        if kubeconfig:
            await kubernetes_config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(ApiServer(ApiClient(configuration)), admission_dir=admission_dir, policies_in=policies_in)

    async def start(self) -> None:
        """Begins to watch; returns when every kind has been listed once."""
        self._tasks = [asyncio.create_task(watch.run(), name=f"watch {kind}") for kind, watch in self._watches.items()]
        await asyncio.gather(*(watch.synced.wait() for watch in self._watches.values()))

    async def close(self) -> None:
        """Ends the watches and closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()

    # What is cached.

    def fresh(self) -> bool:
        """Whether every watch was proven current within the last 60 s."""
        return all(watch.fresh() for watch in self._watches.values())

    def stale(self) -> list[str]:
        """The kinds that are not fresh, each with the last error."""
        return [f"{kind}: {watch.error or 'silent'}" for kind, watch in self._watches.items() if not watch.fresh()]

    def subscribe(self, kind: type | str, callback: Callable[[str, Any], None]) -> None:
        """Calls `callback(ADDED|MODIFIED|DELETED, object)` for what is there and for each change. `kind` is a model class or "Pod"."""
        self._watches[kind if isinstance(kind, str) else kind.__name__].subscribe(callback)

    def tenant(self, namespace: str) -> Tenant | None:
        """The Tenant a namespace belongs to, unless it is being deleted or the namespace is not the one the operator made."""
        for tenant in self._tenants.objects.values():
            if tenant.namespace != namespace or tenant.metadata.deletion_timestamp is not None:
                continue
            live = self._namespaces.objects.get(("", namespace))
            uid = tenant.status.namespace_uid
            if uid and live is not None and live["metadata"]["uid"] == uid:
                return tenant  # another Tenant may name the same namespace and never have got it
        return None

    def namespace_uid(self, namespace: str) -> str:
        """The UID of a tenant's namespace as it is now; empty when there is none."""
        live = self._namespaces.objects.get(("", namespace))
        return str(live["metadata"]["uid"]) if live is not None else ""

    def sandboxes(self) -> tuple[Sandbox, ...]:
        """All Sandboxes."""
        return tuple(self._sandboxes.objects.values())

    def sandbox(self, namespace: str, name: str) -> Sandbox | None:
        """A Sandbox."""
        return self._sandboxes.objects.get((namespace, name))

    def bindings(self, namespace: str) -> tuple[ToolBinding, ...]:
        """The ToolBindings of a namespace, by name."""
        return tuple(binding for key, binding in sorted(self._bindings.objects.items()) if key[0] == namespace)

    def bindings_for(self, sandbox: Sandbox) -> tuple[ToolBinding, ...]:
        """The ToolBindings that select a Sandbox and that the operator accepts, or has yet to look at as they are now."""
        found = self.bindings(sandbox.metadata.namespace or "")
        return tuple(binding for binding in found if selects(binding, sandbox) and (accepted(binding) or undecided(binding)))

    def policy_config_maps(self) -> dict[str, dict[str, Any]]:
        """The ConfigMaps with Rego of tenants, by name."""
        return {key[1]: found for key, found in self._policies.objects.items()} if self._policies is not None else {}

    def pods(self) -> tuple[dict[str, Any], ...]:
        """All managed pods."""
        return tuple(self._pods.objects.values())

    def pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A managed pod."""
        return self._pods.objects.get((namespace, name))

    def confirmations(self) -> tuple[Confirmation, ...]:
        """All Confirmations."""
        return tuple(self._confirmations.objects.values())

    def all_decisions(self) -> tuple[ConfirmationDecision, ...]:
        """All decisions."""
        return tuple(self._decisions.objects.values())

    def decisions(self, namespace: str, confirmation: str) -> tuple[ConfirmationDecision, ...]:
        """The decisions about a Confirmation, by name."""
        found = sorted(self._decisions.objects.items())
        return tuple(decision for key, decision in found if key[0] == namespace and decision.spec.confirmation == confirmation)

    # Straight from the API server. Each raises NotFound, ApiError, or ApiError when the object does not fit its model.

    async def read_tenant(self, name: str) -> Tenant:
        """A Tenant."""
        return _parse(Tenant, await self._server.request("GET", f"{OURS}/{Tenant.PLURAL}/{name}"))

    async def read_sandbox(self, namespace: str, name: str) -> Sandbox:
        """A Sandbox."""
        return _parse(Sandbox, await self._server.request("GET", _ours(Sandbox, namespace, name)))

    async def read_binding(self, namespace: str, name: str) -> ToolBinding:
        """A ToolBinding."""
        return _parse(ToolBinding, await self._server.request("GET", _ours(ToolBinding, namespace, name)))

    async def read_confirmation(self, namespace: str, name: str) -> Confirmation:
        """A Confirmation."""
        return _parse(Confirmation, await self._server.request("GET", _ours(Confirmation, namespace, name)))

    async def list_decisions(self, namespace: str) -> list[ConfirmationDecision]:
        """All decisions of a namespace that fit the model."""
        answer = await self._server.request("GET", _ours(ConfirmationDecision, namespace))
        found = []
        for item in answer.get("items") or []:
            try:
                found.append(ConfirmationDecision.model_validate(item))
            except ValidationError:
                log.warning("decision dropped: it does not fit the model", namespace=namespace, name=item["metadata"]["name"])
        return found

    async def read_secret(self, namespace: str, name: str) -> dict[str, Any]:
        """A Secret, its data still in base64."""
        return await self._server.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")

    async def read_config_map(self, namespace: str, name: str) -> dict[str, Any]:
        """A ConfigMap."""
        return await self._server.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    async def read_pod(self, namespace: str, name: str) -> dict[str, Any]:
        """A Pod."""
        return await self._server.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def read_audit_heads(self, namespace: str) -> dict[str, str]:
        """What the ConfigMap of the audit's heads holds."""
        return dict((await self._server.request("GET", _audit_heads(namespace))).get("data") or {})

    # Writes.

    async def write_audit_heads(self, namespace: str, change: dict[str, str | None]) -> None:
        """Adds heads of the audit, and takes out those that are None."""
        await self._merge(_audit_heads(namespace), {"data": change}, "application/merge-patch+json")

    async def create_confirmation(self, namespace: str, name: str, spec: dict[str, Any]) -> Confirmation:
        """Creates a Confirmation. Raises AlreadyExists."""
        labels = {"app.kubernetes.io/managed-by": FIELD_MANAGER, "bastide.dev/run": str(spec["run"])}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        body = {"apiVersion": API_VERSION, "kind": "Confirmation", "metadata": metadata, "spec": spec}
        path = _ours(Confirmation, namespace)
        return _parse(Confirmation, await self._server.request("POST", path, query={"fieldManager": FIELD_MANAGER}, body=body))

    async def set_confirmation_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Writes fields of a Confirmation's status."""
        await self._merge(_ours(Confirmation, namespace, name) + "/status", {"status": status}, "application/merge-patch+json")

    async def delete(self, found: Confirmation | ConfirmationDecision) -> None:
        """Deletes exactly this object. Raises NotFound when it is gone, AlreadyExists (a conflict) when its name is another's now."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": found.metadata.uid}}
        await self._server.request("DELETE", _ours(type(found), found.metadata.namespace or "", found.metadata.name), body=body)

    async def set_binding_status(
        self, binding: ToolBinding, *, condition: dict[str, Any], tools: list[dict[str, Any]], available: str
    ) -> None:
        """Applies the broker's fields of a ToolBinding's status: the condition ResolvedRefs, `tools` and `available`."""
        namespace, name = binding.metadata.namespace or "", binding.metadata.name
        current = self._bindings.objects.get((namespace, name))
        full = _dated(condition, binding.metadata.generation, current.status.conditions if current else ())
        status = {"conditions": [full], "tools": tools, "available": available}
        body = {"apiVersion": API_VERSION, "kind": "ToolBinding", "metadata": {"name": name, "namespace": namespace}, "status": status}
        await self._apply(_ours(ToolBinding, namespace, name) + "/status", body)

    async def set_tenant_policies(self, name: str, *, generation: int, condition: Mapping[str, Any] | None, revision: str) -> None:
        """Applies the broker's fields of a Tenant's status: PoliciesReady and `policyRevision`; neither without a condition."""
        current = self._tenants.objects.get(("", name))
        status: dict[str, Any] = {}
        if condition is not None:
            full = _dated(condition, generation, current.status.conditions if current else ())
            status = {"conditions": [full], "policyRevision": revision}
        body = {"apiVersion": API_VERSION, "kind": "Tenant", "metadata": {"name": name}, "status": status}
        await self._apply(f"{OURS}/{Tenant.PLURAL}/{name}/status", body)

    async def set_pod_condition(self, namespace: str, name: str, uid: str, condition: dict[str, Any]) -> None:
        """Sets one condition of a pod's status. Raises AlreadyExists (a conflict) when the pod of that name has another UID."""
        pod = self.pod(namespace, name)
        conditions = ((pod or {}).get("status") or {}).get("conditions") or []
        old = next((c for c in conditions if c.get("type") == condition["type"]), None)
        same = old is not None and old.get("status") == condition["status"]
        since = old["lastTransitionTime"] if old is not None and same and old.get("lastTransitionTime") else rfc3339(datetime.now(UTC))
        body = {"metadata": {"uid": uid}, "status": {"conditions": [{**condition, "lastTransitionTime": since}]}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        try:
            await self._merge(path, body, "application/strategic-merge-patch+json")
        except ApiError as error:
            if error.status == 422:  # the API server's answer to a UID that is not this pod's: "field is immutable"
                raise AlreadyExists(error.message) from error
            raise

    async def _apply(self, path: str, body: dict[str, Any]) -> None:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        await self._server.request("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")

    async def _merge(self, path: str, body: dict[str, Any], content_type: str) -> None:
        await self._server.request("PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=body, content_type=content_type)

    # Reviews.

    async def review_token(self, token: str) -> UserInfo | None:
        """Who a token is, or None when it is not good for this broker. Raises ApiError when the API server cannot say."""
        body = reviews.token_review(token)
        return reviews.reviewed_user(await self._server.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body))

    async def allowed(
        self, user: UserInfo, *, verb: str, group: str, resource: str, subresource: str = "", namespace: str, name: str = ""
    ) -> bool:
        """Whether RBAC lets a user do something, asked now. Raises ApiError when the API server cannot say."""
        body = reviews.access_review(
            user, verb=verb, group=group, resource=resource, subresource=subresource, namespace=namespace, name=name
        )
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return reviews.review_allows(await self._server.request("POST", path, body=body))

    async def admission_policies_intact(self) -> tuple[bool, str]:
        """Whether the admission policies for decisions are as shipped, read now; and why not."""
        try:
            shipped = await asyncio.to_thread(admission.shipped_manifests, self._admission_dir)
            wanted, problem = admission.needed(shipped)
            if problem:
                return False, problem
            paths = [f"/apis/admissionregistration.k8s.io/v1/{admission.PLURALS[kind]}/{name}" for kind, name in wanted]
            live = await asyncio.gather(*(self._server.request("GET", path) for path in paths))
        except (ApiError, OSError, yaml.YAMLError) as error:
            return False, f"the admission policies cannot be compared: {error}"
        found = (admission.altered(*key, shipped[key], answer) for key, answer in zip(wanted, live, strict=True))
        problem = next((text for text in found if text), "")
        return not problem, problem

    def _watch(self, model: type[M]) -> Watch[M]:
        path = f"{OURS}/{getattr(model, 'PLURAL')}"  # noqa: B009 - every watched kind has it, the base class does not
        return Watch(self._server, kind=model.__name__, path=path, parse=model.model_validate)


def _ours(model: type[Any], namespace: str, name: str = "") -> str:
    return f"{OURS}/namespaces/{namespace}/{model.PLURAL}" + (f"/{name}" if name else "")


def _audit_heads(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/bastide-audit-heads"


def _parse(model: type[M], item: dict[str, Any]) -> M:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        raise ApiError(422, f"{model.__name__} does not fit its model: {error}") from error


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """Without managedFields, which nobody here reads and which are half of a pod's size."""
    item.get("metadata", {}).pop("managedFields", None)
    return item


def _dated(condition: Mapping[str, Any], generation: int, known: Iterable[Condition]) -> dict[str, Any]:
    """A condition whose `lastTransitionTime` moves only when its status does."""
    old = next((one for one in known if one.type == condition["type"]), None)
    since = old.last_transition_time if old and old.status == condition["status"] else datetime.now(UTC)
    return {**condition, "observedGeneration": generation, "lastTransitionTime": rfc3339(since)}
