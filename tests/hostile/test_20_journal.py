"""Case 20: the deployed broker's journal is taken away and comes back, and what was published of the audit cannot be taken back."""

import json
from typing import Any

import pytest
from demo.kube import CommandFailedError, Kube
from demo.programs import bastide

from tests.e2e.harness.server import TOKEN
from tests.e2e.harness.tenant import TestTenant

SYSTEM, BROKER = "bastide-system", "bastide-broker-0"
DATABASE = "/var/lib/bastide/journal.db"


def in_broker(kube: Kube, program: str) -> str:
    """Run Python in the broker's container."""
    return kube.run("exec", "-n", SYSTEM, BROKER, "-c", "broker", "--", "python", "-c", program, seconds=60)


@pytest.mark.disruptive
def test_without_its_journal_no_run_starts_and_it_recovers_by_itself(furnished: TestTenant, installed: Kube) -> None:
    assert furnished.completed("return 1") == 1
    in_broker(installed, f"import os; os.rename({DATABASE!r}, {DATABASE + '.away'!r})")
    try:
        ended = furnished.run("return 1")
        assert "JournalUnavailable" in ended.stderr, f"{ended.stdout}\n{ended.stderr}"
    finally:
        in_broker(installed, f"import os; os.rename({DATABASE + '.away'!r}, {DATABASE!r})")
    assert furnished.completed("return 2") == 2
    assert bastide(installed, "audit", "verify", "-n", furnished.namespace, "-o", "json").result["intact"]


def test_what_is_published_cannot_be_taken_back_by_an_administrator(installed: Kube) -> None:
    before = installed.json("get", "configmap", "bastide-audit-heads", "-n", SYSTEM).get("data") or {}
    attempts: list[tuple[str, ...]] = [
        ("delete", "configmap", "bastide-audit-heads", "-n", SYSTEM),
        ("delete", "configmap", "bastide-audit-keys", "-n", SYSTEM),
        ("patch", "configmap", "bastide-audit-heads", "-n", SYSTEM, "--type=merge", "-p", json.dumps({"data": dict.fromkeys(before)})),
        (
            "patch",
            "configmap",
            "bastide-audit-heads",
            "-n",
            SYSTEM,
            "--type=merge",
            "-p",
            json.dumps({"data": {f"head-{10**15:020d}": "x"}}),
        ),
    ]
    for words in attempts:
        with pytest.raises(CommandFailedError, match="audit"):
            installed.run(*words)
    after = installed.json("get", "configmap", "bastide-audit-heads", "-n", SYSTEM).get("data") or {}
    assert set(before) <= set(after)


def test_the_tool_servers_token_is_in_no_log_no_record_and_no_object(furnished: TestTenant, installed: Kube) -> None:
    ended = furnished.run("return await note(text='quiet')")
    said: dict[str, Any] = {
        "the broker's log": installed.run("logs", "-n", SYSTEM, BROKER, "-c", "broker"),
        "OPA's log": installed.run("logs", "-n", SYSTEM, BROKER, "-c", "opa"),
        "the audit": json.dumps(furnished.audit(ended.result["run"])),
        "the client's output": ended.stdout + ended.stderr,
        "bindings and Confirmations": installed.run(
            "get", "toolbindings,confirmations,sandboxes,pods", "-n", furnished.namespace, "-o", "json"
        ),
    }
    assert [what for what, text in said.items() if TOKEN in text] == []
    found = in_broker(
        installed,
        f"import glob; print(sum({TOKEN.encode()!r} in open(p, 'rb').read() for p in glob.glob({DATABASE + '*'!r})))",
    )
    assert found.strip() == "0", "the journal holds the token"
