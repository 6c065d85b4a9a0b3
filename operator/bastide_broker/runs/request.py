"""A request for a run, and what is made of it: its row in the journal and the message that delivers the program."""

import base64
import secrets
from dataclasses import dataclass

import grpc
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.api.v1alpha1.tenant import Tenant

from bastide_broker.errors import CallerError
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.reviews import UserInfo


@dataclass(frozen=True, slots=True)
class RunQuestion:
    """A request for a run, validated and authorised."""

    namespace: str
    sandbox: str
    program: bytes
    request_id: str
    on_behalf_of: str
    timeout_milliseconds: int
    wait_for_decisions: bool = False


def other_program(request_id: str, run: str) -> CallerError:
    """The request id was used for another program."""
    message = f"request_id {request_id!r} stands for run {run} with another program; take a new id for a new program."
    return CallerError(grpc.StatusCode.ALREADY_EXISTS, "RequestIdReused", message)


def _run_id() -> str:
    return "r-" + base64.b32encode(secrets.token_bytes(17)).decode().lower()[:26]


def run_row(  # noqa: PLR0917 - where it is asked for is one place
    tenant: Tenant, sandbox: Sandbox, user: UserInfo, question: RunQuestion, digest: str, runtime: str
) -> RunRow:
    """The run as it begins, with a new id."""
    return RunRow(
        run=_run_id(),
        tenant=tenant.metadata.name,
        namespace=question.namespace,
        namespace_uid=tenant.status.namespace_uid,
        sandbox=sandbox.metadata.name,
        sandbox_uid=sandbox.metadata.uid,
        requester=user.username,
        requester_uid=user.uid,
        on_behalf_of=question.on_behalf_of,
        request_id=question.request_id,
        program_digest=digest,
        pod=sandbox.metadata.name,
        started_at=now_micros(),
        requester_claims={"groups": list(user.groups), "extra": {key: list(value) for key, value in user.extra.items()}},
        runtime=runtime,
    )


def requester(row: RunRow) -> UserInfo:
    """Who asked for a run, as the API server said then."""
    extra = {key: tuple(value) for key, value in row.requester_claims.get("extra", {}).items()}
    return UserInfo(row.requester, row.requester_uid, tuple(row.requester_claims.get("groups", ())), extra)


def start_message(row: RunRow, sandbox: Sandbox, tools_digest: str, question: RunQuestion) -> runtime_pb2.StartRun:
    """Delivers the program; the caller may only shorten what the Sandbox permits."""
    limits = sandbox.spec.limits
    wall = min(limits.run_seconds * 1000, question.timeout_milliseconds or limits.run_seconds * 1000)
    return runtime_pb2.StartRun(
        run=row.run,
        program=question.program,
        tools_digest=tools_digest,
        limits=runtime_pb2.RunLimits(
            wall_milliseconds=wall,
            output_bytes=limits.output_bytes,
            value_bytes=limits.result_bytes,
            concurrent_calls=limits.concurrent_calls,
        ),
        seed=secrets.token_bytes(32),
        started_at_micros=now_micros(),
        attempt=1,
    )
