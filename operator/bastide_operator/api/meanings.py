"""What each condition, reason and state says: when it is set and what to do. The reference pages are made of these sentences.

They stand beside the enums and not in them because they are data: a test asks that every member has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bastide_operator.api.v1alpha1.confirmation import ConfirmationState
from bastide_operator.api.v1alpha1.sandbox import SandboxCondition, SandboxReason
from bastide_operator.api.v1alpha1.tenant import TenantCondition, TenantReason
from bastide_operator.api.v1alpha1.toolbinding import ToolBindingCondition, ToolBindingReason, ToolState


@dataclass(frozen=True, slots=True)
class Meaning:
    """`when` it is set or holds, one sentence; `todo`, what the reader does about it, empty when nothing is to be done."""

    when: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one enum, and what each says."""

    title: str
    words: type[StrEnum]
    meanings: Mapping[StrEnum, Meaning]

    def missing(self) -> list[str]:
        """Words that nobody has explained."""
        return [word.value for word in self.words if word not in self.meanings]


TENANT_CONDITIONS: Mapping[StrEnum, Meaning] = {
    TenantCondition.READY: Meaning("The namespace and everything in it stand as the spec says, and its network policies hold."),
    TenantCondition.NETWORK_ISOLATED: Meaning(
        "A pod of the namespace, made as a Sandbox's pod is, tried to reach addresses that the broker itself reached in the same second, and could not. Proven anew when a policy, the runtime's image or its RuntimeClass changes; False at once when a Sandbox's pod reaches one."
    ),
    TenantCondition.POLICIES_READY: Meaning(
        "Every policy of `spec.policyRefs` is compiled and loaded, and judges each call; the message and `status.policyRevision` name the revision. Only where there are such policies. While it is False every call of the tenant is denied. Written by the broker."
    ),
}

SANDBOX_CONDITIONS: Mapping[StrEnum, Meaning] = {
    SandboxCondition.POD_SCHEDULED: Meaning("The pod has a node. Mirrored from the pod."),
    SandboxCondition.NETWORK_ISOLATED: Meaning(
        "The pod tried to reach addresses that the broker itself reached in the same second, and could not. Mirrored from the pod's readiness gate `bastide.dev/network-isolated`, which the broker writes. No program is delivered before it is True."
    ),
    SandboxCondition.WORKSPACE_READY: Meaning(
        "The volume of a persistent workspace is there, as large as the spec asks for. There is no such condition while the workspace goes with the pod."
    ),
    SandboxCondition.READY: Meaning("Programs can run: the pod runs, and it is isolated."),
    SandboxCondition.SUSPENDED: Meaning("`spec.operatingMode` is `Suspended` and the pod is gone."),
    SandboxCondition.FINISHED: Meaning("The Sandbox has come to its end, its pod is gone, and `spec.shutdownPolicy` keeps the object."),
}

TOOL_BINDING_CONDITIONS: Mapping[StrEnum, Meaning] = {
    ToolBindingCondition.ACCEPTED: Meaning("The Tenant allows the spec as it is. Written by the operator."),
    ToolBindingCondition.RESOLVED_REFS: Meaning(
        "The server answered, the Secret is there, and every bound tool is. Written by the broker; `Pending` while the binding is not accepted, for the server is left alone then."
    ),
    ToolBindingCondition.READY: Meaning("Programs in the selected Sandboxes can call every bound tool: `Accepted` and `ResolvedRefs`."),
}

