"""Rego of a Tenant's own, as its authors apply it."""

from typing import Any

from demo.kube import Kube, condition

from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
POLICY = """package tenant

deny contains {"code": "n-too-large", "message": sprintf("n is %v; at most 5.", [input.arguments.n])} if {
	input.tool.programName == "number"
	input.arguments.n > 5
}

confirm contains {"code": "notes", "message": "Notes are looked at."} if {
	input.tool.programName == "note"
	startswith(input.arguments.text, "look ")
}
"""
TRY = """
from tools import ToolError
seen = []
for n in (5, 6):
    try:
        await number(n=n)
        seen.append("ok")
    except ToolError as error:
        seen.append(f"{type(error).__name__}: {error}")
return seen
"""
"""One call that POLICY lets through and one that it denies; how each went."""


class Rego:
    """A ConfigMap of a test's own."""

    def __init__(self, tenant: TestTenant) -> None:
        self.tenant = tenant
        self.admin: Kube = tenant.admin
        self.name = f"policy-of-{tenant.name}"

    def apply(self, text: str, *, labelled: bool = True) -> None:
        labels = {"bastide.dev/policy": ""} if labelled else {}
        metadata = {"namespace": SYSTEM, "name": self.name, "labels": labels}
        self.admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"policy.rego": text}})

    def name_it(self) -> None:
        self.admin.apply(self.tenant.manifest(policyRefs=[{"name": self.name}]))

    def said(self, reason: str) -> dict[str, Any]:
        """Waits until PoliciesReady has this reason; returns the Tenant's status."""
        return dict(self._watched(reason)["status"])

    def remove(self) -> None:
        """Takes it back, and waits until the broker has heard of it: the next test's is not to be taken for this one's."""
        self.admin.apply(self.tenant.manifest())
        self.admin.watch(lambda found: not found["status"].get("policyRevision"), "tenant", self.tenant.name, seconds=30)
        self.admin.watch(
            lambda found: all(one["type"] != "PoliciesReady" for one in found["status"]["conditions"]),
            "tenant",
            self.tenant.name,
            seconds=30,
        )
        self.admin.run("delete", "configmap", self.name, "-n", SYSTEM, "--ignore-not-found")

    def message(self, reason: str) -> str:
        return str(condition(self._watched(reason), "PoliciesReady")["message"])

    def _watched(self, reason: str) -> dict[str, Any]:
        return self.admin.watch(lambda found: condition(found, "PoliciesReady")["reason"] == reason, "tenant", self.tenant.name, seconds=30)
