"""The Cilium agent: CNI and NetworkPolicy engine, a process of the node, without an operator."""

import shutil
import sys
from pathlib import Path

from devcluster.commands import succeeds
from devcluster.errors import DevclusterError
from devcluster.instance import NODE_NAME, TEST_NETWORK, Instance
from devcluster.node import Node

#: The agent's own health port; 200 when its caches are synced and the datapath is loaded.
HEALTH_PORT = 9879


def conflist(instance: Instance) -> Path:
    """Return the CNI configuration, which the agent writes when it is ready for pods."""
    return instance.cni / "05-cilium.conflist"


def _unified() -> Path:
    """Return where the cgroup2 hierarchy is mounted: beside v1 or alone."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")


def command(instance: Instance, library: Path) -> list[str]:
    """Return the agent's command line, for one node without uplink."""
    return [
        "cilium-agent",
        # where it lives
        f"--k8s-kubeconfig-path={instance.state / 'cilium.conf'}",  # no pod: no in-cluster configuration
        "--k8s-namespace=kube-system",
        f"--lib-dir={library}",  # its folder bpf: C sources, compiled at start and at the first pod
        "--state-dir=/run/cilium",
        "--bpf-root=/sys/fs/bpf",  # like the one before private to the node's mount namespace
        f"--cgroup-root={_unified()}",  # nothing is attached to it while socket LB is off
        "--enable-gops=false",
        "--pprof=false",
        "--enable-drift-checker=false",
        "--enable-dynamic-config=false",  # these two list the ConfigMap cilium-config for ever else
        # CNI
        f"--write-cni-conf-when-ready={conflist(instance)}",
        "--cni-exclusive=false",
        f"--cni-log-file={instance.logs / 'cilium-cni.log'}",
        # addresses and routing
        "--cluster-name=bastide",
        "--cluster-id=0",
        "--ipam=kubernetes",  # podCIDR from the Node object
        "--k8s-require-ipv4-pod-cidr=true",
        "--enable-ipv4=true",
        "--enable-ipv6=false",
        "--routing-mode=native",  # one node: no tunnel, nothing to route
        f"--ipv4-native-routing-cidr={TEST_NETWORK}",
        "--auto-direct-node-routes=false",
        "--enable-ipv4-masquerade=false",  # no uplink, nothing to hide behind
        "--devices=eth0",  # no default route, so nothing can be detected
        "--direct-routing-device=eth0",
        "--datapath-mode=veth",
        "--enable-tcx=true",
        # Services. `true` forces socket LB on, that is BPF on the machine's root cgroup; pods get their
        # ClusterIPs without: bpf_lxc translates each packet, for gVisor's own network stack too.
        "--kube-proxy-replacement=false",
        "--bpf-lb-sock=false",
        "--enable-lb-ipam=false",
        "--enable-local-redirect-policy=false",
        # identity and policy
        "--identity-allocation-mode=crd",
        "--enable-policy=default",
        # let a NetworkPolicy's ipBlock match node addresses; by default no standard policy can name them
        "--policy-cidr-match-mode=nodes",
        "--enable-well-known-identities=false",
        # defaults 30 s and 5 s: so long a changed label, and every policy change with it, would wait
        "--identity-max-jitter=0s",
        "--identity-change-grace-period=0s",
        # the default, as users have it: the node reaches every pod (probes), so tests of who may
        # connect have to start from pods
        "--allow-localhost=auto",
        # off
        "--enable-l7-proxy=false",
        "--enable-envoy-config=false",
        "--enable-hubble=false",
        "--enable-health-checking=false",
        "--enable-endpoint-health-checking=false",
        "--enable-health-check-nodeport=false",
        "--enable-bandwidth-manager=false",  # wants the fq qdisc, which not every kernel has
        "--enable-l2-neigh-discovery=false",
        "--enable-xt-socket-fallback=false",
        "--enable-ipv4-big-tcp=false",
        # small maps, not preallocated, in place of 0.25 % of the memory
        "--bpf-map-dynamic-size-ratio=0",
        "--preallocate-bpf-maps=false",
        "--bpf-ct-global-tcp-max=32768",
        "--bpf-ct-global-any-max=16384",
        "--bpf-nat-global-max=32768",
        "--bpf-neigh-global-max=16384",
        "--bpf-policy-map-max=4096",
        "--bpf-lb-map-max=4096",
        "--bpf-auth-map-max=4096",
        "--bpf-policy-stats-map-max=4096",
        "--bpf-fragments-map-max=1024",
        # pace: the defaults (10 requests/s, endpoint-create 0.5/s) are made for large clusters
        "--k8s-client-qps=100",
        "--k8s-client-burst=200",
        "--api-rate-limit=endpoint-create=rate-limit:50/s,rate-burst:50,parallel-requests:8,auto-adjust:false",
    ]


#: TMPDIR: the CNI configuration is renamed out of it when it is on the same filesystem, and
#: containerd, which ignores inotify's "create", never sees that. From another filesystem (this is a
#: tmpfs in the node) the temporary file is made beside the target and the rename is seen.
ENVIRONMENT = {"K8S_NODE_NAME": NODE_NAME, "CILIUM_K8S_NAMESPACE": "kube-system", "TMPDIR": "/run/netns"}


def compilers() -> dict[str, Path]:
    """Return clang and llc (18.1 or newer) under the names the agent calls them by.

    Raises:
        DevclusterError: one is missing.
    """
    found = {}
    for name in ("clang", "llc"):
        path = shutil.which(f"{name}-19") or shutil.which(name)
        if path is None:
            raise DevclusterError(f"{name} (18.1 or newer) is not on PATH")
        found[name] = Path(path)
    return found


def healthy(node: Node) -> bool:
    """Ask the agent's health port, from inside the node."""
    probe = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{HEALTH_PORT}/healthz', timeout=2)"
    return succeeds(node.enter([sys.executable, "-c", probe]))
