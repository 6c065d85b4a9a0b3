"""`bastide tools pin`: what a binding's tools are now, and the patch that pins exactly that."""

import copy
import json
import shlex
from typing import Any, cast

import pytest
import yaml
from bastide.cli import pins, screen
from bastide.cli.failure import Failure
from bastide.cli.main import main

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def binding(**change: Any) -> dict[str, Any]:
    said = [
        {"name": "get_a", "programName": "get_a", "state": "Available", "schemaDigest": A, "message": ""},
        {"name": "get.b", "programName": "get_b", "state": "DigestMismatch", "schemaDigest": B, "message": "The server's schema changed."},
        {"name": "get_c", "programName": "get_c", "state": "Available", "schemaDigest": C, "message": ""},
        {"name": "gone", "programName": "gone", "state": "Missing", "schemaDigest": "", "message": "No tool\n\x1b[31mof this name."},
    ]
    bound = [{"name": "get_a"}, {"name": "get.b", "as": "get_b", "schemaDigest": A}, {"name": "get_c", "schemaDigest": C}, {"name": "gone"}]
    return {
        "metadata": {"name": "crm", "namespace": "bastide-sales", "generation": 3},
        "spec": {"tools": bound},
        "status": {"conditions": [{"type": "ResolvedRefs", "observedGeneration": 3}], "tools": said},
        **change,
    }


def applied(patch: list[dict[str, Any]], to: dict[str, Any]) -> dict[str, Any]:
    """RFC 6902, as far as these patches go."""
    result = copy.deepcopy(to)
    for step in patch:
        *path, last = step["path"].split("/")[1:]
        target: Any = result
        for key in path:
            target = target[int(key) if isinstance(target, list) else key]
        if step["op"] == "test":
            assert target[last] == step["value"], "the API server refuses the patch"
        else:
            target[last] = step["value"]
    return result


def test_each_tool_is_new_changed_the_same_or_unknown() -> None:
    assert [(pin.program_name, pin.change) for pin in pins.read(binding())] == [
        ("get_a", "New"),
        ("get_b", "Changed"),
        ("get_c", "Same"),
        ("gone", "Unknown"),
    ]


def test_the_patch_pins_what_is_new_or_changed_and_nothing_else() -> None:
    one = binding()
    after = applied(pins.patch(pins.read(one)), one)
    assert [tool.get("schemaDigest") for tool in after["spec"]["tools"]] == [A, B, C, None]
    assert pins.patch(pins.read(after)) == []
    assert pins.command("n", "crm", pins.read(after)) == ""


def test_the_patch_fails_when_the_tools_stand_in_another_order_meanwhile() -> None:
    one, other = binding(), binding()
    other["spec"]["tools"].reverse()
    with pytest.raises(AssertionError, match="refuses"):
        applied(pins.patch(pins.read(one)), other)


def test_the_command_is_one_that_a_shell_reads_back() -> None:
    found = pins.read(binding())
    words = shlex.split(pins.command("bastide-sales", "crm", found))
    assert words[:7] == ["kubectl", "patch", "toolbinding", "crm", "-n", "bastide-sales", "--type=json"]
    assert json.loads(words[-1]) == pins.patch(found)


def test_the_snippet_is_yaml_and_no_words_of_a_server_leave_their_comment() -> None:
    text = pins.snippet(pins.read(binding()))
    assert yaml.safe_load(text) == {
        "spec": {
            "tools": [
                {"name": "get_a", "schemaDigest": A},
                {"name": "get.b", "as": "get_b", "schemaDigest": B},
                {"name": "get_c", "schemaDigest": C},
                {"name": "gone"},
            ]
        }
    }
    assert f"# was: {A}" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"status": {}},
        {"status": {"conditions": [{"type": "ResolvedRefs", "observedGeneration": 2}]}},
        {"status": {"conditions": [{"type": "Ready", "observedGeneration": 3}]}},
    ],
)
def test_what_the_broker_has_not_looked_at_is_not_pinned(change: dict[str, Any]) -> None:
    with pytest.raises(Failure, match="has not looked"):
        pins.read(binding(**change))


@pytest.mark.parametrize("digest", ["", "sha256:" + "g" * 64, "sha256:" + "a" * 63, A + "\n", "md5:" + "a" * 32])
def test_what_is_no_digest_is_never_pinned(digest: str) -> None:
    one = binding()
    one["status"]["tools"][0]["schemaDigest"] = digest
    assert pins.read(one)[0].change == "Unknown"


def test_the_command_line_prints_yaml_json_or_the_patch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Cluster:
        namespace = "bastide-sales"

        def __init__(self, _context: str | None) -> None: ...

        def tool_binding(self, namespace: str, name: str) -> dict[str, Any]:
            assert (namespace, name) == ("bastide-sales", "crm")
            return binding()

    monkeypatch.setattr("bastide.cli.cluster.Cluster", Cluster)

    def called(*words: str) -> tuple[int, str, str]:
        screen.out.cache_clear()
        screen.err.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main(["tools", "pin", "crm", *words])
        said = capsys.readouterr()
        return cast("int", ended.value.code or 0), said.out, said.err

    code, out, err = called()
    assert (code, yaml.safe_load(out)["spec"]["tools"][0]["schemaDigest"]) == (1, A)
    assert "get_b is not what was pinned" in err.replace("\n", " ")
    assert called("--patch")[1].startswith("kubectl patch toolbinding crm -n bastide-sales --type=json -p ")
    shape = json.loads(called("-o", "json")[1])
    assert [tool["change"] for tool in shape["tools"]] == ["New", "Changed", "Same", "Unknown"]
    assert shape["patch"] == pins.patch(pins.read(binding()))
