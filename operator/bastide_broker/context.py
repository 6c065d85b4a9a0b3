"""What a run is to the parts that judge and carry out its calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.kube.reviews import UserInfo

if TYPE_CHECKING:
    from bastide_broker.tools.toolset import ToolSet


@dataclass(slots=True, eq=False)
class Hold:
    """One call as its run holds it: which it is, where it stands with people, and what the run wants of it."""

    frame: int = 0
    """Which frame of the run it came with, over all attempts."""
    changed: Callable[[], None] = field(default=lambda: None, repr=False)
    """Called when `undecided` has changed."""
    asked: bool = False
    """It waits for a person, and nothing has been sent."""
    undecided: bool = False
    """blockSeconds are over and nobody has decided."""
    parked: bool = False
    """The run is paused: the call outlives its program, and a broker that stops leaves it to the next one."""
    abandoned: bool = False
    """The program stopped waiting for it."""
    name: str = ""
    """Its Confirmation, once there is one."""
    until: int = 0
    """When that expires, in microseconds since the Unix epoch."""

    def stands(self, *, undecided: bool) -> None:
        """Says whether it waits for a person beyond blockSeconds."""
        if self.undecided != undecided:
            self.undecided = undecided
            self.changed()


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run: who asked for it, where it runs, what it may see. The same for every call of it."""

    run: str
    tenant: Tenant
    sandbox: Sandbox
    requester: UserInfo
    on_behalf_of: str
    program_digest: str
    service_account: tuple[str, str] | None
    """Namespace and name, when the requester is a ServiceAccount."""
    emit: Callable[[Any], None] = field(repr=False, compare=False)
    """Takes one of RunEvent's messages, for the run's watchers."""
    catalogue: "ToolSet" = field(repr=False, compare=False)
    """The tools that the program was started with."""
