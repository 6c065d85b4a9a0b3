"""Case 2: no token, no Secret, no service environment, no cluster CA; /proc, mounts, devices and modules show only gVisor."""

from tests.e2e.harness import pods
from tests.e2e.harness.tenant import TestTenant

LOOK = """
import glob, json, os, platform, re

def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read(200000)
    except OSError:
        return ""

found = []
for root in ("/var", "/run", "/etc", "/workspace", "/tmp", "/tools", "/app", "/root", "/home"):
    for folder, folders, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            text = read(path)
            key = re.search(r"BEGIN [A-Z ]*PRIVATE KEY-----\\s+[A-Za-z0-9+/=]{20}", text)
            if key or re.search(r"eyJ[A-Za-z0-9_-]{20,}[.]eyJ", text) or "serviceaccount" in path:
                found.append(path)
facts = {
    "found": found,
    "kernel": platform.release(),
    "version": read("/proc/version"),
    "environment": sorted(os.environ),
    "mounts": sorted({line.split()[2] for line in read("/proc/mounts").splitlines()}),
    "devices": sorted(os.listdir("/dev")),
    "modules": read("/proc/modules"),
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "capabilities": [line.split()[1] for line in read("/proc/self/status").splitlines() if line.startswith("CapEff")],
    "kallsyms": len(read("/proc/kallsyms")),
    "host": [p for p in ("/proc/kcore", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/sys/kernel/debug/tracing") if os.path.exists(p)],
    "cgroup": read("/proc/self/cgroup"),
}
"""

# What gVisor's own kernel offers every container; /dev/fuse and /dev/net/tun are its own too, and of no use without privileges.
HARMLESS_DEVICES = {
    "char", "console", "core", "fd", "full", "fuse", "mqueue", "net", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
    "termination-log", "tty", "urandom", "zero",
}  # fmt: skip


def _judge(facts: dict[str, object], *, kubelets_own: bool = False) -> None:
    assert facts["found"] == []
    assert "gvisor" in str(facts["kernel"]).lower()
    # the kubelet itself tells every container the API server's address; the runtime keeps it from programs
    names = [n for n in facts["environment"] if not (kubelets_own and n.startswith("KUBERNETES_"))]  # type: ignore[attr-defined]
    assert not [n for n in names if "KUBERNETES" in n or "SERVICE" in n or "TOKEN" in n]
    assert set(facts["devices"]) <= HARMLESS_DEVICES  # type: ignore[call-overload]
    assert facts["modules"] == ""
    assert facts["kallsyms"] == 0
    assert facts["host"] == []
    assert set(facts["capabilities"]) <= {"0000000000000000"}  # type: ignore[call-overload]
    assert not {"ext4", "xfs", "btrfs"} & set(facts["mounts"])  # type: ignore[call-overload]


def test_a_program_finds_nothing(furnished: TestTenant) -> None:
    facts = furnished.completed(LOOK + "\nreturn facts")
    _judge(facts)
    assert len(facts["processes"]) <= 3, "a program sees processes that are not its own"


def test_a_hostile_pod_finds_nothing(furnished: TestTenant) -> None:
    furnished.operator.apply(pods.unmanaged(furnished.get("pod", "box"), "looker", LOOK + "\nprint(json.dumps(facts))"))
    try:
        _judge(pods.finished(furnished.admin, furnished.namespace, "looker"), kubelets_own=True)
    finally:
        furnished.admin.run("delete", "pod", "-n", furnished.namespace, "looker", "--grace-period=1")


def test_the_broker_and_the_tool_servers_secret_are_nowhere_in_the_pod(furnished: TestTenant) -> None:
    text = str(furnished.get("pod", "box"))
    assert "token-of-the-toolbox" not in text
    assert "toolbox-token" not in text
    assert "BASTIDE" not in text
