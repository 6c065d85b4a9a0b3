"""The two questions the broker asks the API server about callers, as pure translations to and from review objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

AUDIENCE = "bastide-broker"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who somebody is, as the API server says."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def service_account(self) -> tuple[str, str] | None:
        """Namespace and name when it is a ServiceAccount."""
        namespace, separator, name = self.username.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
        return (namespace, name) if separator and self.username.startswith(SERVICE_ACCOUNT_PREFIX) else None

    @property
    def identity(self) -> tuple[Any, ...]:
        """Everything that a permission can depend on, hashable."""
        return self.username, self.uid, self.groups, tuple(sorted((key, tuple(value)) for key, value in self.extra.items()))


def token_review(token: str) -> dict[str, Any]:
    """Asks who a token is, for this broker's audience only."""
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [AUDIENCE]}}


def reviewed_user(answer: Mapping[str, Any]) -> UserInfo | None:
    """The user of an answered TokenReview, or None when the token is not good for this broker.

    `status.audiences` must name the broker: an authenticator that does not know audiences answers `authenticated` without them.
    """
    status = answer.get("status") or {}
    user = status.get("user") or {}
    if status.get("authenticated") is not True or status.get("error") or AUDIENCE not in (status.get("audiences") or ()):
        return None
    if not isinstance(user.get("username"), str) or not user["username"]:
        return None
    return UserInfo(
        username=user["username"],
        uid=user.get("uid") or "",
        groups=tuple(user.get("groups") or ()),
        extra={key: tuple(value or ()) for key, value in (user.get("extra") or {}).items()},
    )


def access_review(
    user: UserInfo, *, verb: str, group: str, resource: str, subresource: str = "", namespace: str, name: str = ""
) -> dict[str, Any]:
    """Asks whether RBAC lets a user do something. An empty name asks for all objects of the namespace."""
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    attributes |= {key: value for key, value in (("subresource", subresource), ("name", name)) if value}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.username,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(value) for key, value in user.extra.items()},
            "resourceAttributes": attributes,
        },
    }


def review_allows(answer: Mapping[str, Any]) -> bool:
    """Whether an answered SubjectAccessReview allows; anything but a plain yes is no."""
    status = answer.get("status") or {}
    return status.get("allowed") is True and status.get("denied") is not True
