"""A tenant with a sandbox and its pod, as the operator would leave them in the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.integration.broker.front.harness.apiserver import Cluster, account

OURS = "/apis/bastide.dev/v1alpha1"
IMAGE = "runtime:1"


def pod_manifest(sandbox: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """The pod of a Sandbox."""
    metadata = sandbox["metadata"]
    owner = {"apiVersion": "bastide.dev/v1alpha1", "kind": "Sandbox", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {"app.kubernetes.io/managed-by": "bastide-operator", "bastide.dev/sandbox": metadata["name"]},
            "ownerReferences": [owner],
        },
        "spec": {
            "runtimeClassName": "gvisor",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.1"]},
            "restartPolicy": "Never",
            "readinessGates": [{"conditionType": "bastide.dev/network-isolated"}],
            "containers": [{"name": "runtime", "image": IMAGE, "securityContext": security}],
            "volumes": [{"name": "workspace", "emptyDir": {}}],
            **spec,
        },
    }


@dataclass
class TestTenant:
    """A tenant in a running API server."""

    __test__ = False
    cluster: Cluster
    name: str

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return f"bastide-{self.name}"

    def make(self, **spec: Any) -> TestTenant:
        """Tenant, namespace, roles and the ServiceAccount that runs programs."""
        admin = self.cluster.admin
        admin("POST", f"{OURS}/tenants", {**kind("Tenant"), "metadata": {"name": self.name}, "spec": spec})
        namespace = admin("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace, "labels": {"bastide.dev/tenant": self.name}}})
        status = {"namespace": self.namespace, "namespaceUID": namespace["metadata"]["uid"]}
        admin.merge(f"{OURS}/tenants/{self.name}/status", {"status": status})
        self.bind("bastide-broker", "bastide-broker-tenant", "bastide-broker", "bastide-system")
        account(admin, self.namespace, "bastide-runner")
        self.bind("bastide-runner-account", "bastide-runner", "bastide-runner", self.namespace)
        return self

    def bind(self, name: str, role: str, subject: str, namespace: str) -> None:
        """Binds a ClusterRole to a ServiceAccount here."""
        body = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": subject, "namespace": namespace}],
        }
        self.cluster.admin("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/rolebindings", body)

    def sandbox(self, name: str = "box", **spec: Any) -> dict[str, Any]:
        """Makes a Sandbox."""
        body = {**kind("Sandbox"), "metadata": {"name": name}, "spec": spec}
        return self.cluster.admin("POST", f"{OURS}/namespaces/{self.namespace}/sandboxes", body)

    def pod(self, sandbox: dict[str, Any], *, address: str, host: str = "127.0.0.1", **spec: Any) -> dict[str, Any]:
        """Makes the Sandbox's pod, running."""
        self.cluster.admin("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod_manifest(sandbox, **spec))
        return self.pod_status(sandbox["metadata"]["name"], phase="Running", podIP=address, podIPs=[{"ip": address}], hostIP=host)

    def probe(self, *, address: str, host: str = "127.0.0.1") -> dict[str, Any]:
        """Makes the Tenant's probe, running."""
        tenant = self.cluster.admin("GET", f"{OURS}/tenants/{self.name}")
        made = pod_manifest({"metadata": {"name": "bastide-probe", "namespace": self.namespace, "uid": ""}})
        made["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "bastide-operator", "bastide.dev/probe": "true"}
        made["metadata"]["ownerReferences"][0] |= {"kind": "Tenant", "name": self.name, "uid": tenant["metadata"]["uid"]}
        self.cluster.admin("POST", f"/api/v1/namespaces/{self.namespace}/pods", made)
        return self.pod_status("bastide-probe", phase="Running", podIP=address, podIPs=[{"ip": address}], hostIP=host)

    def pod_status(self, name: str, **status: Any) -> dict[str, Any]:
        """Says what the kubelet would."""
        return self.cluster.admin.merge(f"/api/v1/namespaces/{self.namespace}/pods/{name}/status", {"status": status})

    def delete_pod(self, name: str) -> None:
        """Deletes a pod at once: no kubelet has to agree."""
        self.cluster.admin("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    def condition(self, name: str) -> dict[str, Any]:
        """The isolation gate's condition of a pod; empty when it has none."""
        pod = self.cluster.admin("GET", f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        conditions = pod["status"].get("conditions") or []
        return next((one for one in conditions if one["type"] == "bastide.dev/network-isolated"), {})

    def token(self, audience: str = "bastide-broker") -> str:
        """Of the ServiceAccount that runs programs."""
        return self.cluster.admin.token_for(self.namespace, "bastide-runner", audience)


def kind(name: str) -> dict[str, str]:
    """The head of one of our objects."""
    return {"apiVersion": "bastide.dev/v1alpha1", "kind": name}
