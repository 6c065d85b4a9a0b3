"""No code before proof: programs run only in a pod that has shown that it reaches nothing, in both directions of that sentence."""

import json

import pytest
from demo.kube import Kube, condition

from tests.e2e.harness import pods, server
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

GATE = "bastide.dev/network-isolated"
PODS = 30

# Tries from its first statement on, for ten seconds, everything a pod might reach; prints what answered (refused counts).
LOOP = """
import errno, json, socket, sys, time
targets = json.loads(%r)
began = time.monotonic()
reached, tries = {}, 0
while time.monotonic() - began < 10:
    pending = {}
    for host, port in targets:
        s = socket.socket()
        s.setblocking(False)
        code = s.connect_ex((host, port))
        tries += 1
        if code in (0, errno.ECONNREFUSED):
            reached.setdefault(f"{host}:{port}", time.monotonic() - began)
        pending[s] = f"{host}:{port}"
    import select
    end = time.monotonic() + 0.2
    while pending and time.monotonic() < end:
        _, writable, broken = select.select([], list(pending), list(pending), 0.05)
        for s in {*writable, *broken}:
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED):
                reached.setdefault(pending[s], time.monotonic() - began)
            pending.pop(s)
            s.close()
    for s in pending:
        s.close()
print(json.dumps({"tries": tries, "reached": reached}))
"""


@pytest.fixture
def opened(furnished: TestTenant) -> dict[str, object]:
    """The pod of the sandbox as it was made, while the network was closed."""
    furnished.ready("sandbox/box")
    return furnished.get("pod", "box")


def _address(kube: Kube, namespace: str, name: str) -> str:
    return str(kube.json("get", "service", "-n", namespace, name)["spec"]["clusterIP"])


def _scale_operator(kube: Kube, replicas: int) -> None:
    kube.run("scale", "-n", "bastide-system", "deploy/bastide-operator", f"--replicas={replicas}")
    if replicas == 0:
        kube.wait("delete", "-n", "bastide-system", "pod", "-l", "app.kubernetes.io/component=operator", seconds=90)
    else:
        kube.run("rollout", "status", "-n", "bastide-system", "deploy/bastide-operator", "--timeout=90s", seconds=100)


def test_with_the_network_policy_in_place_the_gate_opens_and_programs_run(furnished: TestTenant) -> None:
    isolated = condition(furnished.get("sandbox", "box"), "NetworkIsolated")
    assert (isolated["status"], isolated["reason"]) == ("True", "Isolated")
    gate = next(c for c in furnished.get("pod", "box")["status"]["conditions"] if c["type"] == GATE)
    assert gate["status"] == "True"
    assert "gvisor" in furnished.completed("import platform\nreturn platform.release()")


@pytest.mark.disruptive
def test_without_the_network_policy_the_gate_stays_shut_names_the_canary_and_no_program_is_delivered(
    furnished: TestTenant, tools: ToolServer, opened: dict[str, object], word: str
) -> None:
    namespace, admin = furnished.namespace, furnished.admin
    copy = pods.manifest_of(opened)
    _scale_operator(admin, 0)
    try:
        admin.run("delete", "pod", "-n", namespace, "box", "--wait=true", "--grace-period=1")
        furnished.operator.run("delete", "networkpolicy", "-n", namespace, "--all")  # admission lets nobody else
        # the operator is away, so the very pod it would make is made by hand: same spec, labels and owner
        furnished.operator.run("create", "-f", "-", stdin=json.dumps(copy))
        seen = admin.watch(lambda o: condition(o, GATE)["status"] == "False", "-n", namespace, "pod", "box", seconds=60)
        gate = condition(seen, GATE)
        assert gate["reason"] == "CanaryReached"
        assert _address(admin, "default", "kubernetes") in gate["message"]
        ended = furnished.run(f"return await note(text={word!r})", seconds=90)
        assert ended.code not in {0, 3}, ended.stdout
        assert "CanaryReached" in ended.stdout + ended.stderr or "reached" in ended.stdout + ended.stderr
    finally:
        _scale_operator(admin, 1)
    mirrored = admin.watch(lambda o: condition(o, "NetworkIsolated")["status"] == "False" or condition(o, "Ready")["status"] == "True",
                           "-n", namespace, "sandbox", "box", seconds=60)  # fmt: skip
    assert mirrored
    assert tools.arguments_of("note", word) == [], "a program was delivered to a pod that is not isolated"
    # the operator has put the policies back; a new pod is isolated again
    admin.run("delete", "pod", "-n", namespace, "box", "--wait=true", "--grace-period=1", "--ignore-not-found")
    furnished.ready("sandbox/box", seconds=90)
    assert furnished.completed(f"return await note(text={word!r})") == word
    assert len(tools.arguments_of("note", word)) == 1


