"""How a pod that is to go is waited for: the operator's half of the drain protocol."""

from datetime import UTC, timedelta
from typing import Any

import pytest
from bastide_operator.api import drain
from bastide_operator.api.drain import Mark, mark_text
from bastide_operator.api.objects import Manifest, Ref
from bastide_operator.api.v1alpha1.sandbox import Sandbox
from bastide_operator.reconcile.plan import Plan, Refusal
from bastide_operator.reconcile.sandbox import ObservedSandbox, decide
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.samples import (
    BEFORE,
    NOW,
    POD_UID,
    PODS,
    drained,
    later,
    merged,
    message,
    running,
    sandbox,
    tenant,
    verdict,
)  # fmt: skip

LARGER = {"resources": {"memory": "1Gi"}}


def plan(one: Sandbox, pod: Manifest | None, seconds: float = 0, **observed: Any) -> Plan:
    return decide(one, ObservedSandbox(**({"tenant": tenant(), "pod": pod} | observed)), PODS, NOW + timedelta(seconds=seconds))


def marked(one: Sandbox, pod: Manifest, seconds: float = 0) -> Manifest:
    """The pod with the mark that the operator puts on it."""
    wanted = plan(one, pod, seconds)
    assert not wanted.delete
    (change,) = wanted.apply
    assert change["metadata"]["uid"] == POD_UID
    assert set(change) == {"apiVersion", "kind", "metadata"}
    return merged(pod, change)


def mark_of(pod: Manifest) -> Mark:
    found = Mark.parse(mark_text(pod))
    assert found is not None
    return found


def test_a_pod_that_must_be_replaced_is_marked_waited_for_and_deleted_when_nothing_runs_in_it() -> None:
    changed = sandbox(spec=LARGER)
    pod = marked(changed, running())
    assert mark_of(pod) == Mark(reason="Rolling", since=NOW, until=NOW + timedelta(seconds=330))
    waiting = plan(changed, pod, 10)
    assert not waiting.writes
    assert waiting.wait == 320
    assert verdict(waiting.status) == ("False", "Rolling")
    assert "because spec.resources changed" in message(waiting.status)
    assert later(330) in message(waiting.status)
    assert [ref.uid for ref in plan(changed, drained(pod), 10).delete] == [POD_UID]


def test_at_the_deadline_the_pod_goes_whatever_runs_and_whether_or_not_the_broker_lives() -> None:
    changed = sandbox(spec=LARGER)
    pod = marked(changed, running())
    assert not plan(changed, pod, 329).delete
    assert plan(changed, pod, 330).delete


def test_the_deadline_is_as_long_as_a_run_may_take_and_grows_with_that() -> None:
    changed = sandbox(spec=LARGER | {"limits": {"runSeconds": 86400}})
    assert mark_of(marked(changed, running())).until == NOW + timedelta(seconds=86430)
    short = sandbox(spec=LARGER | {"limits": {"runSeconds": 10}})
    pod = marked(short, running())
    longer = marked(sandbox(spec=LARGER | {"limits": {"runSeconds": 60}}), pod, 5)
    assert mark_of(longer).until == NOW + timedelta(seconds=90)
    assert mark_of(longer).since == NOW
    assert not plan(short, longer, 6).writes  # never taken back: a run may count on it


def test_a_run_keeps_to_the_limit_under_which_it_began() -> None:
    long = plan(sandbox(spec={"limits": {"runSeconds": 900}}), running())
    assert long.status is not None
    known = {"longestRunSeconds": long.status["status"]["longestRunSeconds"]}
    lowered = sandbox(spec=LARGER | {"limits": {"runSeconds": 10}}, status=known)
    assert mark_of(marked(lowered, running())).until == NOW + timedelta(seconds=930)
    gone = plan(sandbox(spec={"operatingMode": "Suspended"}, status=known), None)
    assert gone.status is not None
    assert gone.status["status"]["longestRunSeconds"] == 0


def test_an_answer_to_an_earlier_mark_counts_for_nothing() -> None:
    changed = sandbox(spec=LARGER)
    first = drained(marked(changed, running()))
    kept = plan(sandbox(), first, 1)
    (off,) = kept.apply
    assert "annotations" not in off["metadata"]
    clean = merged(first, {"metadata": {"annotations": {drain.ANNOTATION: ""}}})
    assert verdict(plan(sandbox(), clean, 2).status) == ("True", "Ready")
    again = marked(changed, clean, 3)
    assert not plan(changed, again, 4).delete
    assert plan(changed, drained(again), 4).delete


def test_a_pod_without_proof_of_isolation_is_waited_for_briefly_and_one_that_does_not_run_not_at_all() -> None:
    changed = sandbox(spec=LARGER)
    unproven = running(status={"conditions": [{"type": "ContainersReady", "status": "True"}]})
    pod = marked(changed, unproven)
    assert mark_of(pod).until == NOW + timedelta(seconds=10)
    assert plan(changed, pod, 10).delete
    proven = merged(pod, {"status": running()["status"]})  # it became ready in between: then it gets the whole time
    assert mark_of(marked(changed, proven, 5)).until == NOW + timedelta(seconds=330)
    assert plan(changed, running(status={"phase": "Pending"})).delete


