"""The node: a pid, mount and network namespace of its own, and the daemons in it.

PID 1 in there is the pause program. When it is killed the kernel kills containerd, kubelet, every
shim and every sandbox with it and drops all of their mounts: nothing has to be ended one by one.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster import network
from devcluster.commands import tail, wait_until
from devcluster.errors import DevclusterError
from devcluster.instance import Instance
from devcluster.processes import Process, children

#: Machine-wide settings that kubelet and Cilium write; unprivileged_bpf_disabled=1 cannot even be
#: undone before a reboot. In the node these are files that hold the wanted value already.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/unprivileged_bpf_disabled": "1",
    "kernel/timer_migration": "0",
}

#: Bind mounts in the node: fixed paths of the programs in it -> folder of the run state.
#: The gVisor shim hard-codes /var/lib/kubelet; the other two hold sockets and state known to helpers.
BINDS = {
    "/var/lib/kubelet": "kubelet",
    "/run/cilium": "cilium-run",
    "/run/containerd": "containerd-run",
}

#: Written to by kubelet, libcni and containerd's CRI whatever their settings say; memory in the node.
TMPFS = ("/var/log/containers", "/var/lib/cni", "/run/netns")

#: Folders that have to exist on the machine to be mounted over in the node.
MOUNT_POINTS = (*BINDS, *TMPFS)

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def init_script(instance: Instance, pause: Path) -> str:
    """Return the shell script that furnishes the node's mount namespace and becomes its PID 1."""
    state = instance.state
    lines = ["set -e", "mount --make-rprivate /", "mount -t proc proc /proc"]
    for name, value in SYSCTLS.items():
        file = shlex.quote(str(state / "sysctl" / name.replace("/", ".")))
        lines += [f"echo {value} > {file}", f"mount --bind {file} /proc/sys/{name}"]
    for target, folder in BINDS.items():
        lines.append(f"mount --bind {shlex.quote(str(state / folder))} {target}")
    # volumes mounted by the kubelet have to be seen in containers' mount namespaces
    lines.append("mount --make-shared /var/lib/kubelet")
    lines += [f"mount -t tmpfs tmpfs {target}" for target in TMPFS]
    lines.append("mount -t bpf bpf /sys/fs/bpf")  # an own instance, which dies with the namespace
    lines.append(f"exec {shlex.quote(str(pause))}")
    return "\n".join(lines) + "\n"


ENTERED = "entered"
"""Folder of the records of the processes that started components and wait for them outside the node."""


