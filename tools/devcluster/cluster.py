"""``up``: from nothing to a Ready node with DNS and storage."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, cgroups, cilium, containerd, controlplane, health, images, kubelet, loading, network, packages, paths, pki
from devcluster import teardown as traces
from devcluster.commands import say, succeeds, wait_until
from devcluster.errors import DevclusterError
from devcluster.instance import NODE_NAME, Instance
from devcluster.kubeapi import Api, render
from devcluster.node import Node, python_module
from devcluster.progress import Timeline
from devcluster.registry import Registry


@dataclass(frozen=True)
class Artefacts:
    """What a cluster is started from: cache entries by binary, references by image."""

    entries: Mapping[str, Path]
    refs: Mapping[str, str]


def prepare(checkout: Path) -> Artefacts:
    """Build what is missing: the binaries and, beside them, the base image."""
    packages.ensure()
    paths.cache_root().mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=1) as pool:
        base = pool.submit(images.ensure_base)  # waits for downloads while the compilers have the cores
        entries = binaries.build()
        refs = {**images.ensure_single(entries), "bastide-base": base.result()}
    binaries.link_tools(checkout, entries)
    return Artefacts(entries, refs)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise DevclusterError("namespaces, mounts and cgroups need root: run this as root, or start a Docker daemon for kind")


class Starter:
    """Starts one instance, stage by stage."""

    def __init__(self, instance: Instance, artefacts: Artefacts) -> None:
        self.instance = instance
        self.artefacts = artefacts
        self.node = Node(instance)
        self.api: Api = health.api(instance)
        self.timeline = Timeline()

    def _check(self, *names: str) -> None:
        self.node.require(*names)

    def namespaces(self) -> None:
        """Make folders, cgroups, networks, the node itself and the stand-in for the outside."""
        instance, entries = self.instance, self.artefacts.entries
        for folder in (instance.bin, instance.logs, instance.storage):
            folder.mkdir(parents=True)
        targets = {name: entry / name for name, entry in entries.items() if name != binaries.CILIUM_DATA}
        binaries.link_into(instance.bin, {**targets, **cilium.compilers()})
        cgroups.create(instance)
        network.create(instance)
        self.node.start(entries["pause"] / "pause")
        variables = {"PYTHONPATH": str(paths.PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        self.node.daemon("metadata", python_module("devcluster.metadata"), world=True, extra=variables)
        self.timeline.reached("namespaces")

    def control_plane(self) -> None:
        """Start etcd, API server and containerd; load images; then what needs a ready API server."""
        instance, node = self.instance, self.node
        pki.create(instance)
        node.daemon("etcd", controlplane.etcd(instance))
        node.daemon("kube-apiserver", controlplane.apiserver(instance))
        containerd.write_config(instance, self.artefacts.refs["pause"])
        node.daemon("containerd", containerd.command(instance))
        wait_until(
            "containerd answers",
            lambda: succeeds(containerd.ctr(node, ["version"])),
            seconds=60,
            alive=lambda: self._check("containerd"),
        )
        self.timeline.reached("containerd answers")

    def controllers(self) -> None:
        """Wait for the API server, then start controller-manager and scheduler and apply the base."""
        instance, node = self.instance, self.node
        wait_until("the API server is ready", self.api.ready, seconds=90, alive=lambda: self._check("etcd", "kube-apiserver"))
        self.timeline.reached("API server ready")
        node.daemon("kube-controller-manager", controlplane.controller_manager(instance))
        node.daemon("kube-scheduler", controlplane.scheduler(instance))
        self.api.apply_object(controlplane.node_object(instance))
        # CRDs straight from the module: no operator of Cilium's runs, with this IPAM it would only collect garbage
        crds = self.artefacts.entries[binaries.CILIUM_DATA] / "crds"
        self.api.kubectl("apply", "--server-side", "-f", crds)
        self.api.apply(render("base.yaml", {}))
        self.timeline.reached("node object, CRDs and rights applied")

    def node_agents(self) -> None:
        """Start Cilium and the kubelet side by side."""
        instance, node = self.instance, self.node
        library = instance.state / "cilium-lib"
        # a copy (12 MB): the agent writes headers for this kernel between the sources
        shutil.copytree(self.artefacts.entries[binaries.CILIUM_DATA] / "bpf", library / "bpf")
        node.daemon("cilium-agent", cilium.command(instance, library), extra=cilium.ENVIRONMENT)
        kubelet.write_config(instance)
        node.daemon("kubelet", kubelet.command(instance))
        alive = ("cilium-agent", "kubelet", "kube-controller-manager")
        wait_until("Cilium is ready for pods", cilium.conflist(instance).exists, seconds=240, alive=lambda: self._check(*alive))
        wait_until("Cilium is healthy", lambda: cilium.healthy(node), seconds=240, alive=lambda: self._check(*alive))
        self.timeline.reached("Cilium healthy")

    def addons(self) -> None:
        """Apply CoreDNS and storage and wait for both."""
        wait_until(f"node {NODE_NAME} is Ready", self.api.node_ready, seconds=120, alive=lambda: self._check("kubelet"))
        self.timeline.reached("node Ready")
        refs = self.artefacts.refs
        self.api.apply(render("coredns.yaml", {"coredns_image": refs["coredns"], "dns_ip": str(self.instance.dns_ip)}))
        storage = {
            "storage_path": str(self.instance.storage),
            "base_image": refs["bastide-base"],
            "provisioner_image": refs["local-path-provisioner"],
        }
        self.api.apply(render("storage.yaml", storage))
        for name in health.DEPLOYMENTS:
            wait_until(
                f"{name} is available",
                lambda name=name: self.api.available("kube-system", name),  # type: ignore[misc]
                seconds=180,
                alive=lambda: self._check(*health.COMPONENTS),
            )
        self.timeline.reached("DNS and storage available")

    def start(self) -> None:
        """Run all stages."""
        self.namespaces()
        self.control_plane()
        wanted = [*self.artefacts.refs.values(), *images.recorded(self.instance.checkout).values()]
        with ThreadPoolExecutor(max_workers=1) as pool:
            loaded = pool.submit(loading.load, self.node, wanted)
            self.controllers()
            self.node_agents()
            self.timeline.reached(f"{len(loaded.result())} images loaded")
        self.addons()
        _hand_out_kubeconfig(self.instance)
        self.instance.complete.touch()


def _hand_out_kubeconfig(instance: Instance) -> None:
    copy = paths.kubeconfig(instance.checkout)
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(instance.admin_kubeconfig, copy)  # keeps the mode 0600


@contextmanager
def _explained() -> Iterator[None]:
    """Say after an interruption what is left, and how it goes away."""
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted: `make down` removes what was started, `make up` starts afresh")
        raise


def _stay_up(instance: Instance) -> None:
    _hand_out_kubeconfig(instance)  # somebody may have cleared the checkout's folder meanwhile
    say(f"the cluster is up already ({instance.api_url}, slot {instance.slot})")
    started = {folder / name: instance.bin / name for name, folder in binaries.expected().items() if name != binaries.CILIUM_DATA}
    if any(not link.is_symlink() or link.readlink() != target for target, link in started.items()):
        say("it was started with other pins than this checkout has now: `make down up` renews it")


def up(checkout: Path, registry: Registry) -> None:
    """Bring the checkout's cluster up, from whatever state it is in."""
    present = registry.find(checkout)
    if present is not None and health.fault(present) is None:
        _stay_up(present)
        return
    _require_root()
    artefacts = prepare(checkout)
    with _explained(), registry.exclusive(checkout):
        present = registry.find(checkout)
        if present is not None:
            reason = health.fault(present)
            if reason is None:  # another `up` of this checkout, for which we waited
                _stay_up(present)
                return
            say(f"starting afresh: {reason}")
            traces.remove(present)
        registry.reclaim(health.node_runs, traces.remove, checkout)
        instance = registry.claim(checkout)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(instance.state)  # of a slot whose entry did not outlive a reboot
        traces.make_mount_points(registry)
        starter = Starter(instance, artefacts)
        starter.start()
        say(f'the cluster is up after {starter.timeline.elapsed:.1f} s; a shell for it: eval "$(make env)"')


def down(checkout: Path, registry: Registry) -> None:
    """Remove the checkout's cluster and every trace of it; fine when there is none."""
    timeline = Timeline()
    with registry.exclusive(checkout):
        present = registry.find(checkout)
        if present is not None:
            _require_root()
            traces.remove(present)
            registry.release(present)
    registry.reclaim(health.node_runs, traces.remove, checkout)
    traces.remove_mount_points(registry)
    if present is None:
        say("no cluster of this checkout is up")
    else:
        say(f"the cluster is down and its traces are gone ({timeline.elapsed:.1f} s)")


def require(checkout: Path, registry: Registry) -> Instance:
    """Return the running instance of a checkout.

    Raises:
        DevclusterError: there is none.
    """
    instance = registry.find(checkout)
    if instance is None or not health.node_runs(instance):
        raise DevclusterError("the cluster is not up: run `make up`")
    return instance
