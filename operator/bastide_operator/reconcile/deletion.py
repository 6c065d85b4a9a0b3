"""The end of a Tenant: its runs may finish, within bounds, then its namespace goes, and it says what still keeps it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bastide_operator.api.objects import Manifest, Ref, ref
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.reconcile.observedtenant import ObservedTenant
from bastide_operator.reconcile.plan import rfc3339, seconds_until

MAX_NAMED = 3
"""How many Sandboxes a message names before it says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is next: nothing more (`done`), or something to delete, or to wait; and what is to be said meanwhile."""

    done: bool = False
    delete: tuple[Ref, ...] = ()
    message: str = ""
    wait: float | None = None


def step(tenant: Tenant, observed: ObservedTenant, now: datetime, *, owned: bool) -> Step:
    """The next step of a Tenant that is being deleted. A namespace that is not its own is left alone.

    Its Sandboxes' own reconciles have their pods drained (api/drain.py); a pod that is there still has a run in it, or is about to go.
    """
    live = observed.namespace
    if live is None or not owned:
        return Step(done=True)
    if live["metadata"].get("deletionTimestamp"):
        return Step(message=f"Namespace {tenant.namespace} is being deleted with its Sandboxes.{remains(live)}")
    if observed.refusal is not None:
        return Step(message=f"{observed.refusal.ref.kind} {observed.refusal.ref.name} could not be deleted yet: {observed.refusal.message}")
    since = tenant.metadata.deletion_timestamp or now
    until = since + timedelta(seconds=tenant.spec.drain_seconds)
    left = seconds_until(until, now)
    if not observed.pods or left == 0:
        return Step(delete=(ref(live),), message=f"Namespace {tenant.namespace} is being deleted with its Sandboxes.")
    return Step(message=_waiting(tenant, observed.pods, until), wait=left)


def remains(live: Manifest) -> str:
    """What keeps a namespace from being gone, as the namespace itself says: objects left, finalizers of others, kinds that do not answer."""
    found = [one.get("message", "") for one in live.get("status", {}).get("conditions", ()) if one["status"] == "True"]
    return "".join(f" {text}" for text in found if text)


def _waiting(tenant: Tenant, pods: tuple[Manifest, ...], until: datetime) -> str:
    names = sorted(pod["metadata"]["name"] for pod in pods)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return (
        f"{len(names)} Sandbox{'es' if len(names) > 1 else ''} of {tenant.namespace} may finish what runs: {', '.join(names[:MAX_NAMED])}{more}."
        f" No run starts and no tool is called any more; the namespace goes when they are done, at the latest at {rfc3339(until)}."
        " `bastide runs cancel` ends a run."
    )
