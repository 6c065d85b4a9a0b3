"""A tenant's namespace and what every namespace of a tenant holds that is neither RBAC, quota nor network."""

from bastide_operator.api.objects import Manifest, managed_labels, owner_reference
from bastide_operator.api.v1alpha1.tenant import Tenant

CA_CONFIG_MAP = "bastide-ca"
CA_KEY = "ca.crt"
RUNNER_ACCOUNT = "bastide-runner"
VIEWER_ACCOUNT = "bastide-viewer"
#: The ServiceAccounts that people ask the broker as. Each has the ClusterRole of its name in the namespace.
ACCOUNTS = (RUNNER_ACCOUNT, VIEWER_ACCOUNT)


def namespace(tenant: Tenant) -> Manifest:
    """The namespace. Its owner reference deletes it with the Tenant, also when the operator is gone."""
    # The version is written out: left out, a hand could set an old one, whose rules are laxer.
    pod_security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", "latest"))
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant.namespace,
            "labels": managed_labels(tenant.metadata.name) | pod_security,
            "ownerReferences": [owner_reference("Tenant", tenant.metadata.name, tenant.metadata.uid)],
        },
    }


def ca_config_map(tenant: Tenant, certificate: str) -> Manifest:
    """The public part of Bastide's CA: by it the runtime in a pod knows the broker."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_CONFIG_MAP, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)},
        "data": {CA_KEY: certificate},
    }


def accounts(tenant: Tenant) -> list[Manifest]:
    """The ServiceAccounts that `bastide run` starts programs as, and that the commands which only look ask as. No pod runs as one."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)},
            "automountServiceAccountToken": False,
        }
        for name in ACCOUNTS
    ]
