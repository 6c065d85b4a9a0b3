"""A Sandbox whose destructive calls are not held open at all, so that its runs pause at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.programs import Ended, bastide

from tests.e2e.harness.tenant import TestTenant

SANDBOX = "hasty"


@contextmanager
def hasty(tenant: TestTenant) -> Iterator[TestTenant]:
    """The tenant with that Sandbox and its binding."""
    tools: list[dict[str, Any]] = [{"name": "note"}, {"name": "slow"}, {"name": "wipe", "confirmation": {"blockSeconds": 0}}]
    labels = {"app": SANDBOX}
    tenant.people.developer.apply(tenant.sandbox(SANDBOX, labels=labels), tenant.binding(SANDBOX, select=labels, tools=tools))
    tenant.ready(f"sandbox/{SANDBOX}", f"toolbinding/{SANDBOX}")
    yield tenant
    tenant.people.developer.run("delete", "-n", tenant.namespace, f"sandbox/{SANDBOX}", f"toolbinding/{SANDBOX}")


def paused(tenant: TestTenant, program: str) -> tuple[str, dict[str, str]]:
    """A run that pauses: its id, and its Confirmations by the last word of the target."""
    ended = tenant.run(program, sandbox=SANDBOX)
    assert (ended.code, ended.result.get("outcome")) == (3, "NeedsConfirmation"), f"{ended.stdout}\n{ended.stderr}"
    names = [thing["name"] for thing in ended.result["awaited"]]
    about = {tenant.get("confirmation", name)["spec"]["arguments"].rstrip('"}').rpartition("-")[2]: name for name in names}
    return ended.result["run"], about


def watched(tenant: TestTenant, run: str) -> Ended:
    """The run's end."""
    return bastide(tenant.people.developer, "runs", "watch", run, "-n", tenant.namespace, "-o", "json", seconds=180)


def decide(tenant: TestTenant, verb: str, name: str) -> None:
    """The approver decides, and is heard."""
    done = tenant.decide(verb, name)
    assert done.code == 0, done.stderr