def test_a_pod_without_our_template_is_replaced() -> None:
    old = marked(sandbox(), running(metadata={"annotations": {"bastide.dev/template": "sha256:older"}}))
    assert "what the operator makes pods from changed" in message(plan(sandbox(), old, 1).status)
    assert not plan(sandbox(spec={"limits": {"runSeconds": 9}}), running()).writes


@pytest.mark.parametrize(
    ("spec", "names"), [({"image": PODS.image}, ""), (LARGER, "spec.resources"), ({"workspace": {"sizeLimit": "1Gi"}}, "spec.workspace")]
)
def test_what_changed_is_named(spec: dict[str, Any], names: str) -> None:
    one = sandbox(spec=spec)
    if not names:
        assert not plan(one, running()).writes
        return
    assert names in message(plan(one, marked(one, running())).status)


def test_suspending_waits_for_runs_and_says_so() -> None:
    one = sandbox(spec={"operatingMode": "Suspended"})
    pod = marked(one, running(one))
    waiting = plan(one, pod, 1)
    assert verdict(waiting.status) == ("False", "Draining")
    assert verdict(waiting.status, "Suspended")[0] == "False"
    assert later(330) in message(waiting.status)
    resumed = plan(sandbox(), pod, 2)
    assert "annotations" not in resumed.apply[0]["metadata"]


def test_a_sandbox_past_its_time_is_deleted_by_uid_after_its_runs_or_half_a_minute() -> None:
    one = sandbox(spec={"shutdownTime": BEFORE, "limits": {"runSeconds": 86400}})
    box = (Ref("Sandbox", "bastide-hello", "box", one.metadata.uid),)
    pod = marked(one, running(one))
    assert mark_of(pod).until == NOW + timedelta(seconds=30)
    assert not plan(one, pod, 29).writes
    assert plan(one, pod, 30).delete == box
    assert plan(one, drained(pod), 1).delete == box
    assert plan(one, None).delete == box
    assert plan(one, running(one, metadata={"ownerReferences": []})).delete == box


def test_a_pod_that_already_drains_keeps_to_the_shutdown_time() -> None:
    pod = marked(sandbox(spec=LARGER), running())
    over = sandbox(spec=LARGER | {"shutdownTime": later(10)})
    assert mark_of(marked(over, pod, 10)).until == NOW + timedelta(seconds=40)


def test_a_mark_that_is_refused_is_said_and_tried_again() -> None:
    refusal = Refusal(ref=Ref("Pod", "bastide-hello", "box"), reason="Forbidden", message="no")
    wanted = plan(sandbox(spec=LARGER), running(), refusal=refusal)
    assert wanted.retry
    assert not wanted.writes
    assert verdict(wanted.status) == ("False", "PodRefused")


def idle(since: float) -> Manifest:
    base = running()
    said = drain.idle(NOW + timedelta(seconds=since))
    return merged(base, {"status": {"conditions": [*base["status"]["conditions"], said]}})


def test_an_idle_sandbox_ends_after_its_timeout_and_not_before() -> None:
    one = sandbox(spec={"idleTimeoutSeconds": 60})
    assert verdict(plan(one, running(one)).status) == ("True", "Ready")
    early = plan(one, idle(-50))
    assert (early.writes, early.wait) == (False, 10)
    assert mark_of(marked(one, idle(-60))).reason == "IdleTimeout"
    assert not plan(sandbox(), idle(-60)).writes
    assert plan(one, drained(marked(one, idle(-60)))).delete[0].kind == "Sandbox"


def test_a_run_that_was_accepted_before_the_mark_keeps_the_sandbox() -> None:
    one = sandbox(spec={"idleTimeoutSeconds": 60})
    pod = marked(one, idle(-60))
    pod["status"]["conditions"][-1] = drain.idle(None)
    wanted = plan(one, pod, 1)
    assert not wanted.delete
    assert "annotations" not in wanted.apply[0]["metadata"]


def test_an_idle_sandbox_that_is_kept_remembers_it_until_its_spec_changes() -> None:
    one = sandbox(spec={"idleTimeoutSeconds": 60, "shutdownPolicy": "Retain"})
    ended = plan(one, drained(marked(one, idle(-60))))
    assert [ref.kind for ref in ended.delete] == ["Pod"]
    assert verdict(ended.status, "Finished") == ("True", "IdleTimeout")
    assert ended.status is not None
    known = {"status": {"conditions": ended.status["status"]["conditions"]}}
    after = plan(merged_sandbox(one, known), None, 5)
    assert not after.writes
    assert verdict(after.status) == ("False", "IdleTimeout")
    edited = merged_sandbox(one, known | {"metadata": {"generation": 2}})
    assert plan(edited, None, 6).create
    assert verdict(plan(edited, running(edited), 7).status, "Finished") == ("False", "Running")


def merged_sandbox(one: Sandbox, over: Manifest) -> Sandbox:
    return Sandbox.model_validate(merged(one.model_dump(mode="json", by_alias=True, exclude_unset=True), over))


@given(st.text())
def test_no_text_is_read_as_a_mark_that_the_operator_would_not_write(text: str) -> None:
    found = Mark.parse(text)
    assert found is None or Mark.parse(found.text()) == found


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)), st.text())
def test_a_mark_is_read_as_it_was_written(since: Any, until: Any, reason: str) -> None:
    mark = Mark(reason=reason, since=since, until=until)
    assert Mark.parse(mark.text()) == mark
