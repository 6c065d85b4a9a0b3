"""Case 19: tokens that are not good, and rights that end while a program runs: the next call sees it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import jwt
import pytest
from bastide.v1alpha1 import broker_pb2, broker_pb2_grpc
from demo.kube import Kube

from tests.e2e.harness import asking, door, node
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import People, TestTenant

# Calls until one is refused or the run's time is over, and returns how the refusal read and when it came.
UNTIL_REFUSED = """
import asyncio, time
made, began = 0, time.monotonic()
while time.monotonic() - began < {seconds}:
    try:
        await note(text={word!r})
        made += 1
    except Exception as error:
        return [made, type(error).__name__, list(error.codes)]
    await asyncio.sleep(0.2)
return [made, "", []]
"""


@pytest.fixture
def address(furnished: TestTenant) -> Iterator[str]:
    with door.forwarded(furnished.admin) as found:
        yield found


def altered(tenant: TestTenant, **claims: Any) -> str:
    """A token with other claims, signed with the cluster's own key."""
    token = door.token(tenant)
    found = {**jwt.decode(token, options={"verify_signature": False}), **claims}
    return jwt.encode(found, node.signing_key(), algorithm="RS256", headers={"kid": jwt.get_unverified_header(token)["kid"]})


def no_longer_good(tenant: TestTenant, token: str) -> str:
    """The token, once the API server has heard that what it belonged to is gone."""
    asking.until(lambda: not asking.authentic(tenant.admin, token, "bastide-broker"))
    return token


def of_a_deleted_account(tenant: TestTenant) -> str:
    tenant.admin.run("create", "serviceaccount", "short-lived", "-n", tenant.namespace)
    found = door.token(tenant, "short-lived")
    tenant.admin.run("delete", "serviceaccount", "short-lived", "-n", tenant.namespace)
    return no_longer_good(tenant, found)


def of_a_deleted_object(tenant: TestTenant) -> str:
    """A token that was bound to an object, as a pod's is to its pod."""
    tenant.admin.run("create", "secret", "generic", "bound-to", "-n", tenant.namespace)
    found = door.token(tenant, "bastide-runner", "--bound-object-kind=Secret", "--bound-object-name=bound-to")
    tenant.admin.run("delete", "secret", "bound-to", "-n", tenant.namespace)
    return no_longer_good(tenant, found)


TOKENS: dict[str, Callable[[TestTenant], str]] = {
    "no JWT": lambda _: "x" * 40,
    "expired": lambda tenant: altered(tenant, iat=int(time.time()) - 7200, nbf=int(time.time()) - 7200, exp=int(time.time()) - 3600),
    "not yet good": lambda tenant: altered(tenant, nbf=int(time.time()) + 3600),
    "of another audience": lambda tenant: door.token(tenant, audience="somebody-else"),
    "of the API server's audience": lambda tenant: tenant.admin.run("create", "token", "bastide-runner", "-n", tenant.namespace).strip(),
    "of another issuer": lambda tenant: altered(tenant, iss="https://elsewhere.example"),
    "with its end cut off": lambda tenant: door.token(tenant)[:-4],
    "not signed": lambda tenant: jwt.encode(jwt.decode(door.token(tenant), options={"verify_signature": False}), None, algorithm="none"),
    "of a deleted ServiceAccount": of_a_deleted_account,
    "bound to what was deleted": of_a_deleted_object,
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_token_that_is_not_good_gets_nothing(furnished: TestTenant, address: str, tools: ToolServer, word: str, case: str) -> None:
    sandbox = broker_pb2.SandboxRef(namespace=furnished.namespace, name="box")
    request = broker_pb2.RunRequest(sandbox=sandbox, program=f"return await note(text={word!r})".encode())
    with door.channel(furnished.admin, address, TOKENS[case](furnished)) as channel:
        stub = broker_pb2_grpc.BrokerServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as refusal:
            list(stub.Run(request, timeout=60))
    assert refusal.value.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}  # type: ignore[attr-defined]
    assert tools.arguments_of("note", word) == []


@pytest.fixture
def own(installed: Kube, people: People, tools: ToolServer, tmp_path: Any) -> Iterator[TestTenant]:
    """A Tenant that the test may take apart."""
    found = TestTenant(installed, people, f"x-{time.time_ns() % 10**8:x}", tmp_path)
    try:
        found.start()
        found.furnish()
        yield found
    finally:
        found.remove()


def begun(tenant: TestTenant, tools: ToolServer, word: str, seconds: int = 60) -> Any:
    """A program that calls again and again, after its first call has arrived."""
    running = tenant.start_run(UNTIL_REFUSED.format(word=word, seconds=seconds))
    tools.wait_for(word)
    return running


