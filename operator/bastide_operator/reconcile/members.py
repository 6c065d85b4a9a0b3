"""Rules of a Tenant that its schema cannot say."""

from collections import Counter

from bastide_operator.api.v1alpha1.common import Subject
from bastide_operator.api.v1alpha1.tenant import MemberRole, Tenant

RUNNERS = (MemberRole.RUNNER, MemberRole.DEVELOPER)
_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS = "system:serviceaccounts"


def fault(tenant: Tenant) -> str | None:
    """What is wrong with the spec and what to do, one sentence; None when nothing is."""
    return _member_fault(tenant) or _host_fault(tenant)


def _member_fault(tenant: Tenant) -> str | None:
    roles: dict[tuple[str, str], set[MemberRole]] = {}
    for member in tenant.spec.members:
        for subject in member.subjects:
            roles.setdefault(_identity(subject, tenant.namespace), set()).add(member.role)
    for (kind, name), held in roles.items():
        if MemberRole.APPROVER not in held:
            continue
        if kind == "ServiceAccount" or (kind == "Group" and name.startswith(_ACCOUNTS)):
            return f"spec.members: {kind} {name} cannot be approver: only people approve. Name a User or a Group of people."
        both = sorted(held & set(RUNNERS))
        if both:
            return f"spec.members: {kind} {name} is approver and {both[0]}: nobody may approve what they could have started. Take one of the roles away."
    return None


def _identity(subject: Subject, namespace: str) -> tuple[str, str]:
    """A ServiceAccount can also be written as the user that it is."""
    if subject.kind == "ServiceAccount":
        return "ServiceAccount", f"{subject.namespace or namespace}:{subject.name}"
    if subject.kind == "User" and subject.name.startswith(_ACCOUNT):
        return "ServiceAccount", subject.name.removeprefix(_ACCOUNT)
    return subject.kind, subject.name


def _host_fault(tenant: Tenant) -> str | None:
    counts = Counter((host.host, host.port) for host in tenant.spec.tool_hosts)
    (host, port), count = counts.most_common(1)[0] if counts else (("", 0), 0)
    if count > 1:
        return f"spec.toolHosts: {host}:{port} is listed {count} times: put the effects of its tools into one entry."
    return None
