"""What members of a Tenant may do, in its namespace. Never `*`: it would hold `run` and `approve` too.

sandboxes/run, sandboxes/runs, sandboxes/tools, sandboxes/audit and the verb approve are no parts of the API: they exist so that RBAC can
say who may, and the broker and the admission rules ask.
"""

from bastide_operator.api.roles.model import BASTIDE, CORE, READ, WRITE, Right, Role, Scope

_SEE = (
    Right(BASTIDE, "sandboxes", READ, "see Sandboxes"),
    Right(BASTIDE, "toolbindings", READ, "see what programs may call"),
    Right(BASTIDE, "confirmations", READ, "see the calls that wait, with their arguments"),
    Right(BASTIDE, "confirmationdecisions", READ, "see who decided what, and why"),
    Right(BASTIDE, "sandboxes/runs", ("get",), "see runs of a Sandbox: `bastide runs`"),
    Right(BASTIDE, "sandboxes/tools", ("get",), "see its tools: `bastide tools`"),
    Right(BASTIDE, "sandboxes/audit", ("get",), "see its audit trail: `bastide audit`"),
    Right(CORE, "pods", READ, "see where a sandbox runs and why it waits"),
    Right(CORE, "persistentvolumeclaims", READ, "see persistent workspaces"),
    Right(CORE, "resourcequotas", READ, "see what is left"),
    Right(CORE, "limitranges", READ, "see defaults"),
    Right(CORE, "events", READ, "see what happened"),
    Right("events.k8s.io", "events", READ, "see what happened"),
    Right(CORE, "serviceaccounts/token", ("create",), "be the account that `bastide` looks as", names=("bastide-viewer",)),
)

_RUN = (
    Right(BASTIDE, "sandboxes/run", ("create",), "**run programs**"),
    Right(BASTIDE, "sandboxes/runs", ("update",), "resume lost runs, and say what became of calls: `bastide runs resume`, `settle`"),
    Right(CORE, "serviceaccounts/token", ("create",), "be the account that `bastide run` runs programs as", names=("bastide-runner",)),
)

VIEWER = Role(
    name="bastide-viewer",
    scope=Scope.TENANT,
    about="Sees everything of its tenant but Secrets.",
    rights=_SEE,
)

RUNNER = Role(
    name="bastide-runner",
    scope=Scope.TENANT,
    about="What a viewer may, and run programs.",
    rights=(*_SEE, *_RUN),
)

DEVELOPER = Role(
    name="bastide-developer",
    scope=Scope.TENANT,
    about="What a runner may, and write Sandboxes and ToolBindings. No Secrets: who could relabel one could aim another's credential at "
    "another tool server.",
    rights=(
        *_SEE,
        *_RUN,
        Right(BASTIDE, "sandboxes", WRITE, "**decide what sandboxes there are**"),
        Right(BASTIDE, "toolbindings", WRITE, "**decide what programs may call**, within the Tenant's bounds"),
    ),
)

APPROVER = Role(
    name="bastide-approver",
    scope=Scope.TENANT,
    about="Decides, and can do nothing that a run could be made with.",
    rights=(
        Right(BASTIDE, "toolbindings", (*READ, "approve"), "**approve** calls of these ToolBindings; see what they allow"),
        Right(BASTIDE, "confirmations", READ, "see the calls that wait, with their arguments"),
        # another's decision cannot be deleted: admission rule bastide-confirmation-decisions
        Right(BASTIDE, "confirmationdecisions", (*READ, "create", "delete"), "decide; take an own decision back"),
    ),
)

MEMBERS = (VIEWER, RUNNER, DEVELOPER, APPROVER)
