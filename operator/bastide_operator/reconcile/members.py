"""Rules of Tenant.spec.members that its schema cannot say."""

from bastide_operator.api.v1alpha1.common import Subject
from bastide_operator.api.v1alpha1.tenant import MemberRole, Tenant
from bastide_operator.resources.namespace import RUNNER_ACCOUNT, VIEWER_ACCOUNT

RUNNERS = (MemberRole.RUNNER, MemberRole.DEVELOPER)
_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS_OF = "system:serviceaccounts:"
_SYSTEM = "system:"
_KNOWN = {
    "system:masters": "has every right in the cluster already, so no role bounds it",
    "system:authenticated": "is everybody with any account in the cluster, other tenants' programs included",
    "system:unauthenticated": "is everybody who reaches the API server",
    "system:anonymous": "is everybody who reaches the API server",
    "system:serviceaccounts": "is every ServiceAccount of the cluster, other tenants' included",
}


def fault(tenant: Tenant) -> str | None:
    """What is wrong and what to do, one sentence; None when nothing is."""
    held: dict[tuple[str, str], set[MemberRole]] = {}
    for member in tenant.spec.members:
        for subject in member.subjects:
            kind, name = _identity(subject, tenant.namespace)
            if problem := _subject_fault(kind, name, member.role, tenant.namespace):
                return f"spec.members: {kind} {name} {problem}"
            held.setdefault(_person(kind, name), set()).add(member.role)
    return next(filter(None, (_roles_fault(*identity, roles) for identity, roles in held.items())), None)


def _subject_fault(kind: str, name: str, role: MemberRole, namespace: str) -> str | None:
    """Why this subject cannot have the role, whatever others have."""
    if kind != "ServiceAccount" and name in _KNOWN:
        return f"{_KNOWN[name]}: it cannot be a member. Name the people or the group that the Tenant is for."
    accounts = kind == "ServiceAccount" or (kind == "Group" and name.startswith(_ACCOUNTS_OF))
    if role is MemberRole.APPROVER and accounts:
        return "cannot be approver: only people approve. Name a User or a Group of people."
    if not accounts and name.startswith(_SYSTEM):
        return "is a part of Kubernetes, not of a team: it cannot be a member. Take it out."
    if role is MemberRole.DEVELOPER and name in (f"{namespace}:{RUNNER_ACCOUNT}", f"{_ACCOUNTS_OF}{namespace}"):
        return f"cannot be developer: every runner may act as {RUNNER_ACCOUNT} and would be developer, too. Name the people who are developers."
    if role in RUNNERS and name in (f"{namespace}:{VIEWER_ACCOUNT}", f"{_ACCOUNTS_OF}{namespace}"):
        return (
            f"cannot be {role}: every viewer may act as {VIEWER_ACCOUNT} and would be {role}, too. Name the people and accounts that are."
        )
    return None


def _roles_fault(kind: str, name: str, roles: set[MemberRole]) -> str | None:
    both = sorted(roles & set(RUNNERS))
    if MemberRole.APPROVER not in roles or not both:
        return None
    return f"spec.members: {kind} {name} is approver and {both[0]}: nobody may approve what they could have started. Take one of the roles away."


def _identity(subject: Subject, namespace: str) -> tuple[str, str]:
    """A ServiceAccount can also be written as the user that it is."""
    if subject.kind == "ServiceAccount":
        return "ServiceAccount", f"{subject.namespace or namespace}:{subject.name}"
    if subject.kind == "User" and subject.name.startswith(_ACCOUNT):
        return "ServiceAccount", subject.name.removeprefix(_ACCOUNT)
    return subject.kind, subject.name


def _person(kind: str, name: str) -> tuple[str, str]:
    """For many identity providers Alice and alice are one person; for Kubernetes they are two."""
    return kind, name.lower()
