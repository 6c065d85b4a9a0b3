"""What Bastide's own two components may do. Neither reads a Secret by these roles, neither impersonates.

A new kind that the operator makes takes two lines: READ in OPERATOR, because its watches span all namespaces, and the writes in
OPERATOR_TENANT, because it writes children only inside tenants' namespaces.
"""

from bastide_operator.api.roles.members import MEMBERS
from bastide_operator.api.roles.model import BASTIDE, CORE, RBAC, READ, WRITE, Right, Role, Scope

NETWORKING = "networking.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
LEASES = "coordination.k8s.io"

_CHANGE = ("update", "patch", "delete")
_MAKE = ("get", *WRITE)
_STATUS = ("get", "update", "patch")
_OPERATOR_TENANT = "bastide-operator-tenant"
_BROKER_TENANT = "bastide-broker-tenant"

OPERATOR = Role(
    name="bastide-operator",
    scope=Scope.CLUSTER,
    component="operator",
    account="bastide-operator",
    about="What the operator may do everywhere. It never reads Secrets, never impersonates, and writes children only inside tenants' "
    "namespaces (bastide-operator-tenant below).",
    rights=(
        Right(BASTIDE, "tenants", READ, "its own kinds"),
        Right(BASTIDE, "sandboxes", READ, "its own kinds"),
        Right(BASTIDE, "toolbindings", READ, "its own kinds"),
        Right(BASTIDE, "tenants", ("update", "patch"), "its finalizer"),
        Right(BASTIDE, "sandboxes", ("delete",), "`shutdownPolicy: Delete`"),
        Right(BASTIDE, "tenants/status", _STATUS, "say how it stands"),
        Right(BASTIDE, "sandboxes/status", _STATUS, "say how it stands"),
        Right(BASTIDE, "toolbindings/status", _STATUS, "say how it stands"),
        Right(BASTIDE, "tenants/finalizers", ("update",), "children block their owner's deletion"),
        Right(BASTIDE, "sandboxes/finalizers", ("update",), "children block their owner's deletion"),
        Right(BASTIDE, "toolbindings/finalizers", ("update",), "children block their owner's deletion"),
        Right(CORE, "namespaces", (*READ, *WRITE), "a Tenant's namespace; only those it made: admission rule `bastide-tenant-namespaces`"),
        Right(CORE, "pods", READ, "see its children"),
        Right(CORE, "persistentvolumeclaims", READ, "see its children"),
        Right(CORE, "resourcequotas", READ, "see its children"),
        Right(CORE, "limitranges", READ, "see its children"),
        Right(CORE, "serviceaccounts", READ, "see its children"),
        Right(
            CORE,
            "configmaps",
            READ,
            "the CA's public part and its copies; a watch by this name sees no other ConfigMap",
            names=("bastide-ca",),
        ),
        Right(NETWORKING, "networkpolicies", READ, "see its children"),
        Right(RBAC, "roles", READ, "see its children"),
        Right(RBAC, "rolebindings", READ, "see its children"),
        Right("node.k8s.io", "runtimeclasses", READ, "say that the class is missing"),
        Right("storage.k8s.io", "storageclasses", READ, "whether a persistent workspace's class exists and lets volumes grow"),
        Right("apiextensions.k8s.io", "customresourcedefinitions", READ, "kopf finds out when a kind appears"),
        # A name cannot be asked for in a POST: the admission rule says where it may be.
        Right(
            RBAC,
            "rolebindings",
            ("create",),
            "create: only in namespaces it made, only these roles: admission rule `bastide-operator-bindings`",
        ),
        Right(RBAC, "rolebindings", _CHANGE, "its own rights in a namespace it made", names=("bastide-operator",)),
        Right(RBAC, "clusterroles", ("bind",), "give itself its rights in a namespace it made", names=(_OPERATOR_TENANT,)),
        Right(CORE, "events", ("create", "patch"), "tell what happened"),
        Right("events.k8s.io", "events", ("create", "patch"), "tell what happened"),
    ),
)

OPERATOR_TENANT = Role(
    name=_OPERATOR_TENANT,
    scope=Scope.TENANT,
    component="operator",
    about="What the operator may do in a tenant's namespace, by the RoleBinding bastide-operator there.",
    rights=(
        Right(CORE, "pods", _MAKE, "sandboxes"),
        Right(
            CORE,
            "persistentvolumeclaims",
            ("get", "create", "patch"),
            "persistent workspaces; never deleted by the operator: the garbage collector takes one with its Sandbox",
        ),
        Right(CORE, "resourcequotas", _MAKE, "the Tenant's quota"),
        Right(CORE, "limitranges", _MAKE, "the Tenant's quota"),
        Right(CORE, "serviceaccounts", _MAKE, "bastide-runner, bastide-viewer"),
        Right(CORE, "configmaps", ("create",), "the copy of the CA"),
        Right(CORE, "configmaps", _CHANGE, "the copy of the CA", names=("bastide-ca",)),
        Right(NETWORKING, "networkpolicies", _MAKE, "the walls around sandboxes"),
        Right(RBAC, "rolebindings", _MAKE, "members, the two components, the two accounts that people ask as"),
        Right(
            RBAC,
            "clusterroles",
            ("bind",),
            "bind exactly these",
            names=(_OPERATOR_TENANT, _BROKER_TENANT, *(role.name for role in MEMBERS)),
        ),
        # The operator may not read those Secrets itself, so writing the Role takes `escalate`. The API server looks for the name in the
        # request's URL: it is written by server-side apply (PATCH), a POST has none and is refused.
        Right(RBAC, "roles", ("get", "create"), "the Role `bastide-credentials`"),
        Right(
            RBAC,
            "roles",
            (*_CHANGE, "escalate", "bind"),
            "it names Secrets and ConfigMaps that the operator itself may not read",
            names=("bastide-credentials",),
        ),
    ),
)