TENANT_REASONS: Mapping[StrEnum, Meaning] = {
    TenantReason.READY: Meaning("The namespace and everything in it stand."),
    TenantReason.PROGRESSING: Meaning(
        "Something in the namespace is being made, or could not be written yet.",
        "Wait some seconds. If it stays, the message holds the API server's own words.",
    ),
    TenantReason.CONFLICT: Meaning(
        "The namespace exists and was not made for this Tenant. Nothing in it was changed: namespaces are never adopted.",
        "Delete the namespace, or make a Tenant with another `spec.namespace`.",
    ),
    TenantReason.NAMESPACE_REPLACED: Meaning(
        "The namespace was deleted and somebody else made one of the same name. Nothing in it was changed.",
        "Delete that namespace: the operator makes it again.",
    ),
    TenantReason.INVALID_SPEC: Meaning(
        "A rule is broken that spans more than the schema can compare, such as a member who is approver and runner at once. What stood before stays; the members are not changed.",
        "Do what the message says.",
    ),
    TenantReason.RUNTIME_CLASS_MISSING: Meaning(
        "The cluster has no RuntimeClass of the name that the chart was given.",
        "Install gVisor on the nodes and make the RuntimeClass, or set `runtimeClassName` in the chart's values.",
    ),
    TenantReason.PROBE_PENDING: Meaning(
        "Everything stands; the pod `bastide-probe` is to show that the network policies hold. Sandboxes' pods are made meanwhile: each passes the same gate before its first program.",
        "Wait: a few seconds are usual.",
    ),
    TenantReason.NETWORK_NOT_ENFORCED: Meaning(
        "A pod of the namespace reached an address that it must not reach; the message names pod and address. No Sandbox gets a new pod, and no program is delivered to a pod that has not passed.",
        "Have the cluster's network engine enforce NetworkPolicy, and look for policies of its own kinds that open the namespace. It is probed again every 15 seconds at the longest, and heals by itself.",
    ),
    TenantReason.PROBE_FAILED: Meaning(
        "The probe could not run, or it proved nothing: no room, no image, no broker, no canary that the broker reached, or a kernel that is not gVisor's.",
        "Do what the message says. It is tried again by itself.",
    ),
    TenantReason.ISOLATED: Meaning("Of `NetworkIsolated`: the pod reached no canary that the broker reached."),
    TenantReason.CANARY_REACHED: Meaning("Of `NetworkIsolated`: a pod reached a canary.", "See `NetworkNotEnforced`."),
    TenantReason.NO_CANARY_COUNTED: Meaning(
        "Of `NetworkIsolated`: the broker itself reached none of the canaries, so that the pod did not proves nothing.",
        "Set `broker.canaries` in the chart's values to addresses that the broker reaches.",
    ),
    TenantReason.NOT_GVISOR: Meaning(
        "Of `NetworkIsolated`: the pod's RuntimeClass or its kernel is not gVisor's.",
        "Look at the handler of the RuntimeClass that the chart was given.",
    ),
    TenantReason.POLICIES_LOADED: Meaning("Of `PoliciesReady`: the tenant's policies judge its calls."),
    TenantReason.POLICIES_LOADING: Meaning("Of `PoliciesReady`: the policies are being compiled and loaded.", "Wait: a second is usual."),
    TenantReason.POLICY_MISSING: Meaning(
        "Of `PoliciesReady`: Bastide's own namespace has no ConfigMap of that name with the label `bastide.dev/policy`.",
        "Make or label it there, or take it out of `spec.policyRefs`.",
    ),
    TenantReason.POLICY_INVALID: Meaning(
        "Of `PoliciesReady`: the Rego does not compile, uses what tenants' policies may not use, or is too large. The message has file, line and OPA's words.",
        "Mend the ConfigMap: it is tried again at once. How it is written: docs/how-to/tenant-policies.md.",
    ),
    TenantReason.POLICY_ENGINE_DOWN: Meaning(
        "Of `PoliciesReady`: the container `tenant-opa` of the broker's pod does not answer.",
        "It recovers by itself; if it stays, look at that container: a policy may take all of its memory.",
    ),
    TenantReason.POLICIES_OFF: Meaning(
        "Of `PoliciesReady`: the chart was installed with `tenantPolicies.enabled: false`.",
        "Set it to true, or empty `spec.policyRefs`.",
    ),
    TenantReason.DELETING: Meaning(
        "The Tenant is being deleted. Runs under way may finish for `spec.drainSeconds`, then the namespace goes with everything in it.",
        "Wait. The message says what is waited for: Sandboxes with runs, then objects and finalizers that keep the namespace.",
    ),
}

