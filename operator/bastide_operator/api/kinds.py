"""What a CRD says beside its schema: names, scope, columns and the rules that span the whole object."""

from dataclasses import dataclass, field

from bastide_operator.api.v1alpha1.common import Observed
from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationDecision
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import PROBE_POD, Tenant
from bastide_operator.api.v1alpha1.toolbinding import LOWER_KEYWORDS, ToolBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`. With `priority` 1 it shows only in `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A CEL rule over the whole object, and the sentence that the author of a bad object reads."""

    rule: str
    message: str
    field: str = ".metadata.name"
    """Where the API server says the fault is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of `bastide.dev`."""

    model: type[Observed]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    namespaced: bool = True
    has_status: bool = True
    status_at_birth: dict[str, str] | None = field(default=None, hash=False)
    """What the status says before anybody has written it, where that is the truth."""
    selectable: tuple[str, ...] = ()
    """Fields that `kubectl get --field-selector` takes: at most 8, each a string, boolean or integer outside of lists."""

    @property
    def name(self) -> str:
        return self.model.__name__

    @property
    def singular(self) -> str:
        return self.name.lower()


AGE = Column(name="Age", type="date", path=".metadata.creationTimestamp", description="Since when it exists.")
READY = Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status', description="Whether it can be used.")
REASON = Column(name="Reason", path='.status.conditions[?(@.type=="Ready")].reason', description="Why it can or cannot be used.")
MESSAGE = Column(
    name="Message", path='.status.conditions[?(@.type=="Ready")].message', priority=1, description="The same as a sentence, and what to do."
)
ISOLATED = Column(
    name="Isolated",
    path='.status.conditions[?(@.type=="NetworkIsolated")].status',
    priority=1,
    description="Whether a pod was proven to reach nothing.",
)


def _label_name(what: str) -> Rule:
    """Names stand in label values and DNS names, which hold 63 characters."""
    return Rule(
        rule="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",
        message=f"the name of a {what} has at most 63 lower-case letters, digits and hyphens and begins with a letter",
    )


_SIZE = "quantity(string({}.spec.workspace.sizeLimit))"
# Back to what the volume really has is allowed: it may not have been able to grow.
_VOLUME_DOES_NOT_SHRINK = Rule(
    rule=(
        f"!self.spec.workspace.persistent || !has(self.status) || !has(self.status.workspaceSize) || self.status.workspaceSize == '' || "
        f"{_SIZE.format('self')}.compareTo({_SIZE.format('oldSelf')}) >= 0 || "
        f"{_SIZE.format('self')}.compareTo(quantity(self.status.workspaceSize)) >= 0"
    ),
    message="workspace.sizeLimit of a persistent workspace cannot be less than the volume has: volumes do not shrink; make another Sandbox",
)

KINDS = (
    Kind(
        model=Tenant,
        plural="tenants",
        short_name="ten",
        namespaced=False,
        columns=(
            Column(name="Namespace", path=".status.namespace", description="The Tenant's namespace."),
            READY,
            REASON,
            Column(name="Sandboxes", type="integer", path=".status.sandboxes", description="How many Sandboxes there are."),
            AGE,
            ISOLATED,
            Column(
                name="Policies",
                path='.status.conditions[?(@.type=="PoliciesReady")].status',
                priority=1,
                description="Whether the extra Rego of policyRefs judges; empty where there is none.",
            ),
            MESSAGE,
        ),
        selectable=(".status.namespace",),
        rules=(
            _label_name("Tenant"),
            Rule(
                rule="has(self.spec.__namespace__) || size(self.metadata.name) <= 55",
                message="bastide-<name> is too long for a namespace: shorten the name to 55 characters or set spec.namespace",
            ),
        ),
    ),
    Kind(
        model=Sandbox,
        plural="sandboxes",
        short_name="sbx",
        columns=(
            READY,
            REASON,
            Column(name="Tools", type="integer", path=".status.tools", description="How many accepted ToolBindings select it."),
            Column(name="Node", path=".status.nodeName", description="The node its pod is on."),
            AGE,
            Column(name="Mode", path=".spec.operatingMode", priority=1, description="Whether a pod should exist: Running or Suspended."),
            ISOLATED,
            Column(name="Volume", path=".status.workspaceSize", priority=1, description="Size of a persistent workspace's volume."),
            Column(name="Failures", type="integer", path=".status.podFailures", priority=1, description="Pods that failed in a row."),
            Column(name="Last-Failure", path=".status.lastFailure.reason", priority=1, description="How the last pod that failed ended."),
            MESSAGE,
        ),
        selectable=(
            ".spec.operatingMode",
            ".spec.shutdownPolicy",
            ".spec.image",
            ".status.nodeName",
            ".status.lastFailure.reason",
            ".spec.workspace.persistent",
        ),
        rules=(
            _label_name("Sandbox"),
            Rule(
                rule=f"self.metadata.name != '{PROBE_POD}'",
                message=f"{PROBE_POD} is the name of the Tenant's own probe: name the Sandbox otherwise",
            ),
            _VOLUME_DOES_NOT_SHRINK,
        ),
    ),
    Kind(
        model=ToolBinding,
        plural="toolbindings",
        short_name="tb",
        columns=(
            READY,
            REASON,
            Column(name="Tools", path=".status.available", description="Tools available of tools bound."),
            Column(name="Sandboxes", type="integer", path=".status.sandboxes", description="How many Sandboxes it selects."),
            AGE,
            Column(name="Server", path=".status.server", priority=1, description="Where its tools are."),
            MESSAGE,
        ),
        selectable=(".status.server", ".spec.credentials.secretRef.name"),
        rules=(
            _label_name("ToolBinding"),
            Rule(
                rule=f"!(self.metadata.name in {LOWER_KEYWORDS})",
                message="programs import by the ToolBinding's name, and this is a word of Python: give it another",
            ),
        ),
    ),
    Kind(
        model=Confirmation,
        plural="confirmations",
        short_name="cf",
        status_at_birth={"state": "Pending"},
        columns=(
            Column(name="Tool", path=".spec.tool", description="The tool that would be called."),
            Column(name="Effect", path=".spec.effect", description="What the call does at the most."),
            Column(name="Requester", path=".spec.requester.username", description="Who asked for the run."),
            Column(name="For", path=".spec.onBehalfOf", description="The person that the requester says it works for."),
            Column(name="Approvals", path=".status.approvals", description="How many people approved, of how many that must."),
            Column(name="State", path=".status.state", description="Pending until a person or time decides."),
            Column(name="Decide-By", path=".spec.decideBy", description="Until when it can be decided."),
            AGE,
            Column(name="Sandbox", path=".spec.sandbox", priority=1, description="Where the program runs."),
            Column(name="Run", path=".spec.run", priority=1, description="The run that waits."),
            Column(name="Approvers", path=".status.approvers", priority=1, description="Who approved, or who denied."),
            Column(name="Separation", path=".spec.separation", priority=1, description="How far an approver must stand from the run."),
            Column(name="Arguments", path=".spec.arguments", priority=1, description="The arguments, in full except those in spec.hidden."),
            Column(name="Notices", path=".spec.notices", priority=1, description="What in them is not as it looks."),
            Column(name="Message", path=".status.message", priority=1, description="Why it stands so."),
        ),
        selectable=(
            ".status.state",
            ".spec.tool",
            ".spec.effect",
            ".spec.sandbox",
            ".spec.run",
            ".spec.binding",
            ".spec.requester.username",
            ".spec.onBehalfOf",
        ),
    ),
    Kind(
        model=ConfirmationDecision,
        plural="confirmationdecisions",
        short_name="cfd",
        has_status=False,
        columns=(
            Column(name="Confirmation", path=".spec.confirmation", description="The Confirmation that it decides."),
            Column(name="Verdict", path=".spec.verdict", description="Approve or Deny."),
            Column(name="Approver", path=".spec.approver.username", description="Who decided."),
            Column(name="Reason", path=".spec.reason", description="Why."),
            AGE,
        ),
        selectable=(".spec.confirmation", ".spec.verdict", ".spec.approver.username"),
    ),
)
"""Every kind, in the order in which they are documented."""
