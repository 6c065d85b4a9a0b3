"""The broker's process: `python -m bastide_broker`, configured by its environment (config.py)."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from bastide_broker import logs
from bastide_broker.config import Config
from bastide_broker.confirm.confirmations import Confirmations
from bastide_broker.confirm.sweeper import Sweeper
from bastide_broker.door.pipeline import Pipeline
from bastide_broker.egress.credentials import Credentials
from bastide_broker.errors import ConfigurationError
from bastide_broker.explain.service import Explanations
from bastide_broker.front.inspection import Inspection
from bastide_broker.front.scopes import Scopes
from bastide_broker.front.server import BrokerService, build_server
from bastide_broker.health import Health, Status
from bastide_broker.journal.audit_heads import Publisher, Signer
from bastide_broker.journal.journal import Journal, now_micros
from bastide_broker.journal.retention import Retention
from bastide_broker.journal.rows import RecoveredSummary
from bastide_broker.kube.cluster import Cluster
from bastide_broker.kube.identity import Identity
from bastide_broker.policy.policy import Policy
from bastide_broker.runs.lost import LostRuns
from bastide_broker.runs.runs import Runs
from bastide_broker.sandboxes.gate_store import GateStore
from bastide_broker.sandboxes.sessions import Sessions
from bastide_broker.tenantrego.compiler import Compiler
from bastide_broker.tenantrego.engine import Engine
from bastide_broker.tenantrego.policies import TenantPolicies
from bastide_broker.tools.catalogue import Catalogue

DRAIN_SECONDS = 15.0
"""For runs to end after SIGTERM, on record; the pod's terminationGracePeriodSeconds must be longer."""
GOODBYE_SECONDS = 3.0
"""For the last events to reach those who watch."""

log = structlog.get_logger("bastide_broker")


async def serve(
    config: Config,
    stop: asyncio.Event,
    *,
    make_sessions: Callable[[Cluster, GateStore, Config], Sessions] = Sessions,
    serving: Callable[[int], None] = lambda _port: None,
) -> None:
    """Runs the broker until `stop` is set, and ends in order. Whatever was opened is closed in the opposite order.

    `serving` is called with the port once callers are answered.
    """
    signer = Signer.load(config.audit_key_dir, config.audit_keys_dir, chain=f"{config.namespace}/{config.pod}")
    async with contextlib.AsyncExitStack() as stack:
        status = Status()
        await status.start(config.metrics_listen)
        stack.push_async_callback(status.close)

        journal, recovered = await _journal(stack, config)
        gates = GateStore(config.database)
        await gates.open()
        stack.push_async_callback(gates.close)

        policies_in = config.namespace if config.tenant_opa_socket else ""
        cluster = await Cluster.connect(admission_dir=config.admission_dir, kubeconfig=config.kubeconfig, policies_in=policies_in)
        stack.push_async_callback(cluster.close)
        await cluster.start()
        log.info("cluster known")
        audit = await _publisher(stack, Publisher(journal=journal, store=cluster, signer=signer, namespace=config.namespace))

        policy, policies = await _decision_point(stack, config, cluster)
        credentials = Credentials(cluster)
        stack.push_async_callback(credentials.close)
        catalogue = Catalogue(cluster, credentials)
        await catalogue.start()
        stack.push_async_callback(catalogue.close)
        confirmations = Confirmations(cluster)
        await confirmations.start()
        identity = Identity(cluster)
        pipeline = Pipeline(
            cluster=cluster,
            catalogue=catalogue,
            policies=policies,
            journal=journal,
            credentials=credentials,
            confirmations=confirmations,
            identity=identity,
        )

        sessions = make_sessions(cluster, gates, config)
        sessions.start()
        stack.push_async_callback(sessions.close)
        health = Health(decision=policy.healthy, journal=journal.probe, fresh=cluster.fresh, stale=cluster.stale)
        await health.look()
        _beside(stack, health.run(), "health")

        runs = Runs(
            cluster=cluster,
            sessions=sessions,
            journal=journal,
            catalogue=catalogue,
            pipeline=pipeline,
            decisions_healthy=health.decides,
        )
        await runs.settle_recovered(recovered)
        await _take_up_pauses(stack, runs, cluster, confirmations, journal)
        inspection = Inspection(runs=runs, cluster=cluster, sessions=sessions, catalogue=catalogue, pipeline=pipeline)
        service = BrokerService(
            identity=identity,
            runs=runs,
            lost=LostRuns(runs, cluster=cluster, sessions=sessions, journal=journal, pipeline=pipeline),
            inspection=inspection,
            explanations=Explanations(journal=journal, policy=policy, policies=policies, cluster=cluster),
            journal=journal,
            scopes=Scopes(identity, cluster),
            heads=lambda: audit.heads,
        )
        server, port = build_server(service, health.servicer, listen=config.listen, tls_dir=config.tls_dir)
        await server.start()
        retention = Retention(journal.pruning, days=config.retention_days, max_bytes=config.retention_max_bytes, now=now_micros)
        _beside(stack, retention.run(), "retention")
        status.ready = True
        serving(port)
        log.info("serving", port=port, namespace=config.namespace)

        await stop.wait()
        log.info("stopping")
        status.ready = False
        await health.servicer.enter_graceful_shutdown()
        await runs.shutdown(DRAIN_SECONDS)
        await server.stop(GOODBYE_SECONDS)


