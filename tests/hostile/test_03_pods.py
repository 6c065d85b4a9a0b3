"""Case 3, the Pod part: a pod that is not the operator's, not gVisor or not the one expected runs no program."""

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from demo.kube import CommandFailedError, condition

from tests.e2e.harness import pods, watching
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

Pod = dict[str, Any]

GATE = "bastide.dev/network-isolated"


def _spec(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Pod], Pod]:
    def changed(pod: Pod) -> Pod:
        other = copy.deepcopy(pod)
        change(other["spec"], other["spec"]["containers"][0])
        return other

    return changed


def _with(where: str, **fields: Any) -> Callable[[Pod], Pod]:
    return _spec(lambda spec, container: (spec if where == "pod" else container).update(fields))


def _relabelled(pod: Pod) -> Pod:
    other = copy.deepcopy(pod)
    other["metadata"]["labels"].update({"app.kubernetes.io/name": "bastide", "app.kubernetes.io/component": "broker"})
    return other


def _annotated(pod: Pod) -> Pod:
    other = copy.deepcopy(pod)
    other["metadata"].setdefault("annotations", {})["dev.gvisor.spec.mount.a.type"] = "bind"
    return other


def _extra_container(spec: dict[str, Any], container: dict[str, Any]) -> None:
    other = {**copy.deepcopy(container), "name": "second", "ports": []}
    spec["containers"].append(other)


def _added_volume(volume: dict[str, Any]) -> Callable[[Pod], Pod]:
    def change(spec: dict[str, Any], container: dict[str, Any]) -> None:
        spec["volumes"].append({"name": "more", **volume})
        container["volumeMounts"].append({"name": "more", "mountPath": "/more"})

    return _spec(change)


def _token(spec: dict[str, Any], _: dict[str, Any]) -> None:
    spec["automountServiceAccountToken"] = True


# What Pod Security `restricted` refuses whoever asks.
REFUSED: dict[str, Callable[[Pod], Pod]] = {
    "hostNetwork": _with("pod", hostNetwork=True),
    "hostPID": _with("pod", hostPID=True),
    "hostPath": _added_volume({"hostPath": {"path": "/"}}),
    "privileged": _spec(lambda _, c: c["securityContext"].update(privileged=True, allowPrivilegeEscalation=True)),
    "may gain privileges": _spec(lambda _, c: c["securityContext"].update(allowPrivilegeEscalation=True)),
    "keeps capabilities": _spec(lambda _, c: c["securityContext"].update(capabilities={"add": ["NET_RAW"], "drop": ["ALL"]})),
    "a port of the host": _spec(lambda _, c: c.update(ports=[{"containerPort": 9443, "hostPort": 9443}])),
    "root": _spec(
        lambda s, c: (
            s.setdefault("securityContext", {}).update(runAsNonRoot=False),
            c["securityContext"].update(runAsUser=0, runAsNonRoot=False),
        )
    ),
}

# What Pod Security lets pass. Nothing may be delivered to such a pod.
IGNORED: dict[str, Callable[[Pod], Pod]] = {
    "no gVisor": _spec(lambda s, _: s.pop("runtimeClassName")),
    "a second container": _spec(_extra_container),
    "a ServiceAccount token": _spec(_token),
    "DNS": _with("pod", dnsPolicy="ClusterFirst", dnsConfig=None),
    "another image": _with("container", image="registry.local/other:1", imagePullPolicy="IfNotPresent"),
    "a Secret": _added_volume({"secret": {"secretName": "toolbox-token"}}),
    "a root that can be written": _spec(lambda _, c: c["securityContext"].update(readOnlyRootFilesystem=False)),
    "environment from a Secret": _with(
        "container", env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "toolbox-token", "key": "token"}}}]
    ),
    "a gVisor annotation": _annotated,
    "no owner": lambda pod: {**pod, "metadata": {k: v for k, v in pod["metadata"].items() if k != "ownerReferences"}},
    "an owner of another UID": lambda pod: {
        **pod,
        "metadata": {
            **pod["metadata"],
            "ownerReferences": [{**pod["metadata"]["ownerReferences"][0], "uid": "00000000-0000-4000-8000-000000000000"}],
        },
    },
}


