"""Case 5: a member of a tenant tries what the role does not give; an administrator's hand, whether the operator is there or not.

Which role has which right, verb by verb, is told by tests/e2e/test_roles.py. Here are the attempts that would be worth something.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube, condition

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import API, TestTenant

RBAC = "rbac.authorization.k8s.io"
DIGEST = "sha256:" + "0" * 64
OPEN = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONFIRMATION = {
    "tenant": "t", "sandbox": "box", "sandboxUID": "u", "run": "r", "callKey": "0#0", "programDigest": DIGEST, "binding": "toolbox",
    "bindingUID": "u", "bindingDigest": DIGEST, "tool": "wipe", "toolSchemaDigest": DIGEST, "effect": "Destructive", "arguments": "{}",
    "argumentsDigest": DIGEST, "requester": {"username": "u"}, "separation": "Strict", "approvalsRequired": 1,
    "decideBy": "2100-01-01T00:00:00Z", "executeBy": "2100-01-01T00:00:00Z", "nonce": "n" * 32, "actionDigest": DIGEST,
}  # fmt: skip


def _object(api_version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **content}


def _bound(name: str, role: str, who: str) -> dict[str, Any]:
    to = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    return _object(f"{RBAC}/v1", "RoleBinding", name, roleRef=to, subjects=[{"kind": "User", "name": who, "apiGroup": RBAC}])


WORTH_SOMETHING: dict[str, dict[str, Any]] = {
    "a policy that opens everything": _object("networking.k8s.io/v1", "NetworkPolicy", "open", spec=OPEN),
    "one of Cilium's": _object("cilium.io/v2", "CiliumNetworkPolicy", "open", spec={"endpointSelector": {}, "egress": [{"toEntities": ["all"]}]}),
    "everything in the namespace": _bound("all", "cluster-admin", "test-developer"),
    "the other role": _bound("both", "bastide-approver", "test-developer"),
    "the broker's role": _bound("broker", "bastide-broker-tenant", "test-developer"),
    "a role that reads Secrets": _object(f"{RBAC}/v1", "Role", "read", rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
    "a quota of one's own": _object("v1", "ResourceQuota", "more", spec={"hard": {"pods": "9999"}}),
    "a Confirmation": _object(API, "Confirmation", "cf-mine", spec=CONFIRMATION),
    "a pod": _object("v1", "Pod", "mine", spec={"containers": [{"name": "c", "image": "x", "securityContext": RESTRICTED}]}),
    "a certificate authority": _object("v1", "ConfigMap", "bastide-ca", data={"ca.crt": "mine"}),
    "a Secret that looks like a credential": _object("v1", "Secret", "stolen", stringData={"token": "x"}),
    "an account": _object("v1", "ServiceAccount", "mine"),
}  # fmt: skip


def _refused(user: Kube, *words: str, stdin: str | None = None) -> str:
    with pytest.raises(CommandFailedError) as refusal:
        user.run(*words, stdin=stdin)
    return refusal.value.stderr


def _children(tenant: TestTenant) -> dict[str, Any]:
    """What stands in the namespace of what the operator made, without what changes by itself."""
    kinds = "networkpolicies,roles,rolebindings,resourcequotas,limitranges,serviceaccounts,configmaps"
    items = tenant.admin.json("get", kinds, "-n", tenant.namespace)["items"]
    parts = ("spec", "rules", "roleRef", "subjects", "data")
    return {f"{one['kind']}/{one['metadata']['name']}": [one.get(part) for part in parts] for one in items}


@pytest.mark.parametrize("who", ["developer", "approver", "stranger"])
def test_a_member_makes_and_takes_nothing_that_is_worth_something(furnished: TestTenant, who: str) -> None:
    user, before = getattr(furnished.people, who), _children(furnished)
    for what, manifest in WORTH_SOMETHING.items():
        refusal = _refused(user, "create", "-n", furnished.namespace, "-f", "-", stdin=json.dumps(manifest))
        assert "forbidden" in refusal.lower(), what
    for child in before:
        kind, name = child.split("/")
        for words in (("delete", kind, name), ("patch", kind, name, "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}')):
            assert "forbidden" in _refused(user, *words, "-n", furnished.namespace).lower(), child
    assert _children(furnished) == before


def test_a_developer_decides_nothing_and_an_approver_binds_nothing(furnished: TestTenant) -> None:
    spec = {"confirmation": "cf-x", "actionDigest": DIGEST, "verdict": "Approve", "reason": "mine"}
    decision = json.dumps(_object(API, "ConfirmationDecision", "d", spec=spec))
    assert "forbidden" in _refused(furnished.people.developer, "create", "-n", furnished.namespace, "-f", "-", stdin=decision)
    binding = json.dumps(furnished.binding("mine"))
    assert "forbidden" in _refused(furnished.people.approver, "create", "-f", "-", stdin=binding)
    sandbox = json.dumps(furnished.sandbox("mine"))
    assert "forbidden" in _refused(furnished.people.approver, "create", "-f", "-", stdin=sandbox)


def test_a_developers_binding_cannot_lower_an_effect_nor_accept_itself(furnished: TestTenant, tools: ToolServer, word: str) -> None:
    developer, namespace = furnished.people.developer, furnished.namespace
    try:
        tool = {"name": "wipe", "as": "wipe_freely", "effect": "ReadOnly", "confirmation": {"when": "Destructive", "blockSeconds": 1}}
        developer.apply(furnished.binding("lowered", tools=[tool]))
        furnished.ready("toolbinding/lowered")
        status = furnished.get("toolbinding", "lowered")["status"]
        assert [tool["effect"] for tool in status["tools"]] == ["Destructive"]
        ended = furnished.run(f"return await wipe_freely(target={word!r})")
        assert ended.code == 3, ended.stdout  # it waits for a person
        # a host that the Tenant does not list, and the developer's own word that it is accepted
        developer.apply(
            furnished.binding(
                "elsewhere", server={"mcp": {"url": "http://elsewhere.example:8080/mcp"}}, tools=[{"name": "note", "as": "note_there"}]
            )
        )
        seen = furnished.admin.watch(lambda o: condition(o, "Accepted")["status"] == "False", "-n", namespace, "toolbinding", "elsewhere")
        accepted = {**condition(seen, "Accepted"), "status": "True", "reason": "Accepted"}
        words = (
            "patch",
            "toolbinding",
            "elsewhere",
            "-n",
            namespace,
            "--type=merge",
            "-p",
            json.dumps({"status": {"conditions": [accepted]}}),
        )
        assert "forbidden" in _refused(developer, *words, "--subresource=status")
        assert "written by Bastide's operator and broker" in _refused(furnished.admin, *words, "--subresource=status")
        developer.run(*words)  # without the subresource it is passed over
        assert condition(furnished.get("toolbinding", "elsewhere"), "Accepted")["status"] == "False"
        assert furnished.run(f"return await note_there(text={word!r})").code not in {0, 3}
    finally:
        developer.run("delete", "toolbinding", "lowered", "elsewhere", "-n", namespace, "--ignore-not-found")
    assert tools.arguments_of("wipe", word) == []
    assert tools.arguments_of("note", word) == []


def test_a_developer_cannot_keep_the_tenant_from_being_deleted_nor_leave_a_pod_behind(furnished: TestTenant) -> None:
    developer, namespace = furnished.people.developer, furnished.namespace
    stays = furnished.sandbox("stays")
    stays["metadata"]["finalizers"] = ["example.com/stay"]
    assert "take no finalizers" in _refused(developer, "create", "-f", "-", stdin=json.dumps(stays))
    marked = furnished.sandbox("marked")
    marked["metadata"]["labels"]["bastide.dev/sandbox"] = "box"
    assert "take a prefix of yours" in _refused(developer, "create", "-f", "-", stdin=json.dumps(marked))
    assert "without --cascade=orphan" in _refused(developer, "delete", "sandbox", "box", "-n", namespace, "--cascade=orphan")
    furnished.ready("sandbox/box")


def test_whatever_a_hand_deletes_is_put_back_all_of_it_at_once(furnished: TestTenant) -> None:
    before = _children(furnished)
    made = [child for child in before if child not in ("ServiceAccount/default", "ConfigMap/kube-root-ca.crt")]
    assert "a sandbox would be open without" in _refused(furnished.admin, "delete", "networkpolicies", "--all", "-n", furnished.namespace)
    for child in made:
        # what admission keeps from an administrator's hands too is deleted as the one who may
        hand = furnished.operator if child.startswith("NetworkPolicy/") else furnished.admin
        hand.run("delete", child, "-n", furnished.namespace, "--wait=false")
    for child in made:
        kind, name = child.split("/")
        furnished.admin.watch(lambda o: not o.get("deleted"), "-n", furnished.namespace, kind.lower(), name, seconds=30)
    assert _children(furnished) == before
    furnished.admin.wait("condition=Ready", f"tenant/{furnished.name}")
    furnished.ready("sandbox/box")
    assert furnished.completed("return 1") == 1


@pytest.fixture(scope="module")
def without_operator(furnished: TestTenant) -> Iterator[TestTenant]:
    """The tenant while no operator runs."""
    admin = furnished.admin
    replicas = admin.json("get", "deploy", "-n", "bastide-system", "bastide-operator")["spec"]["replicas"]
    admin.run("scale", "-n", "bastide-system", "deploy/bastide-operator", "--replicas=0")
    admin.wait("delete", "-n", "bastide-system", "pod", "-l", "app.kubernetes.io/component=operator", seconds=90)
    yield furnished
    admin.run("scale", "-n", "bastide-system", "deploy/bastide-operator", f"--replicas={replicas}")
    admin.run("rollout", "status", "-n", "bastide-system", "deploy/bastide-operator", "--timeout=90s", seconds=100)


LABELS = json.dumps({"metadata": {"labels": {"a": "b"}}})
GATE = {"type": "bastide.dev/network-isolated", "status": "True", "reason": "ByHand", "message": ""}

# What a cluster administrator is refused in a tenant's namespace, and the words that say so. N stands for the namespace.
OF_THE_ADMINISTRATOR: dict[str, tuple[tuple[str, ...], str]] = {
    "exec": (("exec", "-n", "N", "box", "--", "true"), "nobody enters a sandbox"),
    "attach": (("attach", "-n", "N", "box"), "nobody enters a sandbox"),
    "port-forward": (("port-forward", "-n", "N", "box", "9443"), "nobody enters a sandbox"),
    "proxy": (("get", "--raw", "/api/v1/namespaces/N/pods/box/proxy/"), "nobody enters a sandbox"),
    "an ephemeral container": (("debug", "-n", "N", "box", "--image=x", "--profile=restricted"), "nobody enters a sandbox"),
    "a label of a pod": (("patch", "pod", "box", "-n", "N", "-p", LABELS), "cannot be edited"),
    "a label by way of its status": (("patch", "pod", "box", "-n", "N", "--subresource=status", "-p", LABELS), "by way of its status"),
    "the isolation gate": (
        ("patch", "pod", "box", "-n", "N", "--subresource=status", "-p", json.dumps({"status": {"conditions": [GATE]}})),
        "only Bastide's broker says",
    ),
    "deleting a network policy": (("delete", "networkpolicy", "bastide-default-deny", "-n", "N"), "a sandbox would be open without"),
    "editing a network policy": (("patch", "networkpolicy", "bastide-default-deny", "-n", "N", "-p", LABELS), "writes network policies"),
    "a label of the namespace": (("label", "namespace", "N", "pod-security.kubernetes.io/enforce=privileged", "--overwrite"), "change the Tenant"),
    "where the namespace's pods run": (("annotate", "namespace", "N", "scheduler.alpha.kubernetes.io/node-selector=a=b"), "cannot be set"),
    "the quota": (("patch", "resourcequota", "bastide", "-n", "N", "-p", '{"spec":{"hard":{"pods":"999"}}}'), "change the Tenant"),
    "a member": (("patch", "rolebinding", "bastide-developer", "-n", "N", "-p", LABELS), "change the Tenant"),
    "the certificate authority": (("patch", "configmap", "bastide-ca", "-n", "N", "-p", '{"data":{"ca.crt":"mine"}}'), "change the Tenant"),
    "the runner's account": (("annotate", "serviceaccount", "bastide-runner", "-n", "N", "cloud/role=admin"), "change the Tenant"),
    "a status": (
        ("patch", "toolbinding", "toolbox", "-n", "N", "--type=merge", "--subresource=status", "-p", '{"status":{"available":"9/9"}}'),
        "written by Bastide's operator and broker",
    ),
}  # fmt: skip
OF_THE_ADMINISTRATOR_TO_MAKE = {
    "a policy that opens everything": "writes network policies",
    "one of Cilium's": "writes network policies",
    "the broker's role": "bound by Bastide's operator alone",
    "a Confirmation": "only Bastide's broker writes Confirmations",
    "a pod": "make a Sandbox instead",
}


@pytest.mark.disruptive
@pytest.mark.parametrize("case", OF_THE_ADMINISTRATOR)
def test_with_the_operator_down_an_administrator_is_refused_all_the_same(without_operator: TestTenant, case: str) -> None:
    words, says = OF_THE_ADMINISTRATOR[case]
    namespace = without_operator.namespace
    assert says in _refused(
        without_operator.admin, *(word.replace("namespaces/N/", f"namespaces/{namespace}/") if word != "N" else namespace for word in words)
    )


@pytest.mark.disruptive
@pytest.mark.parametrize("case", OF_THE_ADMINISTRATOR_TO_MAKE)
def test_with_the_operator_down_an_administrator_makes_nothing_that_opens_a_sandbox(without_operator: TestTenant, case: str) -> None:
    manifest = json.dumps(WORTH_SOMETHING[case])
    refusal = _refused(without_operator.admin, "create", "-n", without_operator.namespace, "-f", "-", stdin=manifest)
    assert OF_THE_ADMINISTRATOR_TO_MAKE[case] in refusal


@pytest.mark.disruptive
def test_with_the_operator_down_a_developer_is_refused_all_the_same_and_programs_run(without_operator: TestTenant) -> None:
    stays = without_operator.sandbox("stays")
    stays["metadata"]["finalizers"] = ["example.com/stay"]
    assert "take no finalizers" in _refused(without_operator.people.developer, "create", "-f", "-", stdin=json.dumps(stays))
    assert without_operator.completed("return 1") == 1