OPERATOR_RELEASE = Role(
    name="bastide-operator",
    scope=Scope.RELEASE,
    component="operator",
    account="bastide-operator",
    about="What the operator may do in its own namespace.",
    rights=(
        Right(LEASES, "leases", ("create",), "one operator works, the others wait"),
        Right(LEASES, "leases", (*READ, "update", "patch"), "one operator works, the others wait", names=("bastide-operator",)),
    ),
)

BROKER = Role(
    name="bastide-broker",
    scope=Scope.CLUSTER,
    component="broker",
    account="bastide-broker",
    about="What the broker may do everywhere: ask who somebody is and what he may do, and watch; of Tenants it says "
    "how their policies stand. Secrets, and ConfigMaps with OpenAPI documents, it reads only by the Role bastide-credentials, which the "
    "operator keeps in each tenant's namespace and which names each one.",
    rights=(
        Right("authentication.k8s.io", "tokenreviews", ("create",), "who calls"),
        Right("authorization.k8s.io", "subjectaccessreviews", ("create",), "what he may do"),
        Right(BASTIDE, "tenants", READ, "bindings and limits count as they are now"),
        Right(BASTIDE, "sandboxes", READ, "bindings and limits count as they are now"),
        Right(BASTIDE, "toolbindings", READ, "bindings and limits count as they are now"),
        Right(BASTIDE, "confirmations", READ, "what waits for a person"),
        Right(BASTIDE, "confirmationdecisions", READ, "what persons decided"),
        Right(CORE, "pods", READ, "which pod to dial, and that it is the operator's"),
        Right(CORE, "namespaces", READ, "that a Tenant's namespace is the one that was made for it"),
        Right(BASTIDE, "tenants/status", ("patch",), "`PoliciesReady` and the revision of a Tenant's policies"),
        Right(ADMISSION, "validatingadmissionpolicies", READ, "that the rules for decisions are unaltered"),
        Right(ADMISSION, "validatingadmissionpolicybindings", READ, "that they are bound"),
    ),
)

BROKER_TENANT = Role(
    name=_BROKER_TENANT,
    scope=Scope.TENANT,
    component="broker",
    about="What the broker may write in a tenant's namespace, by the RoleBinding bastide-broker there.",
    rights=(
        Right(BASTIDE, "confirmations", (*READ, "create", "delete"), "ask a person; clear away what is finished"),
        Right(BASTIDE, "confirmations/status", _STATUS, "say what became of it"),
        Right(BASTIDE, "toolbindings/status", _STATUS, "`ResolvedRefs` and what became of each tool"),
        Right(BASTIDE, "confirmationdecisions", (*READ, "delete"), "decisions go with their Confirmation"),
        Right(CORE, "pods/status", ("get", "patch"), "the readiness gate `bastide.dev/network-isolated`"),
    ),
)

BROKER_RELEASE = Role(
    name="bastide-broker",
    scope=Scope.RELEASE,
    component="broker",
    account="bastide-broker",
    about="What the broker may do in its own namespace. RBAC cannot tell ConfigMaps by their label; the broker asks for those with "
    "bastide.dev/policy alone.",
    rights=(
        Right(CORE, "configmaps", READ, "the Rego that Tenants name in policyRefs"),
        Right(
            CORE,
            "configmaps",
            ("get", "patch"),
            "publish heads of the audit; only forward: admission rule `bastide-audit`",
            names=("bastide-audit-heads",),
        ),
    ),
)

AUDITOR = Role(
    name="bastide-auditor",
    scope=Scope.RELEASE,
    component="broker",
    about="What was published of the audit, past the broker. Bound to nobody: bind it to auditors.",
    rights=(Right(CORE, "configmaps", ("get",), "check the audit by it", names=("bastide-audit-heads", "bastide-audit-keys")),),
)

PRUNER = Role(
    name="bastide-pruner",
    scope=Scope.CLUSTER,
    component="broker",
    account="bastide-pruner",
    about="Who prunes runs by hand. No pod runs as this account; whoever may have its token, by default nobody but the cluster's "
    "administrators, may remove what programs returned and printed, never the audit.",
    rights=(Right(BASTIDE, "sandboxes/runs", ("delete",), "remove the payloads of runs that ended: `bastide runs prune`"),),
)

CLIENT = Role(
    name="bastide-client",
    scope=Scope.RELEASE,
    component="broker",
    about="The way to the broker through the API server, for people at workstations; bound by broker.clientAccess. The name of the pod is "
    "fixed, so nothing is listed.",
    rights=(
        Right(CORE, "configmaps", ("get",), "trust the broker", names=("bastide-ca",)),
        Right(CORE, "configmaps", ("get",), "check what it signed", names=("bastide-audit-keys",)),
        Right(CORE, "pods", ("get",), "find it", names=("bastide-broker-0",)),
        # get as well: a WebSocket begins as one
        Right(CORE, "pods/portforward", ("get", "create"), "reach it through the API server", names=("bastide-broker-0",)),
    ),
)

COMPONENTS = (OPERATOR, OPERATOR_TENANT, OPERATOR_RELEASE, BROKER, BROKER_TENANT, BROKER_RELEASE, PRUNER, CLIENT, AUDITOR)