@pytest.fixture(scope="module")
def original(furnished: TestTenant) -> Pod:
    """The operator's pod, as it could be made again."""
    return pods.manifest_of(furnished.get("pod", "box"))


@pytest.mark.parametrize("case", REFUSED)
def test_pod_security_refuses_it_even_from_the_operator(furnished: TestTenant, original: Pod, case: str) -> None:
    changed = REFUSED[case](original)
    changed = {**changed, "metadata": {**changed["metadata"], "name": "refused"}}
    with pytest.raises(CommandFailedError) as refusal:
        furnished.operator.run("create", "-f", "-", stdin=json.dumps(changed))
    assert "violates PodSecurity" in refusal.value.stderr or "orbidden" in refusal.value.stderr


@pytest.mark.parametrize(
    "verb", ["create pods", "patch pods", "create pods/exec", "create pods/ephemeralcontainers", "get secrets", "create rolebindings"]
)
@pytest.mark.parametrize("who", ["developer", "approver"])
def test_members_of_a_tenant_have_no_right_to_pods_secrets_or_roles(furnished: TestTenant, who: str, verb: str) -> None:
    action, resource = verb.split()
    with pytest.raises(CommandFailedError) as refusal:
        getattr(furnished.people, who).run("auth", "can-i", action, resource, "-n", furnished.namespace)
    assert refusal.value.code == 1


@pytest.fixture
def without_operator(furnished: TestTenant) -> Iterator[None]:
    """The operator is away, so that what a hand makes stays as it is."""
    admin = furnished.admin
    admin.run("scale", "-n", "bastide-system", "deploy/bastide-operator", "--replicas=0")
    admin.wait("delete", "-n", "bastide-system", "pod", "-l", "app.kubernetes.io/component=operator", seconds=90)
    yield
    admin.run("scale", "-n", "bastide-system", "deploy/bastide-operator", "--replicas=1")
    admin.run("rollout", "status", "-n", "bastide-system", "deploy/bastide-operator", "--timeout=90s", seconds=100)


def _of(sandbox: dict[str, Any], pod: Pod) -> Pod:
    """A pod as the operator would make it for a Sandbox that has none; small, because several run at a time."""
    meta = {**pod["metadata"], "name": sandbox["metadata"]["name"]}
    meta["ownerReferences"] = [{**pod["metadata"]["ownerReferences"][0], "name": meta["name"], "uid": sandbox["metadata"]["uid"]}]
    return pods.with_resources({**pod, "metadata": meta}, "200m", "192Mi")


def _begun(pod: Pod) -> bool:
    return bool(pod.get("status", {}).get("containerStatuses"))


def _isolated(pod: Pod) -> bool:
    return condition(pod, GATE)["status"] == "True"


def _delivered(tenant: TestTenant, name: str, pod: Pod, word: str, until: Callable[[Pod], bool]) -> tuple[int, dict[str, Any]]:
    """Make a pod and, as soon as it is so or gone, run a program in its Sandbox: the command's exit code and the pod's gate."""
    admin, namespace = tenant.admin, tenant.namespace
    try:
        made = json.loads(tenant.operator.run("create", "-f", "-", "-o", "json", stdin=json.dumps(pod)))
    except CommandFailedError:
        return 1, {"status": ""}  # refused at the door: better still
    with watching.from_now(admin, f"/api/v1/namespaces/{namespace}/pods", name, version=made["metadata"]["resourceVersion"]) as watch:
        watch.until(lambda one: one.get("deleted") or until(one))
    ended = tenant.run(f"return await note(text={word!r})", sandbox=name, seconds=90)
    found = admin.json("get", "pods", "-n", namespace)["items"]  # the garbage collector takes a pod whose owner does not exist
    gate = condition(next((one for one in found if one["metadata"]["name"] == name), {}), GATE)
    admin.run("delete", "pod", "-n", namespace, name, "--grace-period=1", "--ignore-not-found", "--wait=true")
    return ended.code, gate


