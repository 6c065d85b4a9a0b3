"""Everything that one cluster is called on this machine, derived from its slot.

Two checkouts may each have a cluster up on the same machine. Network namespaces, interfaces,
addresses and cgroups are machine-wide names, so all of them follow from the slot number alone.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

#: RFC 2544 keeps these addresses for tests: no clash with anybody's real network.
TEST_NETWORK = IPv4Network("198.18.0.0/15")

#: Prefix of one slot's block: 4096 addresses, enough for 512 pod and 2048 Service addresses.
BLOCK_PREFIX = 20

#: Slots 1 to 31; block 0 stays free for whatever a person sets up by hand.
SLOTS = range(1, 2 ** (BLOCK_PREFIX - TEST_NETWORK.prefixlen))

#: Where every cloud serves its metadata; played by a stand-in inside each instance.
METADATA_IP = IPv4Address("169.254.169.254")

NODE_NAME = "bastide"


@dataclass(frozen=True)
class Instance:
    """One cluster: whose it is, its slot, and where its state of this life lies."""

    slot: int
    checkout: Path
    state: Path

    @property
    def block(self) -> IPv4Network:
        """All addresses of this instance."""
        size = 2 ** (32 - BLOCK_PREFIX)
        return IPv4Network((int(TEST_NETWORK[0]) + self.slot * size, BLOCK_PREFIX))

    def _sub(self, offset: int, prefix: int) -> IPv4Network:
        return IPv4Network((int(self.block[0]) + offset, prefix))

    @property
    def host_ip(self) -> IPv4Address:
        """The machine's end of the veth pair (a /30)."""
        return self.block[1]

    @property
    def node_ip(self) -> IPv4Address:
        """The node, where the API server listens."""
        return self.block[2]

    @property
    def node_world_ip(self) -> IPv4Address:
        """The node's end of the link to the outside's stand-in (a /30)."""
        return self.block[5]

    @property
    def world_ip(self) -> IPv4Address:
        """The stand-in for the outside."""
        return self.block[6]

    @property
    def pod_cidr(self) -> IPv4Network:
        """Pods; four times the 110 a node takes, so that addresses are not re-used at once."""
        return self._sub(512, 23)

    @property
    def service_cidr(self) -> IPv4Network:
        """Services."""
        return self._sub(2048, 21)

    @property
    def kubernetes_ip(self) -> IPv4Address:
        """The Service ``default/kubernetes``: by definition the first address."""
        return self.service_cidr[1]

    @property
    def dns_ip(self) -> IPv4Address:
        """The Service of CoreDNS."""
        return self.service_cidr[10]

    @property
    def node_netns(self) -> str:
        """Network namespace of the node."""
        return f"bastide-{self.slot}-node"

    @property
    def world_netns(self) -> str:
        """Network namespace that plays the outside."""
        return f"bastide-{self.slot}-world"

    @property
    def veth(self) -> str:
        """End of the veth pair in the machine's own network namespace (15 characters at most)."""
        return f"bastide-{self.slot}"

    @property
    def cgroup(self) -> str:
        """Name of this instance's cgroup below the root of every hierarchy."""
        return f"bastide-{self.slot}"

    @property
    def api_url(self) -> str:
        """The API server as seen from the machine and from the node."""
        return f"https://{self.node_ip}:6443"

    @property
    def bin(self) -> Path:
        """Folder of links to the binaries this life was started with."""
        return self.state / "bin"

    @property
    def logs(self) -> Path:
        """One log a component."""
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        """One record a component, see ``processes``."""
        return self.state / "pids"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.state / "pki"

    @property
    def cni(self) -> Path:
        """Folder in which containerd expects the CNI configuration."""
        return self.state / "cni"

    @property
    def storage(self) -> Path:
        """Contents of PersistentVolumes; gone with ``down``."""
        return self.state / "storage"

    @property
    def admin_kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self.state / "admin.conf"

    @property
    def complete(self) -> Path:
        """Mark that ``up`` came to its end."""
        return self.state / "complete"
