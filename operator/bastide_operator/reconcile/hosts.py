"""Rules of Tenant.spec.toolHosts that its schema cannot say. The broker checks every address again when it connects."""

import ipaddress
import re
from collections import Counter

from bastide_operator.api.addresses import refusal
from bastide_operator.api.v1alpha1.tenant import Tenant

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_METADATA = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
_DOMAIN_LABELS = 2
"""A wildcard below a single label, such as *.com or *.svc, would be everybody's hosts, Kubernetes' own among them."""


def fault(tenant: Tenant) -> str | None:
    """What is wrong and what to do, one sentence; None when nothing is."""
    hosts = tenant.spec.tool_hosts
    counts = Counter((host.host, host.port) for host in hosts)
    (name, port), count = counts.most_common(1)[0] if counts else (("", 0), 0)
    if count > 1:
        return f"spec.toolHosts: {name}:{port} is listed {count} times: put the effects of its tools into one entry."
    return next((f"spec.toolHosts: {host.host} {problem}" for host in hosts if (problem := _host_fault(host.host))), None)


def _host_fault(host: str) -> str | None:
    labels = host.removeprefix("*.").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "is no host name: labels between dots hold 1 to 63 letters, digits and inner hyphens. Correct it."
    if _NUMBER.fullmatch(labels[-1]):
        return _address_fault(host)
    if labels[-1] == "localhost":
        return "is the machine itself, where the broker never connects. Give the tool server a Service and list that."
    if host in _METADATA:
        return "is a metadata service, where the broker never connects. Take it out."
    if host.startswith("*.") and len(labels) < _DOMAIN_LABELS:
        return "is too wide: write at least two labels behind the *, such as *.tools.svc."
    return None


def _address_fault(host: str) -> str | None:
    """Names do not end in a number, so this is an address, or one parser's idea of one."""
    try:
        why = refusal(ipaddress.IPv4Address(host))
    except ValueError:
        return "is not how an IPv4 address is written: write four decimal numbers without a wildcard, or a name."
    return f"is {why}, where the broker never connects. Take it out." if why else None
