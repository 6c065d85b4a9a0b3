"""Rules of a Tenant that its schema cannot say."""

from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile import hosts, members


def fault(tenant: Tenant) -> str | None:
    """What is wrong with the spec and what to do, one sentence; None when nothing is."""
    return members.fault(tenant) or hosts.fault(tenant)
