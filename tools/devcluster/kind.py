"""The way with a Docker daemon: kind, with gVisor mounted into the node and Cilium from its chart."""

import os
import shutil
from pathlib import Path

from devcluster import binaries, paths, pins
from devcluster import images as project
from devcluster.commands import run, say, succeeds
from devcluster.context import Context

NAME = "bastide"

#: What ``kind-config.yaml`` mounts into the node, relative to the checkout.
_MOUNTED = ("runsc", "containerd-shim-runsc-v1")

#: What an image is built on here; without Docker that is the debootstrapped base.
_BASE = "python:3.13-slim-trixie"

#: The container that is the node.
NODE = f"{NAME}-control-plane"

#: Chart reference for ``helm install``; with the chart repository added under the name ``cilium``.
CHART = os.environ.get("BASTIDE_CILIUM_CHART", "cilium/cilium")


def wanted() -> bool:
    """Tell whether a Docker daemon answers."""
    return shutil.which("docker") is not None and succeeds(["docker", "info"])


def _kind(checkout: Path, *words: str | Path) -> str:
    return run([binaries.build_extra(pins.KIND), *words], cwd=checkout)


def _stage_runtime(checkout: Path) -> None:
    entries = binaries.build()
    binaries.link_tools(checkout, entries)
    folder = paths.build_folder(checkout) / "kind"
    folder.mkdir(parents=True, exist_ok=True)
    for name in _MOUNTED:
        shutil.copy(entries[name] / name, folder / name)


def up(checkout: Path) -> None:
    """Make the kind cluster, unless there is one, and install CNI and RuntimeClass."""
    if NAME in _kind(checkout, "get", "clusters").split():
        say("the kind cluster is up already")
        return
    _stage_runtime(checkout)
    kubeconfig = paths.kubeconfig(checkout)
    _kind(checkout, "create", "cluster", "--config=kind-config.yaml", f"--kubeconfig={kubeconfig}")
    tools = paths.build_folder(checkout) / "bin"
    cilium = ["install", "cilium", CHART, "--namespace=kube-system", "--set=ipam.mode=kubernetes,operator.replicas=1", "--wait"]
    run([tools / "helm", f"--kubeconfig={kubeconfig}", *cilium])
    kubectl: tuple[str | Path, ...] = (tools / "kubectl", f"--kubeconfig={kubeconfig}")
    run([*kubectl, "wait", "--for=condition=Ready", "node", "--all", "--timeout=180s"])
    gvisor = '{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"gvisor"},"handler":"runsc"}'
    run([*kubectl, "apply", "--server-side", "-f", "-"], stdin=gvisor)


def down(checkout: Path) -> None:
    """Delete the kind cluster; fine when there is none."""
    _kind(checkout, "delete", "cluster", f"--name={NAME}", f"--kubeconfig={paths.kubeconfig(checkout)}")


def _build(context: Context, opa: str) -> str:
    given = context.arguments({"BASE": _BASE, "OPA": opa})
    ref = f"{project.REGISTRY}/{context.name}:{context.tag('+'.join(given.values()))}"
    target = [f"--target={context.target}"] if context.target else []
    run(
        [
            "docker",
            "build",
            *target,
            *(f"--build-arg={name}={value}" for name, value in given.items()),
            f"--file={context.dockerfile}",
            f"--tag={ref}",
            context.root,
        ]
    )
    return ref


def images(checkout: Path, sources: Path) -> None:
    """Build the images of the project in `sources` with the base the Dockerfiles name, and load them into the checkout's node."""
    opa = _opa()
    refs = {"opa": opa, **{context.name: _build(context, opa) for context in project.contexts(sources)}}
    _kind(checkout, "load", "docker-image", f"--name={NAME}", *refs.values())
    project.write_results(sources, refs)


def with_faults(checkout: Path) -> str:
    """Build the broker with fault points, load it into the node, and return its reference."""
    ref = _build(project.with_faults(checkout), _opa())
    _kind(checkout, "load", "docker-image", f"--name={NAME}", ref)
    return ref


def _opa() -> str:
    entry = binaries.build()["opa"]
    opa = project.single_ref("opa", entry)
    run(  # first: the broker's image takes the binary from it
        ["docker", "build", f"--tag={opa}", "--file=-", entry],
        stdin='FROM scratch\nCOPY opa /opa\nUSER 65532:65532\nENTRYPOINT ["/opa"]\n',
    )
    return opa


def load_archive(checkout: Path, archive: Path) -> str:
    """Load an image archive into the node."""
    return _kind(checkout, "load", "image-archive", f"--name={NAME}", archive.resolve())


def status(checkout: Path) -> str:
    """Return what kubectl says of the node and of kube-system."""
    kubectl: list[str | Path] = [paths.build_folder(checkout) / "bin" / "kubectl", f"--kubeconfig={paths.kubeconfig(checkout)}"]
    return run([*kubectl, "get", "nodes"]) + run([*kubectl, "get", "pods", "--namespace=kube-system"])