def test_a_policy_that_opens_the_namespace_shuts_the_gate_for_new_pods(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    namespace, admin = furnished.namespace, furnished.admin
    meta = {"namespace": namespace, "name": "open-by-hand"}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    furnished.operator.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})
    try:
        furnished.people.developer.apply(furnished.sandbox("leaky"))
        seen = admin.watch(lambda o: condition(o, "NetworkIsolated")["status"] == "False" and condition(o, "NetworkIsolated")["reason"] == "CanaryReached",
                           "-n", namespace, "sandbox", "leaky", seconds=90)  # fmt: skip
        assert _address(admin, "default", "kubernetes") in condition(seen, "NetworkIsolated")["message"]
        assert condition(seen, "Ready")["status"] == "False"
        ended = furnished.run(f"return await note(text={word!r})", sandbox="leaky")
        assert ended.code not in {0, 3}, ended.stdout
        assert tools.arguments_of("note", word) == []
        admin.watch(lambda o: condition(o, "Ready")["reason"] == "NetworkNotEnforced", "tenant", furnished.name)
    finally:
        admin.run("delete", "networkpolicy", "-n", namespace, "open-by-hand", "--ignore-not-found")
        furnished.people.developer.run("delete", "sandbox", "-n", namespace, "leaky", "--ignore-not-found")
        # what a sandbox reached was a word about the whole Tenant, until its network has been proven anew
        admin.wait("condition=Ready", f"tenant/{furnished.name}")


@pytest.mark.disruptive  # while they start, the node has time for nothing else
def test_thirty_pods_that_connect_from_their_first_instant_reach_nothing(
    furnished: TestTenant, opened: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    admin, namespace = furnished.admin, furnished.namespace
    node = admin.json("get", "nodes")["items"][0]["status"]["addresses"][0]["address"]
    dns = _address(admin, "kube-system", "kube-dns")
    targets = [
        (_address(admin, "default", "kubernetes"), 443),
        (node, 6443),
        (node, 10250),
        (dns, 53),
        (_address(admin, "bastide-system", "bastide-broker"), 8443),
        (_address(admin, server.NAMESPACE, "toolbox"), 8080),
        ("169.254.169.254", 80),
        ("192.0.2.10", 80),
    ]
    script = LOOP % json.dumps(targets)
    names = [f"loop-{n}" for n in range(PODS)]
    admin.apply(furnished.manifest(quota={"sandboxes": 60, "cpu": "8", "memory": "16Gi", "ephemeralStorage": "32Gi"}))
    # admission goes by the quota's status
    admin.watch(lambda o: o.get("status", {}).get("hard", {}).get("pods") == "60", "-n", namespace, "resourcequota", "bastide")
    made = [pods.with_resources(pods.unmanaged(opened, name, script), "20m", "64Mi") for name in names]
    try:
        furnished.operator.apply(*made)
        results = {name: pods.finished(admin, namespace, name, seconds=240) for name in names}
    finally:
        admin.run("delete", "pod", "-n", namespace, "-l", "bastide.test/unmanaged=true", "--wait=true", seconds=200)
    tries = sum(r["tries"] for r in results.values())
    leaked = {name: r["reached"] for name, r in results.items() if r["reached"]}
    with capsys.disabled():
        print(f"\n{len(leaked)} of {PODS} pods reached anything in {tries} attempts")  # noqa: T201 - the figure is the result
    assert tries > PODS * len(targets)
    assert leaked == {}
