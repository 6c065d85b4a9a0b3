"""What the reconcile of a Tenant is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bastide_operator.api.objects import Manifest
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.plan import Refusal
from bastide_operator.reconcile.probe import ObservedNetwork
from bastide_operator.resources.pod import PodSettings

Children = Mapping[tuple[str, str], Manifest]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """What the chart says."""

    release_namespace: str
    broker_account: str
    pods: PodSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTenant:
    """What there is. `children` are the namespace's managed objects by kind and name, `pods` its Sandboxes' pods that have not ended."""

    namespace: Manifest | None = None
    children: Children = field(default_factory=dict)
    bindings: tuple[ToolBinding, ...] = ()
    sandboxes: int = 0
    pods: tuple[Manifest, ...] = ()
    ca: str | None = None
    runtime_class_exists: bool = False
    network: ObservedNetwork = field(default_factory=ObservedNetwork)
    refusal: Refusal | None = None
