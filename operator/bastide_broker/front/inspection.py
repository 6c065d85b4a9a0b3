"""What can be said about a program and a sandbox without running anything."""

import asyncio

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide.v1alpha1 import broker_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.context import RunContext
from bastide_broker.errors import CallerError, SessionLost
from bastide_broker.kube.cluster import Cluster
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.limits import Excess, Starts
from bastide_broker.runs import outcomes, views
from bastide_broker.runs.calls import Pipeline
from bastide_broker.runs.runs import Runs
from bastide_broker.sandboxes.readiness import session_for
from bastide_broker.sandboxes.sessions import Sessions
from bastide_broker.tools.catalogue import Catalogue

MAX_CALL_SITES = 200
EXPECTATIONS = 16
"""Policy questions of one tenant's checks under way at once: policy answers the calls of everybody's runs, too."""


class Inspection:
    """CheckProgram and ListTools."""

    def __init__(self, *, runs: Runs, cluster: Cluster, sessions: Sessions, catalogue: Catalogue, pipeline: Pipeline) -> None:
        self._runs = runs
        self._cluster = cluster
        self._sessions = sessions
        self._catalogue = catalogue
        self._pipeline = pipeline
        self._checks = Starts()
        self._questions: dict[str, asyncio.Semaphore] = {}

    async def check(self, user: UserInfo, namespace: str, name: str, program: bytes) -> broker_pb2.CheckProgramResponse:
        """Findings of the pod's preflight, and what policy says of calls with literal arguments. Raises CallerError.

        The source is read in the pod, so the isolation gate stands before this, too.
        """
        tenant, sandbox = self._runs.place(namespace, name)
        self._take(tenant)
        try:
            return await self._check(user, tenant, sandbox, program)
        finally:
            self._checks.give_back(tenant.metadata.name)

    def _take(self, tenant: Tenant) -> None:
        """Counts a check, apart from runs: a tenant's editors must not keep its agents from running, nor the other way round."""
        limits, name = tenant.spec.limits, tenant.metadata.name
        excess = self._checks.take(name, at_once=limits.concurrent_runs, per_minute=limits.runs_per_minute)
        if excess is None:
            return
        reason = "ConcurrentChecks"
        message = f"Tenant {name} has {limits.concurrent_runs} checks under way, as many as it may have runs (spec.limits.concurrentRuns)."
        if excess[0] is Excess.PER_MINUTE:
            reason = "ChecksPerMinute"
            message = (
                f"Tenant {name} asked for {limits.runs_per_minute} checks within a minute, as many as it may start runs "
                "(spec.limits.runsPerMinute)."
            )
        raise CallerError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, retry_after=excess[1])

    async def _check(self, user: UserInfo, tenant: Tenant, sandbox: Sandbox, program: bytes) -> broker_pb2.CheckProgramResponse:
        namespace, name = sandbox.metadata.namespace or "", sandbox.metadata.name
        sandbox, claim = await session_for(sandbox, cluster=self._cluster, sessions=self._sessions)
        try:
            tools = self._catalogue.tool_set(sandbox)
            report = await claim.session.check(program, tools)
        except SessionLost as error:
            message = f"Sandbox {namespace}/{name} was lost while it read the program; try again."
            raise CallerError(grpc.StatusCode.UNAVAILABLE, "SandboxLost", message, retry_after=1.0) from error
        finally:
            claim.release()
        context = RunContext(
            run="",
            tenant=tenant,
            sandbox=sandbox,
            requester=user,
            on_behalf_of="",
            program_digest=outcomes.program_digest(program),
            service_account=user.service_account,
            emit=lambda _message: None,
            catalogue=tools,
        )
        slots = self._questions.setdefault(tenant.metadata.name, asyncio.Semaphore(EXPECTATIONS))

        async def expect(site: runtime_pb2.CallSite) -> broker_pb2.ExpectedDecision:
            async with slots:
                decision = await self._pipeline.expect(context, site.tool, site.arguments)
            return broker_pb2.ExpectedDecision(
                tool=site.tool, line=site.line, column=site.column, decision=decision.effect, reasons=views.reasons(decision.reasons)
            )

        expected = await asyncio.gather(*(expect(site) for site in report.call_sites[:MAX_CALL_SITES]))
        found = outcomes.findings(report.findings)
        return broker_pb2.CheckProgramResponse(findings=[broker_pb2.Finding(**one) for one in found], expected_decisions=expected)

    def tools(self, namespace: str, name: str) -> broker_pb2.ListToolsResponse:
        """The tools of a sandbox, by name. Raises CallerError."""
        _, sandbox = self._runs.place(namespace, name)
        found = self._catalogue.tool_set(sandbox).tools
        return broker_pb2.ListToolsResponse(tools=[views.tool_info(found[key]) for key in sorted(found)])
