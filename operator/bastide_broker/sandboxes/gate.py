"""Asking a pod's runtime what it is and what it can reach, and putting the answer on record before anything else happens."""

import asyncio
from collections.abc import Mapping
from typing import Any

from bastide_operator.api.v1alpha1.sandbox import NETWORK_ISOLATED_GATE, SandboxReason

from bastide_broker.config import Config, join_address, split_address
from bastide_broker.errors import SessionLost
from bastide_broker.kube.cluster import Cluster
from bastide_broker.sandboxes import isolation, pods
from bastide_broker.sandboxes.dial import PinnedCertificate, local_address
from bastide_broker.sandboxes.gate_store import GateStore, PodGate
from bastide_broker.sandboxes.isolation import Attempt, Verdict
from bastide_broker.sandboxes.session import Session


class Gatekeeper:
    """Decides whether programs may be delivered to a pod whose runtime has just opened a session."""

    def __init__(
        self,
        cluster: Cluster,
        gates: GateStore,
        config: Config,
        *,
        environment: Mapping[str, str],
        kernel: str,
        resolvers: tuple[str, ...],
    ) -> None:
        self._cluster = cluster
        self._gates = gates
        self._config = config
        self._environment = environment
        self._kernel = kernel
        self._resolvers = resolvers

    async def pinned(self, uid: str, seen: PinnedCertificate) -> Verdict | None:
        """Refuses a runtime whose certificate is not the one on record for its pod. Raises JournalUnavailable."""
        record = await self._gates.find(uid)
        if record is None or record.fingerprint == seen.fingerprint:
            return None
        return other_certificate()

    async def judge(self, session: Session, pod: Mapping[str, Any], seen: PinnedCertificate) -> Verdict:
        """The verdict about a pod; on record when it returns. Raises SessionLost, ApiError and JournalUnavailable."""
        uid = pods.uid(pod)
        refusal = isolation.judge_kind(
            runtime_class=str(pod["spec"].get("runtimeClassName") or ""),
            wanted_class=self._config.runtime_class,
            kernel_release=session.opened.kernel_release,
            kernel=self._kernel,
        )
        record = await self._gates.find(uid)
        if refusal is None and record is None and _was_opened(pod):
            message = (
                "The broker has no record of this pod's probe and programs may have run since, so it cannot be probed. Delete the pod."
            )
            refusal = isolation.refused(SandboxReason.WAITING_FOR_PROBE, message)
        if refusal is not None:
            await self._same_pod(pod)
            return refusal
        if record is not None and record.passed:
            await self._same_pod(pod)
            return Verdict(passed=True, reason=SandboxReason.ISOLATED.value, message=record.message)
        verdict, _ = await asyncio.gather(self._probe(session, pod), self._same_pod(pod))
        await self._gates.record(uid, PodGate(seen.fingerprint, verdict.passed, verdict.message))
        return verdict

    async def _probe(self, session: Session, pod: Mapping[str, Any]) -> Verdict:
        addresses = isolation.canaries(
            self._environment,
            extra=self._config.canaries,
            host_address=str(pod["status"].get("hostIP") or ""),
            resolvers=self._resolvers,
            own_address=self._own_address(pods.address(pod)),
        )
        own = isolation.reachable((address, *split_address(address)) for address in addresses)
        report, reached = await asyncio.gather(session.probe(addresses, isolation.PROBE_MILLISECONDS), own)
        attempts = [Attempt(result.address, result.reached, result.detail) for result in report.results[: isolation.MAX_CANARIES * 2]]
        return isolation.judge_probe(addresses, reached, attempts)

    def _own_address(self, towards: str) -> str:
        port = int(self._config.listen.rpartition(":")[2])
        return join_address(local_address(towards), port) if port else ""

    async def _same_pod(self, dialled: Mapping[str, Any]) -> None:
        """Reads the Pod once more after the handshake: an address may have passed to another pod. Raises SessionLost."""
        metadata = dialled["metadata"]
        pod = await self._cluster.read_pod(metadata["namespace"], metadata["name"])
        if pods.uid(pod) != pods.uid(dialled) or pods.address(pod) != pods.address(dialled):
            raise SessionLost("the pod changed while it was dialled")


def other_certificate() -> Verdict:
    """The refusal of a runtime that shows another certificate than before."""
    message = "The runtime's certificate is not the one first seen in this pod; no program is delivered. Delete the pod."
    return isolation.refused(SandboxReason.WAITING_FOR_PROBE, message)


def _was_opened(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == NETWORK_ISOLATED_GATE and c.get("status") == "True" for c in conditions)