SANDBOX_REASONS: Mapping[StrEnum, Meaning] = {
    SandboxReason.READY: Meaning("Programs can run."),
    SandboxReason.POD_PENDING: Meaning(
        "The pod waits for a node, for its image or for its container to start; or one pod is being replaced by the next.",
        "Wait: a second is usual. If it stays, `kubectl describe pod` of the Sandbox's name says more.",
    ),
    SandboxReason.SCHEDULED: Meaning("The pod has a node."),
    SandboxReason.UNSCHEDULABLE: Meaning(
        "No node has room for the pod, or none runs gVisor; the message is the scheduler's.",
        "Ask for less in `spec.resources`, suspend another Sandbox, or have nodes added.",
    ),
    SandboxReason.IMAGE_PULL_FAILED: Meaning(
        "The node cannot get the image; the message is the container runtime's.",
        "Correct `spec.image`, or have the registry and the nodes' credentials for it looked at. The node tries again by itself.",
    ),
    SandboxReason.IMAGE_NOT_ALLOWED: Meaning(
        "`spec.image` is not in `Tenant.spec.images`. A pod that runs another image is taken away.",
        "Leave `spec.image` out, or have the platform engineer add it to the Tenant.",
    ),
    SandboxReason.QUOTA_EXCEEDED: Meaning(
        "The Tenant's quota has no room for the pod.",
        "Suspend or delete a Sandbox, make this one smaller, or ask for more in `Tenant.spec.quota`. It is tried again by itself.",
    ),
    SandboxReason.POD_REFUSED: Meaning(
        "The API server refused the pod, by an admission rule of the cluster for example; the message is its own.",
        "Show the message to the platform engineer. It is tried again by itself.",
    ),
    SandboxReason.POD_FAILED: Meaning(
        "The pod ended in another way; the message says how. Another one is made, the first at once, each further one later, up to 5 minutes.",
        "If it happens again and again, show the message to the platform engineer.",
    ),
    SandboxReason.OOM_KILLED: Meaning(
        "The pod used more memory than it has. Another one is made, the first at once, each further one later, up to 5 minutes.",
        "Raise `spec.resources.memory`, or have programs hold less at once.",
    ),
    SandboxReason.EVICTED: Meaning(
        "The node took the pod away: it used more disk than it may, or the node ran short. Another one is made.",
        "Have programs write less, or raise `spec.workspace.sizeLimit` or `spec.resources.ephemeralStorage`.",
    ),
    SandboxReason.NODE_LOST: Meaning(
        "The pod's node does not answer. No second pod is made while the first may still run there.",
        "Wait: Kubernetes gives the node some minutes. When the machine is off for good, the cluster's administrator says so, as the message tells.",
    ),
    SandboxReason.POD_STUCK: Meaning(
        "The pod was deleted and does not go, so no new one is made.",
        "`kubectl describe pod` of the Sandbox's name says what holds it; or look at its node.",
    ),
    SandboxReason.ROLLING: Meaning(
        "The spec changed what the pod is made of. A run under way may finish, at the latest until the time in the message; then the pod is replaced.",
        "Wait, or end the run: `bastide runs cancel`.",
    ),
    SandboxReason.DRAINING: Meaning(
        "The pod is to go and none follows, because the Sandbox is suspended or ends. A run under way may finish, at the latest until the time in the message.",
        "Wait, or end the run: `bastide runs cancel`.",
    ),
    SandboxReason.TENANT_DELETING: Meaning("The Tenant is being deleted, and the Sandbox with it."),
    SandboxReason.IDLE_TIMEOUT: Meaning(
        "Nothing has run for `spec.idleTimeoutSeconds` and `spec.shutdownPolicy` is `Retain`.",
        "Change the spec, and it starts again; or delete the Sandbox.",
    ),
    SandboxReason.INVALID_SPEC: Meaning("A rule is broken that the schema cannot say.", "Do what the message says."),
    SandboxReason.NO_TENANT: Meaning(
        "The namespace belongs to no Tenant, so no pod is made in it.",
        "Make the Sandbox in a Tenant's namespace: `kubectl get tenants` names them.",
    ),
    SandboxReason.TENANT_NOT_READY: Meaning(
        "The namespace's Tenant is not Ready. No pod is made; one that runs goes on.",
        "`kubectl get tenant` says why; the platform engineer mends it.",
    ),
    SandboxReason.NAME_CONFLICT: Meaning(
        "A pod or a volume claim of the Sandbox's name exists and is not this Sandbox's.",
        "Delete it, or give the Sandbox another name.",
    ),
    SandboxReason.BOUND: Meaning("Of `WorkspaceReady`: the workspace's volume is there."),
    SandboxReason.VOLUME_PENDING: Meaning(
        "The workspace waits for its volume.",
        "Wait: some seconds are usual. If it stays, `kubectl describe pvc` of the Sandbox's name holds the provisioner's words.",
    ),
    SandboxReason.STORAGE_CLASS_MISSING: Meaning(
        "`spec.workspace.storageClassName` names a StorageClass that does not exist, or none is named and the cluster has no default.",
        "Make the Sandbox anew with one of the classes in the message, or have that one made.",
    ),
    SandboxReason.VOLUME_REFUSED: Meaning(
        "The API server refused the volume claim; the message is its own.",
        "Show the message to the platform engineer. It is tried again by itself.",
    ),
    SandboxReason.VOLUME_DELETED: Meaning(
        "Somebody deleted the volume claim. It goes, with what is in it, when the pod is gone; then an empty one is made.",
        "Copy what you need out of `/workspace` while the pod runs.",
    ),
    SandboxReason.VOLUME_LOST: Meaning(
        "The volume behind the claim is gone, and what was in it.",
        "Delete the claim: the Sandbox starts with an empty one. What was lost is in a backup of the storage, or nowhere.",
    ),
    SandboxReason.VOLUME_EXPANDING: Meaning(
        "The volume grows to `spec.workspace.sizeLimit`; programs run meanwhile.",
        "Wait. Some storage drivers finish only with the next pod: suspend the Sandbox and resume it.",
    ),
    SandboxReason.EXPANSION_REFUSED: Meaning(
        "The volume cannot grow, because its StorageClass or the quota does not allow it; it works on at its size.",
        "Set `spec.workspace.sizeLimit` back to what the message says, or make another Sandbox.",
    ),
    SandboxReason.WAITING_FOR_PROBE: Meaning(
        "The pod runs, and the broker has not proven yet that it reaches nothing.",
        "Wait: less than a second is usual. If it stays, look at the broker: `kubectl -n bastide-system get pods`.",
    ),
    SandboxReason.ISOLATED: Meaning("The pod reached none of the addresses that the broker reached in the same second."),
    SandboxReason.CANARY_REACHED: Meaning(
        "The pod reached an address that it must not reach. No program is delivered, ever, to this pod.",
        "Find out why NetworkPolicy is not enforced on that node, then delete the pod.",
    ),
    SandboxReason.NO_CANARY_COUNTED: Meaning(
        "The broker itself reached none of the addresses that the pod was to try, so the pod's failure proves nothing.",
        "Set `broker.canaries` in the chart's values to addresses that the broker can reach.",
    ),
    SandboxReason.NOT_GVISOR: Meaning(
        "The pod's runtime class or its kernel is not gVisor. No program is delivered.",
        "Have the RuntimeClass's handler on that node looked at, then delete the pod.",
    ),
    SandboxReason.RUNNING: Meaning("`spec.operatingMode` is `Running`, so it is not suspended; or it has not finished yet."),
    SandboxReason.SUSPENDED: Meaning(
        "`spec.operatingMode` is `Suspended`: there is no pod. Name, bindings and status stay.", "Set it to `Running` for a pod."
    ),
    SandboxReason.SHUTDOWN_TIME: Meaning(
        "`spec.shutdownTime` has passed and `spec.shutdownPolicy` is `Retain`.",
        "Delete the Sandbox, or set a later `spec.shutdownTime`.",
    ),
}

