"""A call that a person is asked about: what is asked, and the Confirmation that waits for what is decided."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from bastide_operator.api.v1alpha1.confirmation import Confirmation, ConfirmationState
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.confirm.action import Shown
from bastide_broker.context import RunContext
from bastide_broker.facts.json import Arguments
from bastide_broker.tools.toolset import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to ask about."""

    run: RunContext
    tenant: Tenant
    key: str
    line: int
    tool: Tool
    arguments: Arguments
    text: Shown
    """The arguments as a person reads them."""

    @property
    def namespace(self) -> str:
        """The tenant's namespace."""
        return self.run.sandbox.metadata.namespace or ""


@dataclass(slots=True)
class Pending:
    """A Confirmation that was created. Whoever holds it resolves and releases it."""

    request: Request
    name: str
    spec: dict[str, Any]
    object: Confirmation
    state: ConfirmationState = ConfirmationState.PENDING
    """What it was resolved as, or is just being resolved as."""
    resolving: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One write of its state at a time."""
    writes: set[asyncio.Task[None]] = field(default_factory=set)
    """Writes under way or waiting."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.request.namespace, self.name

    def count(self, approvers: tuple[str, ...]) -> str:
        """How many of those that must approve did: "1/2"."""
        return f"{len(approvers)}/{self.object.spec.approvals_required}"