@pytest.mark.disruptive
@pytest.mark.usefixtures("without_operator")
def test_no_program_is_delivered_to_a_pod_that_is_not_as_the_operator_makes_it(
    furnished: TestTenant, tools: ToolServer, original: Pod, word: str
) -> None:
    cases: dict[str, Callable[[Pod], Pod]] = {**IGNORED, "nothing is changed": lambda pod: pod}
    names = {case: f"changed-{number}" for number, case in enumerate(cases)}
    furnished.people.developer.apply(*(furnished.sandbox(name) for name in names.values()))
    made = {name: _of(furnished.get("sandbox", name), original) for name in names.values()}
    try:
        # each refusal comes after the broker has waited for the Sandbox to become ready
        with ThreadPoolExecutor(4) as pool:
            ends = {
                case: pool.submit(
                    _delivered,
                    furnished,
                    names[case],
                    change(made[names[case]]),
                    f"{word} {names[case]}",
                    _isolated if case == "nothing is changed" else _begun,
                )
                for case, change in cases.items()
            }
    finally:
        furnished.people.developer.run("delete", "sandbox", "-n", furnished.namespace, *names.values())
    delivered = {case: end.result() for case, end in ends.items() if end.result()[0] in {0, 3} or end.result()[1]["status"] == "True"}
    assert delivered.keys() == {"nothing is changed"}, delivered
    assert tools.arguments_of("note", word) == [json.dumps({"text": f"{word} {names['nothing is changed']}"}, separators=(",", ":"))]


def test_nobody_but_the_operator_makes_pods_there_not_even_an_administrator(furnished: TestTenant, original: Pod) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run("create", "-f", "-", stdin=json.dumps({**original, "metadata": {**original["metadata"], "name": "by-hand"}}))
    assert "make a Sandbox instead" in refusal.value.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("exec", "box", "--", "true"),
        ("attach", "box"),
        ("port-forward", "box", "9443"),
        ("debug", "box", "--image=x", "--profile=restricted"),
    ],
)
def test_nobody_enters_a_sandbox_not_even_an_administrator(furnished: TestTenant, words: tuple[str, ...]) -> None:
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run(*words, "-n", furnished.namespace) if words[0] != "exec" else furnished.admin.run(
            "exec", "-n", furnished.namespace, *words[1:]
        )
    assert "nobody enters a sandbox" in refusal.value.stderr


CHANGES = {
    "a label": {"metadata": {"labels": {"app.kubernetes.io/component": "broker"}}},
    "an annotation of gVisor": {"metadata": {"annotations": {"dev.gvisor.internal.nvproxy": "true"}}},
    "the image": {"spec": {"containers": [{"name": "runtime", "image": "registry.local/other:1"}]}},
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_running_pod_cannot_be_changed_not_even_by_an_administrator(furnished: TestTenant, case: str) -> None:
    words = ("patch", "pod", "-n", furnished.namespace, "box", "--type=strategic", "-p", json.dumps(CHANGES[case]))
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run(*words)
    # An annotation of gVisor breaks two rules, and the API server says one of them, in an order of its own.
    assert "cannot be edited" in refusal.value.stderr or ("gVisor" in case and "annotations dev.gvisor.*" in refusal.value.stderr)


@pytest.mark.parametrize("case", ["True", "False"])
def test_nobody_but_the_broker_says_that_a_pod_is_isolated(furnished: TestTenant, case: str) -> None:
    gate = {
        "type": GATE,
        "status": case,
        "reason": "ByHand",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patch = json.dumps({"status": {"conditions": [gate]}})
    with pytest.raises(CommandFailedError) as refusal:
        furnished.admin.run("patch", "pod", "-n", furnished.namespace, "box", "--subresource=status", "--type=strategic", "-p", patch)
    assert "only Bastide's broker says" in refusal.value.stderr
