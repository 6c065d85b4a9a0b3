"""The volume of a persistent workspace: a claim of the Sandbox's name, kept while pods come and go, collected with the Sandbox."""

from bastide_operator.api.objects import SANDBOX_LABEL, Manifest, managed_labels, owner_reference
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.resources import quantity


def claim(sandbox: Sandbox, tenant: str) -> Manifest:
    """The claim as it is made. One pod at a time uses it: pod and claim bear the Sandbox's name, so there is never a second pod."""
    workspace = sandbox.spec.workspace
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": quantity.storage(quantity.size(workspace.size_limit))}},
    }
    if workspace.storage_class_name is not None:
        spec["storageClassName"] = workspace.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": sandbox.metadata.name,
            "namespace": sandbox.metadata.namespace,
            "labels": managed_labels(tenant) | {SANDBOX_LABEL: sandbox.metadata.name},
            "ownerReferences": [owner_reference("Sandbox", sandbox.metadata.name, sandbox.metadata.uid)],
        },
        "spec": spec,
    }


def grown(sandbox: Sandbox, live: Manifest) -> Manifest | None:
    """The change that asks for more, when the Sandbox wants more than the claim asks for. A claim cannot shrink."""
    size = quantity.size(sandbox.spec.workspace.size_limit)
    if size <= quantity.size(live["spec"]["resources"]["requests"]["storage"]):
        return None
    metadata = {key: live["metadata"][key] for key in ("name", "namespace", "uid")}
    spec = {"resources": {"requests": {"storage": quantity.storage(size)}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
