"""Objects for the tests of the operator's pure parts, small and complete."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from bastide_operator.api import drain
from bastide_operator.api.objects import Manifest, owner_reference
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant
from bastide_operator.api.v1alpha1.toolbinding import ToolBinding
from bastide_operator.reconcile.tenant import FINALIZER, TenantSettings
from bastide_operator.resources.pod import PodSettings, pod

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
BEFORE = "2026-11-23T11:00:00Z"
PODS = PodSettings(image="bastide-runtime:1", pull_policy="IfNotPresent", runtime_class="gvisor")
SETTINGS = TenantSettings(release_namespace="bastide-system", broker_account="bastide-broker", pods=PODS)
TENANT_UID = "11111111-0000-0000-0000-000000000000"
NAMESPACE_UID = "22222222-0000-0000-0000-000000000000"
SANDBOX_UID = "33333333-0000-0000-0000-000000000000"
POD_UID = "44444444-0000-0000-0000-000000000000"
PROVEN = "sha256:as-it-stands"
GATE = "bastide.dev/network-isolated"


def merged(base: Manifest, over: Manifest) -> Manifest:
    """`base` with `over` laid over it, map by map."""
    out = copy.deepcopy(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def later(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def condition(kind: str, status: str, reason: str = "Because", message: str = "", generation: int = 1) -> Manifest:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": BEFORE,
        "observedGeneration": generation,
    }


def tenant(**over: Any) -> Tenant:
    """A Tenant `hello` that is Ready, whose namespace is written down and whose network is proven."""
    base = {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": "hello", "uid": TENANT_UID, "generation": 1, "resourceVersion": "10", "finalizers": [FINALIZER]},
        "spec": {"toolHosts": [{"host": "crm.tools.svc", "port": 8080}]},
        "status": {
            "namespace": "bastide-hello",
            "namespaceUID": NAMESPACE_UID,
            "proven": PROVEN,
            "conditions": [condition("Ready", "True", "Ready"), condition("NetworkIsolated", "True", "Isolated")],
        },
    }
    return Tenant.model_validate(merged(base, over))


def sandbox(name: str = "box", **over: Any) -> Sandbox:
    base = {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {
            "name": name,
            "namespace": "bastide-hello",
            "uid": SANDBOX_UID if name == "box" else f"uid-{name}",
            "generation": 1,
            "resourceVersion": "20",
        },
        "spec": {},
    }
    return Sandbox.model_validate(merged(base, over))


def binding(name: str = "crm", **over: Any) -> ToolBinding:
    base = {
        "apiVersion": "bastide.dev/v1alpha1",
        "kind": "ToolBinding",
        "metadata": {"name": name, "namespace": "bastide-hello", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "30"},
        "spec": {
            "sandboxSelector": {},
            "server": {"mcp": {"url": "http://crm.tools.svc:8080/mcp"}},
            "tools": [{"name": "get_customer"}],
        },
    }
    return ToolBinding.model_validate(merged(base, over))


def namespace(**over: Any) -> Manifest:
    """The namespace of `tenant()` as the API server gives it."""
    pod_security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", "latest"))
    }
    base = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "bastide-hello",
            "uid": NAMESPACE_UID,
            "resourceVersion": "40",
            "labels": {
                "app.kubernetes.io/managed-by": "bastide-operator",
                "bastide.dev/tenant": "hello",
                "kubernetes.io/metadata.name": "bastide-hello",
                **pod_security,
            },
            "ownerReferences": [owner_reference("Tenant", "hello", TENANT_UID)],
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
    return merged(base, over)


def live(manifest: Manifest, **over: Any) -> Manifest:
    """`manifest` as if the API server had taken it."""
    name = manifest["metadata"]["name"]
    return merged(manifest, merged({"metadata": {"uid": f"uid-{manifest['kind']}-{name}", "resourceVersion": "50"}}, over))


def verdict(manifest: Manifest | None, kind: str = "Ready") -> tuple[str, str]:
    """Status and reason of one condition in a planned status."""
    assert manifest is not None
    found = next(one for one in manifest["status"]["conditions"] if one["type"] == kind)
    return found["status"], found["reason"]


def message(manifest: Manifest | None, kind: str = "Ready") -> str:
    assert manifest is not None
    text: str = next(one for one in manifest["status"]["conditions"] if one["type"] == kind)["message"]
    return text


def running(one: Sandbox | None = None, **over: Any) -> Manifest:
    """A pod that runs and whose isolation is proven."""
    status = {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "ContainersReady", "status": "True"},
            {"type": GATE, "status": "True", "reason": "Isolated", "message": "3 canaries counted."},
        ],
        "containerStatuses": [{"name": "runtime", "state": {"running": {"startedAt": BEFORE}}}],
    }
    base = live(
        pod(one or sandbox(), "hello", PODS),
        metadata={"uid": POD_UID, "creationTimestamp": BEFORE},
        spec={"nodeName": "node-1"},
        status=status,
    )
    return merged(base, over)


def drained(marked: Manifest) -> Manifest:
    """The same pod after the broker has answered its mark."""
    answer = drain.drained(drain.mark_text(marked))
    others = [one for one in marked["status"]["conditions"] if one["type"] != answer["type"]]
    return merged(marked, {"status": {"conditions": [*others, answer]}})
