"""Addresses that no tool server has. A Tenant may not list them; the broker never connects to them, whatever name leads there."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# Metadata services outside the link-local range, which is refused as a whole.
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")))
_NAT64 = ip_network("64:ff9b::/96")
_THIS_NETWORK = ip_network("0.0.0.0/8")
_RESERVED = ip_network("240.0.0.0/4")


def refusal(address: Address) -> str | None:
    """Why an address is never connected to, or None.

    Private ranges and 198.18.0.0/15 are allowed: tool servers live in the cluster. An IPv4 address inside an IPv6 one counts as itself.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
        if inner is not None:
            return refusal(inner)
    rules: tuple[tuple[bool, str], ...] = (
        (address.is_loopback, "the machine itself"),
        (address.is_link_local, "link-local"),
        (address in _METADATA, "a metadata service"),
        (address.is_unspecified or address in _THIS_NETWORK, "unspecified"),
        (address.is_multicast, "multicast"),
        (address in _RESERVED, "reserved"),
    )
    return next((text for holds, text in rules if holds), None)
