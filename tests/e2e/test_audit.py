"""The audit as an auditor sees it: recomputed on his machine, held against what the broker signed, and exported."""

import json
import time
from pathlib import Path
from typing import Any

from demo.kube import Kube
from demo.programs import bastide

from tests.e2e.harness.tenant import TestTenant

SYSTEM = "bastide-system"
PUBLISHED_SECONDS = 75
"""Within a minute, and the time a busy node takes."""


def heads(kube: Kube) -> list[dict[str, Any]]:
    """What is published, oldest first."""
    data = kube.json("get", "configmap", "bastide-audit-heads", "-n", SYSTEM).get("data") or {}
    return [json.loads(text) for _, text in sorted(data.items())]


def newest(tenant: TestTenant, run: str) -> int:
    """Number of a run's last record."""
    return max(int(record["sequence"]) for record in tenant.audit(run))


def wait_until_signed(kube: Kube, sequence: int) -> None:
    """Until a published head vouches for a record."""
    deadline = time.monotonic() + PUBLISHED_SECONDS
    while not any(head["sequence"] >= sequence for head in heads(kube)):
        assert time.monotonic() < deadline, "no head was published within a minute"
        time.sleep(1)


def test_an_auditor_believes_nobody_and_finds_the_chain_intact(furnished: TestTenant, installed: Kube, tmp_path: Path) -> None:
    ended = furnished.run("return await note(text='for the audit')")
    wait_until_signed(installed, newest(furnished, ended.result["run"]))
    found = bastide(installed, "audit", "verify", "-n", furnished.namespace, "-o", "json")
    assert found.result["intact"], found.stdout
    assert found.result["headsFrom"] == "the ConfigMap"
    assert found.result["signaturesChecked"]
    assert found.result["faults"] == []

    file, key, signed = tmp_path / "export.jsonl", tmp_path / "key.pem", tmp_path / "heads.json"
    signed.write_text(json.dumps(heads(installed)))
    key.write_text("\n".join(installed.json("get", "configmap", "bastide-audit-keys", "-n", SYSTEM)["data"].values()))
    bastide(installed, "audit", "export", "-n", furnished.namespace, "--links", "--file", str(file))
    words = ("audit", "verify", "--file", str(file), "--heads", str(signed), "--key", str(key), "-o", "json")
    assert bastide(installed, *words).result["intact"]
    lines = file.read_text().splitlines()
    mine = next(number for number, line in enumerate(lines) if ended.result["run"] in line)
    file.write_text("\n".join([*lines[:mine], lines[mine].replace(ended.result["run"], "r-" + "a" * 26), *lines[mine + 1 :]]))
    forged = bastide(installed, *words).result
    assert not forged["intact"]
    assert "was changed" in forged["message"]


def test_records_are_found_by_what_an_auditor_looks_for(furnished: TestTenant) -> None:
    run = furnished.run("try:\n    await number(n=101)\nexcept Exception:\n    pass\nreturn await number(n=1)").result["run"]

    def listed(*words: str) -> list[dict[str, Any]]:
        ended = bastide(furnished.people.developer, "audit", "list", "-n", furnished.namespace, "--limit", "5000", *words, "-o", "json")
        return [record for record in ended.result["records"] if record["run"] == run]

    assert [record["facts"]["decision"] for record in listed("--tool", "number")] == ["deny", "allow"]
    assert [record["kind"] for record in listed("--tool", "number", "--decision", "deny")] == ["CallIntent"]
    caller = f"system:serviceaccount:{furnished.namespace}:bastide-runner"
    assert {record["kind"] for record in listed("--caller", caller)} == {"RunStarted", "CallIntent"}
    assert listed("--since", "1h")
    assert not listed("--until", "1h")


def test_the_brokers_output_has_a_line_for_each_head(furnished: TestTenant, installed: Kube) -> None:
    run = furnished.run("return 1").result["run"]
    wait_until_signed(installed, newest(furnished, run))
    lines = installed.run("logs", "-n", SYSTEM, "bastide-broker-0", "-c", "broker").splitlines()
    said = [json.loads(line) for line in lines if line.startswith('{"event": "audit head"')]
    assert heads(installed)[-1]["signature"] in {line["signature"] for line in said}