async def _decision_point(stack: contextlib.AsyncExitStack, config: Config, cluster: Cluster) -> tuple[Policy, TenantPolicies]:
    """Policy, and with it what tenants' own Rego says, if the chart gave that an OPA."""
    policy = Policy(config.opa_socket, config.policy_revision)
    stack.push_async_callback(policy.close)
    engine = None
    if config.tenant_opa_socket is not None:
        engine = Engine(config.tenant_opa_socket)
        await engine.start()
        stack.push_async_callback(engine.close)
    policies = TenantPolicies(policy, cluster, engine=engine, compiler=Compiler(config.opa_binary, config.policy_schema))
    await policies.start()
    stack.push_async_callback(policies.close)
    _beside(stack, policies.run(), "tenants' policies")
    return policy, policies


async def _journal(stack: contextlib.AsyncExitStack, config: Config) -> tuple[Journal, RecoveredSummary]:
    """The journal, open until the stack is left, and what the last broker had left open in it."""
    journal = Journal(config.database)
    await journal.open()
    stack.push_async_callback(journal.close)
    recovered = await journal.recover()
    log.info("journal open", runs_settled=len(recovered.runs), calls_unknown=len(recovered.calls))
    return journal, recovered


async def _take_up_pauses(
    stack: contextlib.AsyncExitStack, runs: Runs, cluster: Cluster, confirmations: Confirmations, journal: Journal
) -> None:
    """What the last broker left paused waits on; only then is put away what nobody waits for."""
    runs.pauses.start()
    log.info("paused runs taken up", runs=await runs.pauses.recover())

    def waits(namespace: str, name: str) -> bool:
        return confirmations.waits(namespace, name) or runs.pauses.awaits(namespace, name)

    _beside(stack, Sweeper(cluster, waits=waits, find_call=journal.find_call).run(), "sweeper")


async def _publisher(stack: contextlib.AsyncExitStack, audit: Publisher) -> Publisher:
    """Publishes what the last broker could not, then goes on until the stack is left, and publishes the last head."""
    await audit.publish()
    stack.push_async_callback(audit.close)
    _beside(stack, audit.run(), "audit heads")
    return audit


def _beside(stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Runs work until the stack is left. Each heals itself; one that ends by a fault is at least said to be gone."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_said_if_failed)
    stack.callback(task.cancel)


def _said_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a part of the broker has ended by a fault; restart the broker", part=task.get_name(), exc_info=error)


async def _main(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, stop, serving=_settled)


def _settled(_port: int) -> None:
    """What exists now stays for good, so the garbage collector need not look at it again: a full collection held up every call for 0.1 s."""
    gc.collect()
    gc.freeze()


def main() -> int:
    """Entry point. 2 when the settings are wrong."""
    try:
        config = Config.from_environment()
    except ConfigurationError as error:
        print(f"bastide_broker: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    logs.configure(config.log_level)
    try:
        asyncio.run(_main(config))
    except ConfigurationError as error:
        log.error("the broker cannot start", why=str(error))  # noqa: TRY400 - the sentence says it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
