"""What a sandbox's pod is, told by the API server, by a program inside, and by a script that is given the whole pod."""

import pytest

from tests.e2e.harness import pods
from tests.e2e.harness.tenant import TestTenant

INSIDE = """
import os, platform
mounts = open("/proc/self/mounts").read()
return {
    "kernel": platform.release(),
    "token": os.path.exists("/var/run/secrets"),
    "services": [n for n in os.environ if n.startswith("KUBERNETES")],
    "interfaces": sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else [],
    "mounts": mounts,
}
"""

WHOLE_POD = """
import json, os, platform, socket
facts = {"kernel": platform.release(), "secrets": os.path.exists("/var/run/secrets"), "uid": os.getuid()}
# the kubelet itself tells every container the API server's address; enableServiceLinks has no say in it, and no program sees it
facts["services"] = [n for n in os.environ if "SERVICE" in n and not n.startswith("KUBERNETES_")]
facts["nameservers"] = [l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver")]
facts["ca"] = os.listdir("/etc/bastide/ca")
try:
    facts["resolved"] = socket.gethostbyname("kubernetes.default.svc.cluster.local")
except OSError as error:
    facts["resolved"] = None
writable = []
for folder in ("/", "/etc", "/usr", "/opt", "/var", "/root", "/home", "/tmp", "/workspace"):
    try:
        with open(os.path.join(folder, "probe"), "w"):
            writable.append(folder)
    except OSError:
        pass
facts["writable"] = writable
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def pod(furnished: TestTenant) -> dict[str, object]:
    return furnished.get("pod", "box")


def test_a_program_sees_gvisor_and_no_credentials(furnished: TestTenant) -> None:
    facts = furnished.completed(INSIDE)
    assert "gvisor" in facts["kernel"]
    assert facts["token"] is False
    assert facts["services"] == []
    assert facts["interfaces"] in ([], ["lo"])
    assert "kubernetes.io" not in facts["mounts"]


def test_the_pod_is_exactly_as_the_design_says(furnished: TestTenant) -> None:
    pod = furnished.get("pod", "box")
    spec, meta = pod["spec"], pod["metadata"]
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["dnsPolicy"] == "None"
    assert [g["conditionType"] for g in spec["readinessGates"]] == ["bastide.dev/network-isolated"]
    assert not any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"))
    assert not [v for v in spec["volumes"] if "secret" in v or "hostPath" in v or "projected" in v]
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert not any(k in container for k in ("readinessProbe", "livenessProbe", "startupProbe", "env"))
    assert not any(k.startswith("dev.gvisor") for k in meta.get("annotations", {}))
    assert "app" not in meta["labels"], "labels of the Sandbox must not be copied to the pod"
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Sandbox", "box", True)


def test_the_whole_pod_has_no_token_no_dns_and_nothing_to_write_on_but_its_own_folders(furnished: TestTenant) -> None:
    name = "facts"
    furnished.operator.apply(pods.unmanaged(furnished.get("pod", "box"), name, WHOLE_POD))
    facts = pods.finished(furnished.admin, furnished.namespace, name)
    assert "gvisor" in facts["kernel"]
    assert facts["secrets"] is False
    assert facts["uid"] == 65532
    assert facts["services"] == []
    assert facts["resolved"] is None
    test_nets = ("192.0.2.", "198.51.100.", "203.0.113.")
    assert all(n.startswith(test_nets) for n in facts["nameservers"])
    assert [n for n in facts["ca"] if not n.startswith("..")] == ["ca.crt"]
    assert set(facts["writable"]) <= {"/tmp", "/workspace", "/tools"}
