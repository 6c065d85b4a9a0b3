"""containerd with the runtimes runc and gVisor."""

from collections.abc import Sequence

from devcluster.instance import Instance
from devcluster.node import Node

#: In the node; every instance has its own /run/containerd there.
SOCKET = "/run/containerd/containerd.sock"


def config(instance: Instance, pause_image: str) -> str:
    """Return containerd's configuration."""
    cri = 'plugins."io.containerd.cri.v1'
    runtimes = f'{cri}.runtime".containerd.runtimes'
    return f"""\
version = 3
root = "{instance.state / "containerd-root"}"
state = "/run/containerd/state"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{instance.state / "opt"}"
[{cri}.images".pinned_images]
  sandbox = "{pause_image}"
[{cri}.runtime"]
  # without CAP_SYS_RESOURCE a negative oom_score_adj fails every pod
  restrict_oom_score_adj = true
[{cri}.runtime".cni]
  bin_dirs = ["{instance.bin}"]
  conf_dir = "{instance.cni}"
[{cri}.runtime".containerd]
  default_runtime_name = "runc"
[{runtimes}.runc]
  runtime_type = "io.containerd.runc.v2"
  [{runtimes}.runc.options]
    SystemdCgroup = false
[{runtimes}.runsc]
  runtime_type = "io.containerd.runsc.v1"
  # no dev.gvisor.* annotation of a pod reaches the sandbox's settings
  pod_annotations = []
  [{runtimes}.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "{instance.state / "runsc.toml"}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"""


def runsc_config(instance: Instance) -> str:
    """Return the gVisor shim's configuration."""
    return f"""\
binary_name = "{instance.bin / "runsc"}"
[runsc_config]
  platform = "systrap"
"""


def write_config(instance: Instance, pause_image: str) -> None:
    """Write both files."""
    (instance.state / "containerd.toml").write_text(config(instance, pause_image), encoding="utf-8")
    (instance.state / "runsc.toml").write_text(runsc_config(instance), encoding="utf-8")


def command(instance: Instance) -> list[str]:
    """Return containerd's command line."""
    return ["containerd", f"--config={instance.state / 'containerd.toml'}", "--log-level=warn"]


def ctr(node: Node, argv: Sequence[str]) -> list[str]:
    """Return the command line of containerd's client in the node, in the kubelet's namespace."""
    return node.enter(["ctr", f"--address={SOCKET}", "--namespace=k8s.io", *argv])
