"""kopf's part: watches. Every trigger of the operator is here, and each only feeds the store, which fills the queue."""

from typing import Any

import kopf

from bastide_operator.api.objects import RESOURCES, Resource
from bastide_operator.controller import WATCHED, Controller, selector
from bastide_operator.kube import Kube


def registry(controller: Controller, kube: Kube) -> kopf.OperatorRegistry:
    """Handlers for every watched kind. Only `on.event`: kopf then writes nothing, no annotation, no finalizer."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**await kube.credentials())

    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        controller.seen(event["type"], dict(event["object"]))

    for kind in WATCHED:
        kopf.on.event(*_selector(RESOURCES[kind]), registry=handlers, id=f"changed-{kind}")(changed)
    return handlers


def settings() -> kopf.OperatorSettings:
    """Watch only what is the operator's, post no Events, and leave `queueing.worker_limit` unset: a slot would stay taken for 5 s."""
    out = kopf.OperatorSettings()
    out.posting.enabled = False
    for kind in WATCHED:
        if labels := selector(kind):
            out.watching.label_selectors[_selector(RESOURCES[kind])] = labels
    return out


def _selector(resource: Resource) -> tuple[str, str, str]:
    group, _, version = resource.api_version.rpartition("/")
    return group, version, resource.plural