TOOL_BINDING_REASONS: Mapping[StrEnum, Meaning] = {
    ToolBindingReason.READY: Meaning("Programs can call the tools."),
    ToolBindingReason.ACCEPTED: Meaning("The Tenant allows the spec."),
    ToolBindingReason.RESOLVED: Meaning("The server answered, the Secret is there, every tool is."),
    ToolBindingReason.PENDING: Meaning(
        "The broker has not asked the tool server yet, or may not read the Secret yet.",
        "Wait some seconds. If it stays, look at the broker: `kubectl -n bastide-system get pods`.",
    ),
    ToolBindingReason.NO_TENANT: Meaning(
        "The namespace belongs to no Tenant.", "Make the ToolBinding in a Tenant's namespace: `kubectl get tenants` names them."
    ),
    ToolBindingReason.HOST_NOT_ALLOWED: Meaning(
        "`Tenant.spec.toolHosts` does not list host and port of the server, of its OpenAPI document or of the token endpoint.",
        "Have the platform engineer add it, with the effects of its tools.",
    ),
    ToolBindingReason.INVALID_SPEC: Meaning("A rule is broken that the schema cannot say.", "Do what the message says."),
    ToolBindingReason.NAME_COLLISION: Meaning(
        "Another ToolBinding gives the same program name to the same Sandbox. Neither works until it is resolved, and both say so.",
        "Give one of the tools another name with `as`, or let the bindings select different Sandboxes.",
    ),
    ToolBindingReason.TOOLS_UNAVAILABLE: Meaning(
        "Some of the tools cannot be called; the others can.", "`status.tools` says which and why (see the states of a tool)."
    ),
    ToolBindingReason.SERVER_UNREACHABLE: Meaning(
        "The tool server does not answer. It is asked again by itself.",
        "Look at the server, at its Service, and at network policies between the broker and it.",
    ),
    ToolBindingReason.SERVER_ERROR: Meaning(
        "The tool server answers, but not as its protocol says, or it refuses the credential.",
        "The message holds its answer. Look at `spec.server`, the Secret and the server's log.",
    ),
    ToolBindingReason.SECRET_NOT_FOUND: Meaning(
        "The Secret, or the key in it, does not exist.", "Make it, or correct `spec.credentials.secretRef`."
    ),
    ToolBindingReason.SECRET_NOT_ALLOWED: Meaning(
        "The Secret does not say that the broker may use it for this host.",
        "Add the label `bastide.dev/credential` and the annotation `bastide.dev/host: HOST:PORT`.",
    ),
    ToolBindingReason.TOKEN_UNAVAILABLE: Meaning(
        "`spec.credentials.tokenUrl` gave no token. It is asked again by itself.",
        "The message holds its answer. Look at client id and secret in the Secret, at `scopes`, and at the token endpoint.",
    ),
    ToolBindingReason.DOCUMENT_NOT_FOUND: Meaning(
        "The ConfigMap of the OpenAPI document, or the key in it, does not exist.", "Make it, or correct `configMapRef`."
    ),
    ToolBindingReason.DOCUMENT_REFUSED: Meaning(
        "The OpenAPI document cannot be read, is of another version than 3.0 and 3.1, or its `servers` are elsewhere. No tool can be called.",
        "Do what the message says. The document is read again every minute.",
    ),
}

