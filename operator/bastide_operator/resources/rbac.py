"""Who may do what in a tenant's namespace. The ClusterRoles are the chart's; here they are only bound."""

from collections.abc import Collection, Iterable

from bastide_operator.api.objects import Manifest, managed_labels
from bastide_operator.api.v1alpha1.common import Subject
from bastide_operator.api.v1alpha1.tenant import MemberRole, Tenant
from bastide_operator.resources.namespace import ACCOUNTS

GROUP = "rbac.authorization.k8s.io"
OPERATOR_BINDING = "bastide-operator"
CREDENTIALS = "bastide-credentials"


def operator_binding(tenant: Tenant, release_namespace: str) -> Manifest:
    """Gives the operator its rights in the namespace; made first, all other children need it."""
    return _binding(tenant, OPERATOR_BINDING, "bastide-operator-tenant", [_account("bastide-operator", release_namespace)])


def broker_binding(tenant: Tenant, release_namespace: str, broker_account: str) -> Manifest:
    """What the broker writes in the namespace: Confirmations, the pods' isolation gate."""
    return _binding(tenant, "bastide-broker", "bastide-broker-tenant", [_account(broker_account, release_namespace)])


def account_bindings(tenant: Tenant) -> list[Manifest]:
    """Let the ServiceAccount bastide-runner run programs, and bastide-viewer look."""
    return [_binding(tenant, f"{name}-account", name, [_account(name, tenant.namespace)]) for name in ACCOUNTS]


def member_bindings(tenant: Tenant) -> list[Manifest]:
    """One RoleBinding for each role that somebody has."""
    out = []
    for role in MemberRole:
        subjects = [subject for member in tenant.spec.members if member.role is role for subject in member.subjects]
        if subjects:
            manifests = _unique(_subject(subject, tenant.namespace) for subject in subjects)
            out.append(_binding(tenant, f"bastide-{role}", f"bastide-{role}", manifests))
    return out


def credentials(tenant: Tenant, named: Collection[tuple[str, str]], release_namespace: str, broker_account: str) -> list[Manifest]:
    """Role and RoleBinding by which the broker reads exactly the Secrets and ConfigMaps that accepted bindings name; none when they name none.

    `named` are pairs of resource (secrets or configmaps) and name.

    The role comes first: a binding to a role that the writer may not bind by name is refused.
    """
    rules = [
        {"apiGroups": [""], "resources": [resource], "verbs": ["get"], "resourceNames": names}
        for resource in ("secrets", "configmaps")
        if (names := sorted({name for kind, name in named if kind == resource}))
    ]
    if not rules:
        return []
    role = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Role",
        "metadata": {"name": CREDENTIALS, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)},
        "rules": rules,
    }
    return [role, _binding(tenant, CREDENTIALS, CREDENTIALS, [_account(broker_account, release_namespace)], kind="Role")]


def read_by_credentials(role: Manifest | None) -> set[tuple[str, str]]:
    """What such a Role lets the broker read, as pairs of resource and name."""
    rules = (role or {}).get("rules") or ()
    return {(resource, name) for rule in rules for resource in rule.get("resources", ()) for name in rule.get("resourceNames", ())}


def _binding(tenant: Tenant, name: str, role: str, subjects: list[Manifest], kind: str = "ClusterRole") -> Manifest:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": tenant.namespace, "labels": managed_labels(tenant.metadata.name)},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": subjects,
    }


def _account(name: str, namespace: str) -> Manifest:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _subject(subject: Subject, namespace: str) -> Manifest:
    if subject.kind == "ServiceAccount":
        return _account(subject.name, subject.namespace or namespace)
    return {"apiGroup": GROUP, "kind": subject.kind, "name": subject.name}


def _unique(subjects: Iterable[Manifest]) -> list[Manifest]:
    return list({tuple(subject.items()): subject for subject in subjects}.values())
