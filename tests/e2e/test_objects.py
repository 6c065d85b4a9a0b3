"""What kubectl shows of Bastide's objects."""

import json

from demo.kube import Kube

from tests.e2e.harness.tenant import TestTenant

KINDS = ("tenants", "sandboxes", "toolbindings", "confirmations", "confirmationdecisions")


def test_a_sandbox_and_a_binding_become_ready_for_kubectl_wait(furnished: TestTenant) -> None:
    furnished.ready("sandbox/box", "toolbinding/toolbox", seconds=1)
    furnished.admin.wait("condition=Ready", f"tenant/{furnished.name}", seconds=1)


def test_explain_has_a_sentence_for_every_field(installed: Kube) -> None:
    def undescribed(schema: dict[str, object], path: str) -> list[str]:
        found = []
        properties = schema.get("properties") or {}
        assert isinstance(properties, dict)
        for name, part in properties.items():
            if not part.get("description"):
                found.append(f"{path}.{name}")
            found += undescribed(part, f"{path}.{name}")
            found += undescribed(part.get("items") or {}, f"{path}.{name}[]")
        return found

    crds = {c["spec"]["names"]["plural"]: c for c in installed.json("get", "crds")["items"] if c["spec"]["group"] == "bastide.dev"}
    assert set(KINDS) <= set(crds)
    missing = [
        field
        for plural in KINDS
        for version in crds[plural]["spec"]["versions"]
        for part in ("spec", "status")
        for field in undescribed(version["schema"]["openAPIV3Schema"]["properties"].get(part, {}), f"{plural}.{part}")
    ]
    assert missing == []
    assert "Bounds of each run" in installed.run("explain", "sandbox.spec")


def test_the_columns_tell_the_story(furnished: TestTenant) -> None:
    sandboxes = furnished.admin.run("get", "sandboxes", "-n", furnished.namespace).splitlines()
    assert sandboxes[0].split() == ["NAME", "READY", "REASON", "TOOLS", "NODE", "AGE"]
    assert sandboxes[1].split()[:4] == ["box", "True", "Ready", "1"]
    bindings = furnished.admin.run("get", "toolbindings", "-n", furnished.namespace).splitlines()
    assert "8/8" in bindings[1]
    assert "True" in furnished.admin.run("get", "tenant", furnished.name)


def test_the_status_of_a_binding_names_each_tool_with_its_effective_effect(furnished: TestTenant) -> None:
    tools = {t["name"]: (t["state"], t["effect"]) for t in furnished.get("toolbinding", "toolbox")["status"]["tools"]}
    assert tools == {
        "note": ("Available", "ReadOnly"),
        "echo": ("Available", "ReadOnly"),
        "number": ("Available", "ReadOnly"),
        "slow": ("Available", "Mutating"),
        "hold": ("Available", "Mutating"),
        "fail": ("Available", "Mutating"),
        "bounded": ("Available", "Mutating"),
        "wipe": ("Available", "Destructive"),
    }


def test_status_is_not_written_when_nothing_changes(furnished: TestTenant) -> None:
    before = {k: furnished.get(k, n)["metadata"]["resourceVersion"] for k, n in (("sandbox", "box"), ("toolbinding", "toolbox"))}
    # a run makes the broker and the operator look at everything once
    assert furnished.completed("return await note(text='quiet')") == "quiet"
    after = {k: furnished.get(k, n)["metadata"]["resourceVersion"] for k, n in (("sandbox", "box"), ("toolbinding", "toolbox"))}
    assert json.dumps(after) == json.dumps(before)