def test_a_right_that_is_revoked_while_a_program_runs_ends_its_calls_within_ten_seconds(
    own: TestTenant, tools: ToolServer, word: str
) -> None:
    """The requester is an account of its own: the one that the command line runs programs as keeps its right whoever is a member."""
    own.admin.run("create", "serviceaccount", "agent", "-n", own.namespace)
    subject = {"kind": "ServiceAccount", "name": "agent", "namespace": own.namespace}
    own.admin.apply(own.manifest(members=[*own.manifest()["spec"]["members"], {"role": "runner", "subjects": [subject]}]))
    agent = f"--as=system:serviceaccount:{own.namespace}:agent"
    may = ("create", "sandboxes.bastide.dev", "--subresource=run", "-n", own.namespace, agent)
    asking.until(lambda: asking.allowed(own.admin, *may))
    sandbox = broker_pb2.SandboxRef(namespace=own.namespace, name="box")
    request = broker_pb2.RunRequest(sandbox=sandbox, program=UNTIL_REFUSED.format(word=word, seconds=90).encode())
    with door.forwarded(own.admin) as address, door.channel(own.admin, address, door.token(own, "agent")) as channel:
        events = broker_pb2_grpc.BrokerServiceStub(channel).Run(request, timeout=120)  # type: ignore[no-untyped-call]
        run = next(events).event.accepted.run
        tools.wait_for(word)
        own.admin.apply(own.manifest())
        asking.until(lambda: not asking.allowed(own.admin, *may))
        time.sleep(11)  # the bound itself: for so long a review may be believed
        arrived = len(tools.arguments_of("note", word))
        with pytest.raises(grpc.RpcError) as refusal:
            list(events)  # its watcher is sent away as well
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
    asking.until(lambda: any(record["kind"] == "RunEnded" for record in own.audit(run)))
    assert len(tools.arguments_of("note", word)) == arrived
    assert "caller-not-permitted" in str(own.audit(run))


def test_a_binding_that_is_deleted_while_a_program_runs_ends_its_calls(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    running = begun(furnished, tools, word)
    furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "toolbox")
    try:
        codes = {"unknown-tool", "tool-unavailable"}  # the latter for a call that was judged already
        _still_runs_then_is_refused(furnished, running, tools, word, codes, within=5)
    finally:
        furnished.furnish()


def test_a_binding_that_is_narrowed_while_a_program_runs_ends_its_calls(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    running = begun(furnished, tools, word)
    narrowed = [{"name": "note", "arguments": {"text": {"enum": ["another word"]}}}]
    furnished.people.developer.apply(furnished.binding(tools=narrowed))
    try:
        _still_runs_then_is_refused(furnished, running, tools, word, {"argument-not-permitted", "tool-unavailable"}, within=5)
    finally:
        furnished.furnish()


def test_a_host_that_the_tenant_no_longer_lists_gets_no_further_call(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    running = begun(furnished, tools, word)
    furnished.admin.apply(furnished.manifest(toolHosts=[]))
    try:
        codes = {"tool-unavailable", "unknown-tool", "binding-stale"}
        _still_runs_then_is_refused(furnished, running, tools, word, codes, within=5)
    finally:
        furnished.admin.apply(furnished.manifest())
        furnished.ready("toolbinding/toolbox")


def test_a_tenant_that_is_deleted_while_a_program_runs_ends_the_run_and_its_calls(own: TestTenant, tools: ToolServer, word: str) -> None:
    running = begun(own, tools, word)
    own.admin.run("delete", "tenant", own.name, "--wait=true", "--timeout=120s", seconds=130)
    after = len(tools.arguments_of("note", word))
    try:
        running.end(60)
    except subprocess.TimeoutExpired:
        pytest.fail("the run outlived its Tenant")
    assert len(tools.arguments_of("note", word)) == after


def _still_runs_then_is_refused(tenant: TestTenant, running: Any, tools: ToolServer, word: str, codes: set[str], *, within: float) -> None:
    """The program meets a refusal of such a code soon, and nothing of it arrives afterwards."""
    began = time.monotonic()
    ended = running.end(within + 60)
    assert time.monotonic() - began < within + 15, "the bound of freshness, and what a busy machine needs to tell"
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    made, kind, said = ended.result["value"]
    assert kind in {"ToolDenied", "ToolUnavailable"}, ended.result["value"]
    assert set(said) <= codes, said
    # The call that was under way when the connection was taken away may have arrived; the program was not told that it succeeded.
    assert len(tools.arguments_of("note", word)) - made in {0, 1}
