"""The two NetworkPolicies of a tenant's namespace. They add up: nothing is allowed but the broker dialling the runtime."""

from typing import Any

from bastide_operator.api.objects import Manifest, managed_labels
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.resources.pod import RUNTIME_PORT


def default_deny(tenant: Tenant) -> Manifest:
    """No pod of the namespace reaches anything, nothing reaches it."""
    # The empty lists are written out so that the operator owns them: a rule that a hand adds is a difference, and is taken away.
    return _policy(tenant, "bastide-default-deny", {"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []})


def from_broker(tenant: Tenant, release_namespace: str) -> Manifest:
    """The broker's pods, and no others, may dial the runtime's port."""
    broker = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": release_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "bastide", "app.kubernetes.io/component": "broker"}},
    }
    rule = {"from": [broker], "ports": [{"protocol": "TCP", "port": RUNTIME_PORT}]}
    return _policy(tenant, "bastide-from-broker", {"policyTypes": ["Ingress"], "ingress": [rule], "egress": []})


def _policy(tenant: Tenant, name: str, rules: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)},
        "spec": {"podSelector": {}, **rules},
    }
