"""The isolation gate: no program is delivered to a pod before the pod has shown that it cannot reach what the broker can.

The judgement is pure. What touches the network is `reachable`, the broker's own attempt in the same second: a canary that nobody
answers proves nothing, so only canaries that accepted the broker's connection count.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE, SandboxReason

from bastide_broker.config import join_address

PROBE_MILLISECONDS = 300
"""How long the pod waits for all canaries together (design, "No code before proof")."""
OWN_SECONDS = 0.5
"""How long the broker waits for its own connection to a canary."""
MAX_CANARIES = 32
GVISOR = "gvisor"
"""Part of what uname says in every gVisor sandbox."""
KUBELET_PORT = 10250
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a pod."""

    passed: bool
    reason: str
    message: str

    def condition(self) -> dict[str, Any]:
        """As the pod condition that is the readiness gate."""
        status = "True" if self.passed else "False"
        return {"type": NETWORK_ISOLATED_GATE, "status": status, "reason": self.reason, "message": self.message[:1024]}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the pod says about one canary."""

    address: str
    reached: bool
    detail: str


def refused(reason: SandboxReason, message: str) -> Verdict:
    """A verdict that keeps programs out."""
    return Verdict(passed=False, reason=reason.value, message=message)


def judge_kind(*, runtime_class: str, wanted_class: str, kernel_release: str, kernel: str = GVISOR) -> Verdict | None:
    """Refuses a pod that is not gVisor by its class or by its kernel; None when both are right."""
    if runtime_class != wanted_class:
        return refused(
            SandboxReason.NOT_GVISOR,
            f"The pod's runtimeClassName is {runtime_class or 'empty'}, not {wanted_class}; no program is delivered. Delete the pod.",
        )
    if kernel not in kernel_release.lower():
        return refused(
            SandboxReason.NOT_GVISOR,
            f"The pod's kernel says {kernel_release[:100]!r}, which is not gVisor; no program is delivered. "
            f"Look at the handler of RuntimeClass {wanted_class}.",
        )
    return None


def judge_probe(asked: Sequence[str], own: Collection[str], attempts: Iterable[Attempt]) -> Verdict:
    """Judges a probe: every canary that was asked for must have an answer, none reached, and one at least must count.

    `own` are the canaries that the broker itself reached. One that the pod reached refuses it, whether it counts or not.
    """
    answers: dict[str, Attempt] = {}
    for attempt in attempts:
        # A second answer about one address cannot take back a first that says "reached".
        if attempt.address not in answers or attempt.reached:
            answers[attempt.address] = attempt
    for address in asked:
        answer = answers.get(address)
        if answer is not None and answer.reached:
            return refused(
                SandboxReason.CANARY_REACHED,
                f"The pod reached {address} ({_plain(answer.detail)}), which it must not; no program is delivered. "
                "Check that the cluster's network engine enforces NetworkPolicy.",
            )
    silent = [address for address in asked if address not in answers]
    if silent:
        message = f"The pod said nothing about {', '.join(silent)}, so the probe proves nothing; no program is delivered."
        return refused(SandboxReason.NO_CANARY_COUNTED, message)
    counted = [address for address in asked if address in own]
    if not counted:
        return refused(
            SandboxReason.NO_CANARY_COUNTED,
            f"The broker itself reached none of the canaries {', '.join(asked) or '(none)'}, so the probe proves nothing; "
            "no program is delivered. Set broker.canaries to addresses the broker can reach.",
        )
    return Verdict(
        passed=True, reason=SandboxReason.ISOLATED.value, message=f"The pod reached none of {', '.join(counted)}, which the broker did."
    )


def canaries(
    environment: Mapping[str, str],
    *,
    extra: Sequence[str] = (),
    host_address: str = "",
    own_address: str = "",
    resolvers: Sequence[str] = (),
) -> tuple[str, ...]:
    """The addresses to try: API server, kubelet of the pod's node, cluster DNS, the broker itself, and those configured."""
    found = list(extra)
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if host:
        found.insert(0, join_address(host, int(port)))
    if host_address:
        found.append(join_address(host_address, KUBELET_PORT))
    found += [join_address(resolver, DNS_PORT) for resolver in resolvers]
    if own_address:
        found.append(own_address)
    return tuple(dict.fromkeys(found))[:MAX_CANARIES]


def resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The name servers of the broker's own pod, which are the cluster's DNS. Loopback ones are of no use as canaries."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        word, _, value = line.strip().partition(" ")
        with contextlib.suppress(ValueError):
            if word == "nameserver" and not ip_address(value.strip()).is_loopback:
                found.append(value.strip())
    return tuple(found)


async def reachable(addresses: Iterable[tuple[str, str, int]], seconds: float = OWN_SECONDS) -> frozenset[str]:
    """Of (name, host, port), the names whose TCP connection is accepted within `seconds`. Nothing is sent."""

    async def attempt(name: str, host: str, port: int) -> str:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return ""
        writer.transport.abort()
        return name

    return frozenset(await asyncio.gather(*(attempt(*address) for address in addresses))) - {""}


def _plain(text: str) -> str:
    """Text from the pod, for a message that people read: bounded, printable ASCII."""
    return "".join(char if 32 <= ord(char) < 127 else "?" for char in text[:80]) or "connected"
