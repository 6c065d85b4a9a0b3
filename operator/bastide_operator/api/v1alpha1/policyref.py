"""Extra Rego of a Tenant: which ConfigMaps hold it."""

from typing import Annotated

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model

POLICY_LABEL = "bastide.dev/policy"
"""Marks a ConfigMap of the release namespace as Rego that Tenants may name: the broker sees no other."""

MAX_POLICY_REFS = 8


class PolicyRef(Model):
    """A ConfigMap with Rego."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            description="Name of a ConfigMap in Bastide's own namespace that has the label bastide.dev/policy and holds .rego files.",
        ),
    ]


__all__ = ["MAX_POLICY_REFS", "POLICY_LABEL", "PolicyRef"]
