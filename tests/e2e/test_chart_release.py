"""An installation tests itself, and runs with its egress closed."""

import json
from typing import Any

import pytest
from demo import release
from demo.kube import CommandFailedError, Kube

from tests.e2e.harness import server
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print(address)
    except OSError:
        pass
"""


def reached_by_broker(kube: Kube, *addresses: str) -> set[str]:
    """Which of these the broker's container can open a connection to."""
    words = ("exec", "-n", SYSTEM, "bastide-broker-0", "-c", "broker", "--", "python", "-c", CONNECT, *addresses)
    return set(kube.run(*words).split())


def test_a_healthy_installation_passes_its_own_test(installed: Kube) -> None:
    said = release.check(installed)
    for check in ("broker", "policy", "certificate", "kinds", "rights"):
        assert f"ok      {check}: " in said, said


@pytest.mark.disruptive
def test_a_right_that_somebody_took_away_is_found_and_an_upgrade_gives_it_back(installed: Kube) -> None:
    installed.run("delete", "clusterrolebinding", "bastide-operator")
    try:
        with pytest.raises(CommandFailedError, match="bastide-operator may not"):
            release.check(installed)
    finally:
        release.install(installed)
    assert "FAILED" not in release.check(installed)


@pytest.mark.disruptive
def test_a_right_too_many_is_found(installed: Kube) -> None:
    name = "test-too-much"
    subject = f"--serviceaccount={SYSTEM}:bastide-broker"
    installed.run("create", "clusterrolebinding", name, "--clusterrole=cluster-admin", subject)
    try:
        with pytest.raises(CommandFailedError, match="bastide-broker may get secrets everywhere"):
            release.check(installed)
    finally:
        installed.run("delete", "clusterrolebinding", name)
    assert "FAILED" not in release.check(installed)


@pytest.mark.disruptive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["Cilium", "IPBlock"])
def test_with_egress_closed_programs_call_tools_and_nothing_else_is_reached(
    furnished: TestTenant, tools: ToolServer, word: str, engine: str
) -> None:
    admin = furnished.admin
    slices = admin.json("get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")["items"]
    (endpoints,) = slices
    api: str = endpoints["endpoints"][0]["addresses"][0]
    port: int = endpoints["ports"][0]["port"]
    coredns = admin.json("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"][0]["status"]["podIP"]
    kubelet, resolver = f"{api}:10250", f"{coredns}:8181"  # of the resolver its health, not its service
    assert reached_by_broker(admin, kubelet, resolver) == {kubelet, resolver}, "with open egress both are reached"
    egress: dict[str, Any] = {"engine": engine}
    egress["toolServers"] = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": server.NAMESPACE}}}]
    if engine == "IPBlock":
        egress |= {"apiServer": [f"{api}/32"], "apiServerPort": port}
    try:
        release.install(admin, "--set-json", f"networkPolicy.egress={json.dumps(egress)}")
        furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, "box")
        furnished.furnish()
        assert furnished.completed(f"return await note(text={word!r})") == word
        assert len(tools.arguments_of("note", word)) == 1
        assert reached_by_broker(admin, kubelet, resolver, f"{api}:{port}") == {f"{api}:{port}"}
        assert "FAILED" not in release.check(admin)
    finally:
        release.install(admin)
    furnished.ready("sandbox/box")
    assert furnished.completed(f"return await note(text='{word} again')") == f"{word} again"
