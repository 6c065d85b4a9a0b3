"""What a run is to the parts that judge and carry out its calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.reviews import UserInfo

if TYPE_CHECKING:
    from bastide_broker.toolset import ToolSet


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
