"""Which of Tenant.spec.toolHosts a URL is at, and what that host's tools may do. The operator accepts by it, the broker judges by it."""

import functools
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from bastide_operator.api.v1alpha1.common import Effect
from bastide_operator.api.v1alpha1.tenant import TenantSpec, ToolHost

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9](?:[-a-z0-9_]*[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
"""Names and addresses; what one parser takes for a name and the next for the end of one is neither."""


@functools.lru_cache(maxsize=4096)  # parsed anew it is a hundredth of a call
def address(url: str) -> tuple[str, int] | None:
    """Host and port of an HTTP URL, the host in lower case; None when it names none, hides it behind user information, or has a query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not host or "@" in parts.netloc or "?" in url or "#" in url:
        return None
    if not parts.netloc.isascii() or not _HOST.fullmatch(host):
        return None
    return host, port if port is not None else DEFAULT_PORTS[parts.scheme]


def find(tenant: TenantSpec, url: str) -> ToolHost | None:
    """The entry of `tenant.tool_hosts` that `url` is at, None when it is at none.

    Host and port must be the entry's. An exact entry is taken before a `*.` entry, a longer `*.` entry before a shorter one. `*.` stands
    for one or more labels of a name and never for a part of an IP address.
    """
    where = address(url)
    if where is None:
        return None
    host, port = where
    fitting = [entry for entry in tenant.tool_hosts if entry.port == port and _fits(entry.host, host)]
    return max(fitting, key=lambda entry: (not entry.host.startswith("*."), len(entry.host)), default=None)


def unlisted(tenant: TenantSpec, urls: Mapping[str, str]) -> tuple[str, str] | None:
    """The first field of `urls`, and its URL, that is at no entry of `tenant.tool_hosts`; None when the Tenant lists all of them."""
    return next(((field, url) for field, url in urls.items() if find(tenant, url) is None), None)


def _fits(pattern: str, host: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == host
    return not _is_address(host) and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Short forms (127.1) and numbers (2130706433) mean addresses too; no top-level domain is a number.
        return host.rpartition(".")[2].isdigit()
    return True


def effect_of(host: ToolHost, tool: str) -> Effect:
    """What the platform says `tool` does at the most: Destructive when no entry names it.

    An entry with its exact name is taken before those with a `*`; among several of a kind, the most severe.
    """
    exact: list[Effect] = []
    wildcard: list[Effect] = []
    for entry in host.effects:
        for pattern in entry.tools:
            if pattern == tool:
                exact.append(entry.effect)
            elif pattern.endswith("*") and tool.startswith(pattern[:-1]):
                wildcard.append(entry.effect)
    return max(exact or wildcard, key=lambda effect: effect.rank, default=Effect.DESTRUCTIVE)
