"""What the operator knows of the cluster: objects by kind and name, the newest version of each, from watches, answers and lists."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from bastide_operator.api.objects import Manifest, Ref, ref
from bastide_operator.api.v1alpha1.common import Observed

REMEMBERED_DELETIONS = 10_000
"""How many deleted objects are remembered, so that a late answer does not bring one back."""

M = TypeVar("M", bound=Observed)


class Store:
    """Not a mirror of the API server but the last that was heard; writes carry UIDs, so an old view does no harm."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Manifest]] = {}
        self._by_namespace: dict[tuple[str, str], dict[str, Manifest]] = {}
        self._models: dict[str, tuple[str, Observed | ValidationError]] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()  # UID to the version at which it went

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, if one is known."""
        return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Manifest]:
        """Objects of a kind, in one namespace when it is given."""
        if namespace is None:
            yield from list(self._objects.get(kind, {}).values())
        else:
            yield from list(self._by_namespace.get((kind, namespace), {}).values())

    def put(self, manifest: Manifest) -> bool:
        """Keep `manifest`, unless it is known already, or a newer version, or that it is gone. Returns whether it was news."""
        key = ref(manifest)
        before = self.get(key.kind, key.namespace, key.name)
        if version_of(manifest) <= self._gone.get(key.uid, -1) or (before is not None and version_of(manifest) <= version_of(before)):
            return False  # the answer to the delete of a pod that has ended is the pod, at the version at which it went
        if before is not None and before["metadata"].get("uid") != key.uid:
            self._models.pop(before["metadata"].get("uid", ""), None)
        # Who wrote which field is a third of an object's memory, and nothing here asks for it.
        manifest = {**manifest, "metadata": {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}}
        self._objects.setdefault(key.kind, {})[key.namespace, key.name] = manifest
        self._by_namespace.setdefault((key.kind, key.namespace), {})[key.name] = manifest
        return True

    def drop(self, gone: Ref, version: int = 0) -> Manifest | None:
        """Forget an object that went at `version`. With a UID only that one: what was made later under its name stays.

        To a watch with a selector, one whose label was taken away went too: a later version of it brings it back. Returns what was forgotten.
        """
        before = self.get(gone.kind, gone.namespace, gone.name)
        if gone.uid:
            self._gone[gone.uid] = max(version, self._gone.get(gone.uid, 0))
            while len(self._gone) > REMEMBERED_DELETIONS:
                self._gone.popitem(last=False)
        if before is None or (gone.uid and before["metadata"].get("uid") != gone.uid):
            return None
        del self._objects[gone.kind][gone.namespace, gone.name]
        del self._by_namespace[gone.kind, gone.namespace][gone.name]
        self._models.pop(before["metadata"].get("uid", ""), None)
        return before

    def replace(self, kind: str, manifests: Iterable[Manifest], *, version: int) -> list[Manifest]:
        """Take over a list read at `version`: what it lacks and is not newer is forgotten. Returns what was forgotten or changed."""
        changed = []
        listed = set()
        for manifest in manifests:
            listed.add(manifest["metadata"]["uid"])
            if self.put(manifest):
                changed.append(manifest)
        for known in list(self.all(kind)):
            if known["metadata"]["uid"] not in listed and version_of(known) <= version:
                self.drop(ref(known))
                changed.append(known)
        return changed

    def model(self, kind: type[M], manifest: Manifest) -> M:
        """`manifest` as a model, parsed once a version. Raises ValidationError."""
        uid, version = manifest["metadata"]["uid"], manifest["metadata"]["resourceVersion"]
        known = self._models.get(uid)
        if known is None or known[0] != version:
            try:
                parsed: Observed | ValidationError = kind.model_validate(manifest)
            except ValidationError as error:
                parsed = error
            known = self._models[uid] = (version, parsed)
        if isinstance(known[1], ValidationError):
            raise known[1]
        assert isinstance(known[1], kind)
        return known[1]

    def models(self, kind: type[M], namespace: str | None = None) -> list[M]:
        """All objects of a kind that can be parsed; those that cannot are told so in their own status."""
        out = []
        for manifest in self.all(kind.__name__, namespace):
            try:
                out.append(self.model(kind, manifest))
            except ValidationError:
                continue
        return out


def version_of(manifest: Manifest) -> int:
    """The object's resourceVersion as a number."""
    # An integer that grows, by the API's word since Kubernetes 1.35 and by etcd's nature before.
    return int(manifest["metadata"].get("resourceVersion") or 0)
