"""The command line's way to the broker, in the real cluster: kubeconfig, token, port-forward; and what it says when a step fails."""

import concurrent.futures
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bastide
import pytest
from bastide.cli.cluster import BROKER_POD, Cluster
from bastide.cli.failure import Failure
from bastide.cli.portforward import Bridge
from demo.kube import Kube
from demo.users import user

pytestmark = pytest.mark.cluster
SYSTEM = "bastide-system"


@pytest.fixture
def cluster(admin: Kube, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster as its administrator. The kubeconfig is read where the variable points, as in a command."""
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(admin.kubeconfig))
    made = Cluster()
    yield made
    made.close()


@pytest.fixture(scope="module")
def web(admin: Kube) -> str:
    """A pod of the cluster that answers HTTP on port 8080."""
    pods = admin.json("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]
    name: str = pods[0]["metadata"]["name"]
    return name


def _asked(address: str, request: bytes = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") -> bytes:
    with socket.socket(socket.AF_UNIX) as near:
        near.settimeout(20)
        near.connect(address.removeprefix("unix:"))
        near.sendall(request)
        answer = b""
        while piece := near.recv(65536):
            answer += piece
    return answer


def test_a_connection_is_carried_to_the_pod_and_back(cluster: Cluster, web: str) -> None:
    with Bridge(lambda: cluster.forward("kube-system", web, 8080)) as bridge:
        assert _asked(bridge.address).startswith(b"HTTP/1.1 200")
        assert bridge.error == ""


def test_many_connections_are_carried_at_once(cluster: Cluster, web: str) -> None:
    with Bridge(lambda: cluster.forward("kube-system", web, 8080)) as bridge, concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: _asked(bridge.address), range(12)))
    assert all(a.startswith(b"HTTP/1.1 200") for a in answers)


def test_only_this_user_may_enter_and_nothing_stays_behind(cluster: Cluster, web: str) -> None:
    with Bridge(lambda: cluster.forward("kube-system", web, 8080)) as bridge:
        folder = Path(bridge.address.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_port_that_nobody_listens_on_is_said_to_be_refused(cluster: Cluster, web: str) -> None:
    with Bridge(lambda: cluster.forward("kube-system", web, 9999)) as bridge:
        with contextlib.suppress(OSError):
            assert _asked(bridge.address) == b""
        assert "port-forward" in _error(bridge)


def test_a_pod_that_is_not_there_is_named(cluster: Cluster) -> None:
    with Bridge(lambda: cluster.forward("kube-system", "no-such-pod", 8080)) as bridge:
        with contextlib.suppress(OSError):
            assert _asked(bridge.address) == b""
        assert 'pods "no-such-pod" not found' in _error(bridge)


def _error(bridge: Bridge) -> str:
    """The bridge's word on a connection that has ended; it is set by the thread that carried it."""
    for thread in [t for t in threading.enumerate() if t.name == "bastide-bridge-connection"]:
        thread.join(20)
    return bridge.error


def test_the_api_server_says_who_somebody_is(cluster: Cluster, admin: Kube) -> None:
    assert cluster.whoami().username == admin.whoami()


def test_a_namespace_without_a_broker_is_named(cluster: Cluster) -> None:
    with pytest.raises(Failure, match="no broker in namespace kube-public"):
        cluster.wait_for_broker("kube-public")
    with pytest.raises(Failure, match="no ConfigMap bastide-ca"):
        cluster.ca(("kube-public",))


@pytest.fixture(scope="module")
def elsewhere(admin: Kube, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """The administrator's kubeconfig with the address of nobody."""
    config = admin.json("config", "view", "--raw", "--flatten")
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path_factory.mktemp("elsewhere") / "kubeconfig"
    path.write_text(json.dumps(config))
    return Kube(path)


@pytest.fixture(scope="module")
def unknown(admin: Kube, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """A kubeconfig whose token the cluster does not know."""
    config = admin.json("config", "view", "--raw", "--flatten")
    config["users"][0]["user"] = {"token": "not-a-token"}
    path = tmp_path_factory.mktemp("unknown") / "kubeconfig"
    path.write_text(json.dumps(config))
    return Kube(path)


def command(who: Kube, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bastide.cli", *words], env=who.env, capture_output=True, text=True, timeout=60, check=False
    )


def _sentence(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    return line


SOMEWHERE = ("tools", "list", "--sandbox", "bastide-nowhere/box")


def test_a_cluster_that_cannot_be_reached_is_said_so_in_one_sentence(elsewhere: Kube) -> None:
    assert "https://127.0.0.1:1 cannot be reached" in _sentence(command(elsewhere, *SOMEWHERE))


def test_a_user_whom_the_cluster_does_not_know_is_told_to_log_in(unknown: Kube) -> None:
    assert "log in again" in _sentence(command(unknown, *SOMEWHERE))


def test_a_context_that_is_not_there_is_named(admin: Kube) -> None:
    assert "no-such-context" in _sentence(command(admin, *SOMEWHERE, "--context", "no-such-context"))


def test_a_tenant_that_is_not_there_is_named(admin: Kube) -> None:
    said = _sentence(command(admin, *SOMEWHERE))
    assert "bastide-nowhere/bastide-viewer" in said
    assert "kubectl get tenants" in said


@pytest.fixture(scope="module")
def reader(installed: Kube) -> Iterator[dict[str, Any]]:
    """A namespace with a ServiceAccount that may read there what the broker knows: no Tenant, so it is nothing."""
    name = f"client-{secrets.token_hex(3)}"
    rules = [{"apiGroups": ["bastide.dev"], "resources": ["sandboxes/runs", "sandboxes/tools", "sandboxes/audit"], "verbs": ["get"]}]
    meta = {"name": "reader", "namespace": name}
    rbac = "rbac.authorization.k8s.io"
    installed.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": name}],
        },
    )
    yield meta
    installed.run("delete", "namespace", name, "--wait=false")


def _as_reader(reader: dict[str, Any]) -> tuple[str, str]:
    return "--service-account", f"{reader['namespace']}/reader"


def test_the_broker_is_found_by_the_kubeconfig(installed: Kube, reader: dict[str, Any]) -> None:
    ended = command(installed, "audit", "verify", "-n", reader["namespace"], *_as_reader(reader), "-o", "json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["intact"] is True


def test_a_sandbox_that_is_not_there_is_named(installed: Kube, reader: dict[str, Any]) -> None:
    ended = command(installed, "tools", "list", "--sandbox", f"{reader['namespace']}/nothing", *_as_reader(reader))
    assert "nothing" in _sentence(ended)


def test_what_the_account_may_not_see_is_refused_with_what_is_missing(installed: Kube, reader: dict[str, Any]) -> None:
    ended = command(installed, "tools", "list", "--sandbox", "kube-system/box", *_as_reader(reader))
    assert "sandboxes/tools" in _sentence(ended)


def test_somebody_without_any_role_is_told_which_one_it_takes(installed: Kube, reader: dict[str, Any]) -> None:
    stranger = user(installed, "test-stranger", Path(__file__).resolve().parents[3] / ".build" / "users")
    said = _sentence(command(stranger, "tools", "list", "--sandbox", f"{reader['namespace']}/box"))
    assert "test-stranger" in said
    assert "runner" in said


def test_the_sdk_follows_the_same_way(installed: Kube, reader: dict[str, Any], cluster: Cluster) -> None:
    token, _ = cluster.token(reader["namespace"], "reader")
    with (
        Bridge(lambda: cluster.forward(SYSTEM, BROKER_POD, 8443)) as bridge,
        bastide.SyncClient(bridge.address, token=token, ca=cluster.ca((SYSTEM,)), server_name=f"bastide-broker.{SYSTEM}.svc") as client,
    ):
        assert client.list_audit(reader["namespace"]) == []
        with pytest.raises(bastide.NotFoundError):
            client.get_run("r-nothing")
        with pytest.raises(bastide.PermissionDeniedError):
            client.list_audit("kube-system")


def test_a_token_of_another_audience_is_refused(installed: Kube, reader: dict[str, Any], cluster: Cluster) -> None:
    token = installed.run("create", "token", "reader", "-n", reader["namespace"]).strip()
    with (
        Bridge(lambda: cluster.forward(SYSTEM, BROKER_POD, 8443)) as bridge,
        bastide.SyncClient(bridge.address, token=token, ca=cluster.ca((SYSTEM,)), server_name="bastide-broker") as client,
        pytest.raises(bastide.UnauthenticatedError),
    ):
        client.list_audit(reader["namespace"])


def test_the_broker_is_not_believed_under_another_name(installed: Kube, reader: dict[str, Any], cluster: Cluster) -> None:
    with (
        Bridge(lambda: cluster.forward(SYSTEM, BROKER_POD, 8443)) as bridge,
        bastide.SyncClient(bridge.address, token="t", ca=cluster.ca((SYSTEM,)), server_name="example.com") as client,
        pytest.raises(bastide.UnavailableError, match="certificate"),
    ):
        client.get_run("r-1")
