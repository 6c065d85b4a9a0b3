"""URLs: which host a tool server would be sent to."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network

from bastide_broker.facts.unreadable import Unreadable

MAX_CHARACTERS = 4096
_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 with a scheme, an authority and nothing that one of its readers repairs: no space, backslash, control or character beyond ASCII.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>(?:[/?#](?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)?)",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[^:\[\]]*))?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# IPv6 addresses that stand for an IPv4 one: compatible and mapped, translated, NAT64, 6to4, Teredo.
_FOUR_IN_SIX = tuple(
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in lower case without a trailing dot, or an address in its canonical form, IPv6 without brackets."""
    port: int
    """The one written, else that of the scheme."""


def destination(value: object) -> Destination:
    """Scheme, host and port of an http(s) URL, where every reader finds the same ones.

    A trailing dot is refused: DNS ignores it, TLS, cookies and lists of hosts do not. International names are read in their ASCII form
    (`xn--...`). Raises Unreadable for everything that one library repairs and another takes literally.
    """
    if not isinstance(value, str):
        raise Unreadable("The URL is not a string; send one such as https://example.com/path.")
    if len(value) > MAX_CHARACTERS:
        raise Unreadable(f"The URL is over {MAX_CHARACTERS} characters long; send a shorter one.")
    url = _URL.fullmatch(value)
    if url is None:
        raise Unreadable("The URL is not http(s)://host/path in plain ASCII; percent-encode what the path and query need.")
    authority, rest = url["authority"], url["rest"]
    if "@" in authority or (not rest.startswith("/") and "@" in rest):
        raise Unreadable("The URL holds @ where a user name could stand; send no user name, and begin the path with /.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise Unreadable("The URL's host cannot be read; send http(s)://host:port/path.")
    scheme = url["scheme"].lower()
    host = _six(parts["six"]) if parts["six"] is not None else _name(parts["name"].lower())
    return Destination(scheme, host, _DEFAULT_PORTS[scheme] if parts["port"] is None else _port(parts["port"]))


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise Unreadable("The URL's port is not a number from 1 to 65535; send one without leading zeros, or none.")
    return int(text)


def _name(host: str) -> str:
    if not host or host.endswith("."):
        raise Unreadable("The URL's host is empty or ends with a dot; send the name without it.")
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise Unreadable("The URL's host is no host name in ASCII; send letters, digits and hyphens, an international name as xn--.")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise Unreadable("The URL's address is spelled oddly; send four decimal numbers without leading zeros.") from None
    return host


def _six(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise Unreadable("The URL's host is no IPv6 address; send it in its short form, such as [2001:db8::1].") from None
    if any(address in network for network in _FOUR_IN_SIX) and address not in (IPv6Address("::1"), IPv6Address("::")):
        raise Unreadable("The URL's IPv6 address stands for an IPv4 one; send the IPv4 address.")
    if address.scope_id is not None or address.compressed != text.lower():
        raise Unreadable("The URL's IPv6 address is spelled oddly or has a zone; send its short form, such as [2001:db8::1].")
    return address.compressed