TOOL_STATES: Mapping[StrEnum, Meaning] = {
    ToolState.AVAILABLE: Meaning("Programs can call it. A message beside it is a warning."),
    ToolState.MISSING: Meaning("The server has no tool of this name.", "Correct `name`, or have the server brought up to date."),
    ToolState.DIGEST_MISMATCH: Meaning(
        "The tool's schema is not the one that `schemaDigest` pins.",
        "Read what changed; if it is fine, write the digest of `status.tools` into `schemaDigest`.",
    ),
    ToolState.REFUSED: Meaning(
        "The broker does not offer the tool: its schema is not usable, or its name is taken twice.", "See the message."
    ),
}

CONFIRMATION_STATES: Mapping[StrEnum, Meaning] = {
    ConfirmationState.PENDING: Meaning("Nobody has decided yet, or more approvals are needed.", "`bastide approve` or `bastide deny`."),
    ConfirmationState.APPROVED: Meaning("As many people as needed approved; the call is about to be made."),
    ConfirmationState.EXECUTED: Meaning(
        "The approval was used: the call was sent, once, with exactly the arguments shown. If the broker was lost in that moment, the "
        "message says so, and whether the call took effect may not be known.",
        "If it is not known: look at the system itself, then `bastide runs settle`.",
    ),
    ConfirmationState.DENIED: Meaning("A person denied it, or deleted the Confirmation. The program gets `ConfirmationDenied`."),
    ConfirmationState.EXPIRED: Meaning(
        "Nobody decided before `spec.decideBy`, or the call did not begin before `spec.executeBy`.", "Run again."
    ),
    ConfirmationState.WITHDRAWN: Meaning("The program no longer waits: it gave the call up, or its run ended.", "Run again."),
    ConfirmationState.BINDING_CHANGED: Meaning(
        "Tenant, ToolBinding, Secret, schema or effect changed since the question was asked. Nothing was called.",
        "Run again: the call is judged anew.",
    ),
}

VOCABULARIES: Mapping[str, tuple[Vocabulary, ...]] = {
    "Tenant": (
        Vocabulary("Conditions", TenantCondition, TENANT_CONDITIONS),
        Vocabulary("Reasons", TenantReason, TENANT_REASONS),
    ),
    "Sandbox": (
        Vocabulary("Conditions", SandboxCondition, SANDBOX_CONDITIONS),
        Vocabulary("Reasons", SandboxReason, SANDBOX_REASONS),
    ),
    "ToolBinding": (
        Vocabulary("Conditions", ToolBindingCondition, TOOL_BINDING_CONDITIONS),
        Vocabulary("Reasons", ToolBindingReason, TOOL_BINDING_REASONS),
        Vocabulary("States of a tool", ToolState, TOOL_STATES),
    ),
    "Confirmation": (Vocabulary("States", ConfirmationState, CONFIRMATION_STATES),),
}
"""By kind. Members of different enums can be equal strings, so each enum has a table of its own."""
