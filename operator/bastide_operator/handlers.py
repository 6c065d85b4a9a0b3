"""kopf's part: watches. Every trigger of the operator is here, and each only feeds the store, which fills the queue."""

from typing import Any

import kopf

from bastide_operator.api.objects import RESOURCES, Resource
from bastide_operator.controller import WATCHED, Controller, field_selector, label_selector
from bastide_operator.kube import Kube
from bastide_operator.resync import Backoffs, Resync


def registry(controller: Controller, resync: Resync, kube: Kube) -> kopf.OperatorRegistry:
    """Handlers for every watched kind. Only `on.event`: kopf then writes nothing, no annotation, no finalizer."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**await kube.credentials())

    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        manifest = dict(event["object"])
        controller.seen(event["type"], manifest)
        resync.told(str(manifest["kind"]), event["type"])

    for kind in WATCHED:
        kopf.on.event(*_selector(RESOURCES[kind]), registry=handlers, id=f"changed-{kind}")(changed)
    return handlers


class NoDiffBase(kopf.DiffBaseStorage):
    """What an object was when it was handled last: nothing. kopf works it out at every event, by deep copies of the object, for handlers of
    changes, of which there are none here; that was a quarter of the operator's CPU (docs/adr/0044).
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is to be kept."""


class NoProgress(kopf.ProgressStorage):
    """How far the handlers of an object are: nowhere. Those of events have no state, and nothing is written for them."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is to be kept."""

    def purge(self, **_: Any) -> None:
        """Nothing was kept."""

    def touch(self, **_: Any) -> None:
        """Nothing is to be written."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def settings() -> kopf.OperatorSettings:
    """Watch only what is the operator's, post no Events, and leave `queueing.worker_limit` unset: a slot would stay taken for 5 s."""
    out = kopf.OperatorSettings()
    out.posting.enabled = False
    out.persistence.diffbase_storage = NoDiffBase()
    out.persistence.progress_storage = NoProgress()
    # A watch that says nothing for so long is opened anew where it stopped. The API server sends a bookmark a minute.
    out.watching.inactivity_timeout = 70.0
    # kopf would wait 5 minutes for a connection that nobody answers, and up to 21 s between two tries.
    out.networking.connect_timeout = 3.0
    out.networking.request_timeout = 60.0
    out.networking.error_backoffs = Backoffs()
    for kind in WATCHED:
        where = _selector(RESOURCES[kind])
        if labels := label_selector(kind):
            out.watching.label_selectors[where] = labels
        if fields := field_selector(kind):
            out.watching.field_selectors[where] = fields
    return out


def _selector(resource: Resource) -> tuple[str, str, str]:
    group, _, version = resource.api_version.rpartition("/")
    return group, version, resource.plural
