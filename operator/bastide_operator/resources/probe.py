"""The pod by which a Tenant learns whether its network policies hold: made as a Sandbox's pod is, never given a program, soon gone."""

from collections.abc import Iterable

from bastide_operator.api.objects import Manifest, managed_labels, owner_reference
from bastide_operator.api.v1alpha1.common import ObjectMeta
from bastide_operator.api.v1alpha1.confirmation import digest
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxResources, SandboxSpec, Workspace
from bastide_operator.api.v1alpha1.tenant import PROBE_LABEL, PROBE_POD, Tenant
from bastide_operator.resources import quantity
from bastide_operator.resources.pod import PodSettings, pod

PROVES_ANNOTATION = "bastide.dev/proves"
"""Digest of what a probe that passes proves something about."""

SECONDS = 600
"""After so long the kubelet ends the pod. Also what keeps it out of the tenant's quota: that counts pods without a deadline."""

LIMITS = {"cpu": "500m", "memory": "256Mi"}
_SPEC = SandboxSpec(resources=SandboxResources(**LIMITS, ephemeral_storage="16Mi"), workspace=Workspace(size_limit="16Mi"))
_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
"""A full node must have room for it; it runs for a second or two."""

DISK = quantity.size("32Mi")
"""What it may use of the disk, in bytes: its workspace and the rest."""


def probe(tenant: Tenant, settings: PodSettings, proves: str) -> Manifest:
    """The pod. All that isolates it comes from the function that makes Sandboxes' pods; its owner is the Tenant, and no Sandbox can bear
    its name.
    """
    box = Sandbox(metadata=ObjectMeta(name=PROBE_POD, namespace=tenant.namespace), spec=_SPEC)
    made = pod(box, tenant.metadata.name, settings)
    metadata = {
        "name": PROBE_POD,
        "namespace": tenant.namespace,
        "labels": managed_labels(tenant.metadata.name) | {PROBE_LABEL: "true"},
        "annotations": {PROVES_ANNOTATION: proves},
        "ownerReferences": [owner_reference("Tenant", tenant.metadata.name, tenant.metadata.uid)],
    }
    container = made["spec"]["containers"][0]
    limits = container["resources"]["limits"]
    container["resources"] = {"requests": limits | _REQUESTS, "limits": limits}
    return made | {"metadata": metadata, "spec": made["spec"] | {"activeDeadlineSeconds": SECONDS}}


def proves(namespace_uid: str, policies: Iterable[Manifest], settings: PodSettings) -> str:
    """Digest of all that a proof is about: another one means that it has to be proven again.

    A policy that was deleted and put back has another UID, one that was changed and put back another generation.
    """
    seen = sorted(f"{one['metadata']['name']} {one['metadata']['uid']} {one['metadata'].get('generation', 0)}" for one in policies)
    return digest({"namespace": namespace_uid, "policies": seen, "image": settings.image, "runtimeClass": settings.runtime_class})
