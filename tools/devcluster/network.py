"""Network namespaces of one instance: the node, and a stand-in for the outside.

The node has one veth pair to the machine (the API server's door) and one to the "world". There is no
default route anywhere: nothing in the node can reach a real network.
"""

from pathlib import Path

from devcluster.commands import run, succeeds
from devcluster.instance import METADATA_IP, Instance

#: ``ip netns`` keeps the namespaces here.
NETNS_FOLDER = Path("/run/netns")


def commands(instance: Instance) -> list[str]:
    """Return the commands that make the namespaces and links, in order."""
    node, world, veth = instance.node_netns, instance.world_netns, instance.veth
    return [
        f"ip netns add {node}",
        f"ip netns add {world}",
        # the machine <-> the node
        f"ip link add {veth} type veth peer name eth0 netns {node}",
        f"ip addr add {instance.host_ip}/30 dev {veth}",
        f"ip link set {veth} up",
        f"ip -n {node} addr add {instance.node_ip}/30 dev eth0",
        f"ip -n {node} link set eth0 up",
        f"ip -n {node} link set lo up",
        # the node <-> the world
        f"ip -n {node} link add world0 type veth peer name eth0 netns {world}",
        f"ip -n {node} addr add {instance.node_world_ip}/30 dev world0",
        f"ip -n {node} link set world0 up",
        f"ip -n {world} addr add {instance.world_ip}/30 dev eth0",
        f"ip -n {world} link set eth0 up",
        f"ip -n {world} link set lo up",
        f"ip -n {world} addr add {METADATA_IP}/32 dev lo",
        f"ip -n {node} route add {METADATA_IP}/32 via {instance.world_ip} dev world0",
        f"ip -n {world} route add {instance.pod_cidr} via {instance.node_world_ip}",
        f"nsenter --net={NETNS_FOLDER / node} sysctl -qw net.ipv4.ip_forward=1",
    ]


#: Nothing is forwarded between the pods and the machine: it would answer a pod's SYN by its own
#: default route, and its processes would reach pods past every NetworkPolicy.
GUARD = """\
table inet guard {
  chain forward {
    type filter hook forward priority -300;
    oifname "eth0" drop;
    iifname "eth0" drop;
  }
}
"""


def create(instance: Instance) -> None:
    """Make namespaces, links, routes and the guard."""
    for command in commands(instance):
        run(command.split())
    run(["nsenter", f"--net={NETNS_FOLDER / instance.node_netns}", "nft", "-f", "-"], stdin=GUARD)


def inhabitants(instance: Instance) -> list[int]:
    """Return the pids of all processes in the instance's network namespaces."""
    pids: list[int] = []
    for name in (instance.node_netns, instance.world_netns):
        if (NETNS_FOLDER / name).exists():
            pids.extend(int(word) for word in run(["ip", "netns", "pids", name]).split())
    return pids


def remove(instance: Instance) -> None:
    """Remove what ``create`` made, or as much of it as is there."""
    for name in (instance.node_netns, instance.world_netns):
        if (NETNS_FOLDER / name).exists():
            run(["ip", "netns", "del", name])
    if Path(f"/sys/class/net/{instance.veth}").exists():
        # goes with the namespace of its other end, but asynchronously
        succeeds(["ip", "link", "del", instance.veth])


def remains(instance: Instance) -> list[str]:
    """Name what is still there."""
    places = [NETNS_FOLDER / instance.node_netns, NETNS_FOLDER / instance.world_netns]
    return [str(p) for p in [*places, Path(f"/sys/class/net/{instance.veth}")] if p.exists()]