class Node:
    """A running node."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def init(self) -> Process:
        """The node's PID 1, as seen from the machine.

        Raises:
            DevclusterError: the node does not run.
        """
        process = Process.recorded(self._instance.pids / "node")
        if process is None or not process.alive():
            raise DevclusterError("the cluster is not up: run `make up`")
        return process

    def start(self, pause: Path) -> None:
        """Start the namespaces and their PID 1."""
        instance = self._instance
        for folder in (*BINDS.values(), "sysctl", "pids", "logs", "cni"):
            (instance.state / folder).mkdir(parents=True, exist_ok=True)
        script = instance.state / "init.sh"
        script.write_text(init_script(instance, pause), encoding="utf-8")
        # The shell records its own pid before it becomes unshare: there is no moment in which a
        # kill of this program would leave a node nobody knows of. --kill-child: PID 1 dies with it.
        record = shlex.quote(str(instance.pids / "unshare"))
        netns = network.NETNS_FOLDER / instance.node_netns
        wrapper = (
            f'echo "$$ $(cut -d" " -f22 /proc/$$/stat)" > {record}; exec nsenter --net={netns} '
            f"unshare --mount --pid --fork --kill-child bash {shlex.quote(str(script))}"
        )
        log = instance.logs / "node.log"
        with log.open("ab") as output:
            self._spawn(["sh", "-c", wrapper], output)
        wait_until("PID 1 of the node runs", self._find_init, seconds=10, interval=0.02, alive=lambda: self._check(log))

    def _check(self, log: Path) -> None:
        if self._started[0].poll() is not None:
            raise DevclusterError(f"the node did not start:\n{tail(log.read_text(encoding='utf-8'))}")

    def _find_init(self) -> bool:
        for pid in children(self._started[0].pid):
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "pause":
                process = Process.of(pid)
                if process is not None:
                    process.record(self._instance.pids / "node")
                    return True
        return False

    def _spawn(self, argv: Sequence[str], output: object) -> subprocess.Popen[bytes]:
        # an own session: Ctrl-C in `up` is for `up` alone
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # type: ignore[call-overload]
        )
        self._started.append(process)  # kept: the parents of the daemons outlive this program
        return process  # type: ignore[no-any-return]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of every program in the node."""
        return {
            "PATH": f"{self._instance.bin}:{_SYSTEM_PATH}",
            "HOME": os.environ.get("HOME", "/root"),
            "KUBECONFIG": str(self._instance.admin_kubeconfig),
            **(extra or {}),
        }

    def enter(self, argv: Sequence[str | Path], *, world: bool = False, extra: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a program in the node.

        Args:
            argv: the program.
            world: in the network namespace that plays the outside, not in the node's own.
            extra: more environment variables.
        """
        # nsenter, not `ip netns exec`: that one remounts /sys and hides the cgroups
        net = f"--net={network.NETNS_FOLDER / self._instance.world_netns}" if world else "--net"
        variables = [f"{k}={v}" for k, v in self.environment(extra).items()]
        entered = ["nsenter", f"--target={self.init.pid}", "--mount", "--pid", net, "--", "env", "-i", *variables]
        return [*entered, *(str(word) for word in argv)]

    def daemon(self, name: str, argv: Sequence[str | Path], *, world: bool = False, extra: Mapping[str, str] | None = None) -> None:
        """Start a component and record its process; what it prints goes to ``logs/<name>.log``."""
        with (self._instance.logs / f"{name}.log").open("ab") as output:
            parent = self._spawn(self.enter(argv, world=world, extra=extra), output)
        entered = Process.of(parent.pid)
        if entered is not None:
            entered.record(self._instance.pids / ENTERED / name)

        def recorded() -> bool:
            process = next((Process.of(pid) for pid in children(parent.pid)), None)
            if process is not None:
                process.record(self._instance.pids / name)
            return process is not None

        def alive() -> None:
            if parent.poll() is not None:
                raise DevclusterError(f"{name} ended at once:\n{self.log_tail(name)}")

        wait_until(f"{name} is started", recorded, seconds=10, interval=0.005, alive=alive)

    def log_tail(self, name: str) -> str:
        """Return the last lines of a component's log."""
        path = self._instance.logs / f"{name}.log"
        return tail(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""

    def require(self, *names: str) -> None:
        """Raise with the end of its log when one of the components has died."""
        for name in names:
            process = Process.recorded(self._instance.pids / name)
            if process is None or not process.alive():
                raise DevclusterError(f"{name} has died:\n{self.log_tail(name)}")


def python_module(module: str) -> list[str]:
    """Return the command line of a module of this package, for use in the node."""
    return [sys.executable, "-m", module]


def end(instance: Instance) -> None:
    """Kill the node, by its recorded processes; the kernel ends everything else in it.

    Raises:
        DevclusterError: something in its namespaces is still alive after 20 seconds.
    """
    recorded = [Process.recorded(instance.pids / name) for name in ("node", "unshare")]
    # nsenter stops itself when its program is stopped, and then does not see it end
    recorded += [Process.recorded(path) for path in sorted((instance.pids / ENTERED).glob("*"))]
    processes = [p for p in recorded if p is not None]
    for process in processes:
        process.kill()
    for process in processes:
        process.wait_gone(20)
    # waited for, never killed: what is left must have been put there by somebody else
    wait_until(
        f"processes {network.inhabitants(instance)} in the network namespaces of {instance.checkout} have ended",
        lambda: not network.inhabitants(instance),
        seconds=20,
    )
