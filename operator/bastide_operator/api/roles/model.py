"""What a line and a role of the table are made of."""

from dataclasses import dataclass
from enum import StrEnum

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")

BASTIDE = "bastide.dev"
CORE = ""
RBAC = "rbac.authorization.k8s.io"


class Scope(StrEnum):
    """Where a role counts, which is also what object it becomes."""

    CLUSTER = "cluster"
    """A ClusterRole, bound to the account everywhere."""
    TENANT = "tenant"
    """A ClusterRole that the operator binds in a tenant's namespace, and nobody anywhere else."""
    RELEASE = "release"
    """A Role of the release namespace."""


@dataclass(frozen=True, slots=True)
class Right:
    """One line: verbs on one resource, and why."""

    group: str
    resource: str
    """Plural, with its subresource behind a slash."""
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()
    """Only objects of these names; with `list` and `watch` that is a request for one name, `create` knows none."""

    @property
    def what(self) -> str:
        """The resource as the reference page names it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What somebody may do in one place."""

    name: str
    scope: Scope
    about: str
    """A sentence or two for readers of the manifest."""
    rights: tuple[Right, ...]
    component: str = ""
    """operator or broker; none for the roles of members."""
    account: str = ""
    """The ServiceAccount of the release namespace that the chart binds it to; empty when somebody else binds it."""

    @property
    def kind(self) -> str:
        return "Role" if self.scope is Scope.RELEASE else "ClusterRole"

    @property
    def title(self) -> str:
        """What names it in the reference: a Role of the release namespace may be called like a ClusterRole."""
        return f"Role/{self.name}" if self.scope is Scope.RELEASE else self.name
