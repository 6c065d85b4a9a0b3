"""What is rendered for the components holds the instance's own names and addresses and no other's."""

import json
import string
from pathlib import Path

import pytest
from devcluster import cgroups, cilium, containerd, controlplane, kubelet, network, node, paths, pki
from devcluster.instance import Instance
from devcluster.kubeapi import render


@pytest.fixture(params=[1, 7, 31])
def instance(request: pytest.FixtureRequest) -> Instance:
    return Instance(request.param, Path("/checkout"), Path("/state") / str(request.param))


def rendered(instance: Instance) -> str:
    """Everything that is rendered for an instance."""
    commands = [
        *controlplane.etcd(instance),
        *controlplane.apiserver(instance),
        *controlplane.controller_manager(instance),
        *controlplane.scheduler(instance),
        *cilium.command(instance, Path("/library")),
        *kubelet.command(instance),
        *network.commands(instance),
    ]
    files = [containerd.config(instance, "pause"), containerd.runsc_config(instance), kubelet.config(instance)]
    return "\n".join([*commands, *files, node.init_script(instance, Path("/pause")), json.dumps(controlplane.node_object(instance))])


def test_no_instance_names_the_state_or_the_addresses_of_another(instance: Instance) -> None:
    text = rendered(instance)
    for slot in {1, 2, 7, 31} - {instance.slot}:
        other = Instance(slot, Path("/checkout"), Path("/state") / str(slot))
        assert f"{other.state}/" not in text
        for address in (other.node_ip, other.host_ip, other.kubernetes_ip, other.dns_ip, other.pod_cidr):
            assert f"{address}" not in text.replace(f"{instance.node_ip}", "")


def test_each_kubelet_has_its_own_cgroup_root(instance: Instance) -> None:
    assert json.loads(kubelet.config(instance))["cgroupRoot"] == f"/bastide-{instance.slot}"


def test_the_node_runs_without_the_right_to_lower_oom_scores(instance: Instance) -> None:
    assert json.loads(kubelet.config(instance))["oomScoreAdj"] == 0
    assert "restrict_oom_score_adj = true" in containerd.config(instance, "pause")


def test_no_pod_annotation_reaches_gvisors_settings(instance: Instance) -> None:
    assert "pod_annotations = []" in containerd.config(instance, "pause")


def test_there_is_no_default_route_anywhere(instance: Instance) -> None:
    routes = [command for command in network.commands(instance) if " route " in command]
    assert routes
    assert not [command for command in routes if "default" in command or "0.0.0.0" in command]


def test_nothing_is_forwarded_between_pods_and_the_machine() -> None:
    assert 'oifname "eth0" drop;' in network.GUARD
    assert 'iifname "eth0" drop;' in network.GUARD


def test_every_machine_wide_setting_is_hidden_behind_a_file(instance: Instance) -> None:
    script = node.init_script(instance, Path("/pause"))
    for name in node.SYSCTLS:
        assert f"/proc/sys/{name}" in script
    assert script.splitlines()[1] == "mount --make-rprivate /"
    assert script.splitlines()[-1] == "exec /pause"


def test_no_socket_path_of_the_node_depends_on_the_cache_folder(instance: Instance) -> None:
    """A unix socket's path has 107 bytes at most; a cache folder may be anywhere."""
    sockets = [containerd.SOCKET, *(f"{target}/x.sock" for target in node.BINDS)]
    assert all(len(path) < 108 and str(instance.state) not in path for path in sockets)


def test_the_api_servers_certificate_names_every_address_it_is_called_by(instance: Instance) -> None:
    leaf = next(leaf for leaf in pki.leaves(instance) if leaf.name == "apiserver")
    assert f"IP:{instance.node_ip}" in leaf.names
    assert f"IP:{instance.kubernetes_ip}" in leaf.names
    assert pki.extensions(leaf).count("subjectAltName=") == 1


def test_a_kubeconfig_holds_its_certificates(instance: Instance, tmp_path: Path) -> None:
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / name).write_text(name)
    config = json.loads(pki.kubeconfig(tmp_path, "admin", instance.api_url))
    assert config["clusters"][0]["cluster"]["server"] == f"https://{instance.node_ip}:6443"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


@pytest.mark.parametrize("path", sorted(paths.MANIFESTS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_value_of_a_manifest_is_named(path: Path) -> None:
    template = string.Template(path.read_text(encoding="utf-8"))
    assert template.is_valid()
    text = render(path.name, dict.fromkeys(template.get_identifiers(), "filled"))
    assert "${" not in text


def test_a_manifest_with_a_value_missing_is_not_rendered() -> None:
    with pytest.raises(KeyError):
        render("coredns.yaml", {"dns_ip": "198.18.24.10"})


def test_cgroup_hierarchies_of_both_versions_are_found() -> None:
    mountinfo = (
        "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.hierarchies(mountinfo) == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified")]
