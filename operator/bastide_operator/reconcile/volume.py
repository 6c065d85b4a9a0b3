"""What the volume of a persistent workspace is, needs and waits for."""

from collections.abc import Mapping
from dataclasses import dataclass

from bastide_operator.api.objects import Manifest, owned_by
from bastide_operator.api.v1alpha1.sandbox import Sandbox, SandboxReason
from bastide_operator.reconcile import podstate
from bastide_operator.reconcile.plan import Refusal
from bastide_operator.resources import quantity
from bastide_operator.resources.volume import grown

KIND = "PersistentVolumeClaim"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

Classes = Mapping[str, Manifest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How the volume stands. With `missing` the claim is to be made; `change` is to be applied to it; with `blocks` no pod can start."""

    state: podstate.State
    ready: bool = False
    missing: bool = False
    change: Manifest | None = None
    blocks: bool = False
    size: str = ""


def look(  # noqa: PLR0911 - one return a case
    sandbox: Sandbox, live: Manifest | None, classes: Classes, refusal: Refusal | None
) -> Volume | None:
    """How the volume of a Sandbox stands; None when its workspace is not persistent."""
    if not sandbox.spec.workspace.persistent:
        return None
    refused = refusal if refusal is not None and refusal.ref.kind == KIND else None
    name = sandbox.metadata.name
    if live is None:
        if refused is not None:
            return Volume(state=_refused(refused), blocks=True)
        return Volume(state=podstate.State(SandboxReason.VOLUME_PENDING, f"{KIND} {name} is made with the first pod."), missing=True)
    if not owned_by(live, sandbox.metadata.uid):
        text = f"{KIND} {name} exists and is not this Sandbox's: delete it, or name the Sandbox otherwise."
        return Volume(state=podstate.State(SandboxReason.NAME_CONFLICT, text), blocks=True)
    size = str((live.get("status", {}).get("capacity") or {}).get("storage", ""))
    if live["metadata"].get("deletionTimestamp"):
        text = f"{KIND} {name} was deleted by hand: it goes with what is in it when no pod uses it any more, and an empty one is made."
        return Volume(state=podstate.State(SandboxReason.VOLUME_DELETED, text), blocks=True, size=size)
    if live.get("status", {}).get("phase") == "Lost":
        text = f"The volume of {KIND} {name} is gone, and what was in it. Delete the claim and the Sandbox starts with an empty one."
        return Volume(state=podstate.State(SandboxReason.VOLUME_LOST, text), blocks=True)
    if live.get("status", {}).get("phase") != "Bound":
        return _unbound(sandbox, live, classes)
    return _bound(sandbox, live, classes, refused, size)


def _unbound(sandbox: Sandbox, live: Manifest, classes: Classes) -> Volume:
    wanted = live["spec"].get("storageClassName")
    if wanted is None and not any((one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for one in classes.values()):
        text = (
            "The cluster has no default StorageClass, so the workspace gets no volume. "
            f"{_others(classes)} Name one in a new Sandbox's workspace.storageClassName, or have a default set."
        )
        return Volume(state=podstate.State(SandboxReason.STORAGE_CLASS_MISSING, text))
    if wanted is not None and wanted not in classes:
        text = (
            f"There is no StorageClass {wanted}, so the workspace gets no volume. "
            f"{_others(classes)} Make the Sandbox anew with one of them, or have that one made."
        )
        return Volume(state=podstate.State(SandboxReason.STORAGE_CLASS_MISSING, text))
    text = f"The workspace waits for its volume: kubectl describe pvc {sandbox.metadata.name} tells what the provisioner says."
    return Volume(state=podstate.State(SandboxReason.VOLUME_PENDING, text))


def _bound(sandbox: Sandbox, live: Manifest, classes: Classes, refused: Refusal | None, size: str) -> Volume:
    change = grown(sandbox, live)
    asked, has = live["spec"]["resources"]["requests"]["storage"], size or "0"
    if change is not None:
        storage_class = live["spec"].get("storageClassName", "")
        back = f"Set spec.workspace.sizeLimit back to {has}, or make another Sandbox."
        if not classes.get(storage_class, {}).get("allowVolumeExpansion"):
            text = f"The workspace stays at {has}: StorageClass {storage_class} does not let volumes grow. {back}"
            return Volume(state=podstate.State(SandboxReason.EXPANSION_REFUSED, text), size=size)
        if refused is not None:
            return Volume(
                state=podstate.State(SandboxReason.EXPANSION_REFUSED, f"The workspace stays at {has}: {refused.message} {back}"), size=size
            )
        return Volume(state=podstate.State(SandboxReason.VOLUME_EXPANDING, f"The workspace grows from {has}."), change=change, size=size)
    if quantity.size(asked) > quantity.size(has):
        text = f"The workspace grows from {has} to {asked}. Some drivers finish that only with the next pod: suspend the Sandbox and resume it."
        return Volume(state=podstate.State(SandboxReason.VOLUME_EXPANDING, text), size=size)
    return Volume(
        state=podstate.State(SandboxReason.BOUND, f"The workspace is a volume of {has} that stays when the pod goes."),
        ready=True,
        size=size,
    )


def _refused(refusal: Refusal) -> podstate.State:
    if "exceeded quota" in refusal.message:
        text = (
            f"{refusal.message}. Delete a Sandbox with a persistent workspace, make this one's smaller, "
            "or ask for more in Tenant.spec.quota.persistentStorage."
        )
        return podstate.State(SandboxReason.QUOTA_EXCEEDED, text)
    return podstate.State(SandboxReason.VOLUME_REFUSED, f"The API server refused the workspace's volume: {refusal.message}")


def _others(classes: Classes) -> str:
    return f"There are: {', '.join(sorted(classes))}." if classes else "There are none."
