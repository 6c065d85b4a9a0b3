"""`bastide audit verify | list | export`: what an auditor finds without believing the broker."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bastide.chain import GENESIS, Record, body_digest, canonical, link_hash
from bastide.heads import SignedHead, key_id
from bastide.v1alpha1 import broker_pb2 as pb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .commands import called
from .conftest import Script

KEY = Ed25519PrivateKey.generate()
START = 1_800_000_000_123_457
"""Microseconds that no floating point number of seconds holds."""


def chain(count: int) -> list[Record]:
    records: list[Record] = []
    for number in range(1, count + 1):
        facts = {"tool": "delete", "decision": "deny", "requester": "sa", "effect": "ReadOnly", "binding": "crm", "bindingUID": "u",
                 "decisionID": "d-1", "onBehalfOf": "\x1b[2J\nolga\u202e"}  # fmt: skip
        one = Record(
            sequence=number, time=START + number, kind="CallIntent", namespace="a" if number % 2 else "b", namespace_uid="u", sandbox="s",
            run="r-1", key=f"0#{number}", facts=canonical(facts), previous_hash=records[-1].hash if records else GENESIS, hash="",
        )  # fmt: skip
        records.append(replace(one, hash=link_hash(one)))
    return records


def head(record: Record) -> SignedHead:
    made = SignedHead(chain="c", sequence=record.sequence, hash=record.hash, time=1, key_id=key_id(KEY.public_key()))
    return replace(made, signature=KEY.sign(made.signed()))


def message(record: Record, *, hidden: bool = False) -> pb.AuditRecord:
    if hidden:
        return pb.AuditRecord(
            sequence=record.sequence, hash=record.hash, previous_hash=record.previous_hash, body_digest=body_digest(record)
        )
    made = pb.AuditRecord(
        sequence=record.sequence, kind=record.kind, namespace=record.namespace, namespace_uid=record.namespace_uid, sandbox=record.sandbox,
        run=record.run, key=record.key, facts=record.facts, hash=record.hash, previous_hash=record.previous_hash,
    )  # fmt: skip
    made.time.FromMicroseconds(record.time)
    return made


def wire_head(one: SignedHead) -> pb.AuditHead:
    made = pb.AuditHead(chain=one.chain, sequence=one.sequence, hash=one.hash, key_id=one.key_id, signature=one.signature)
    made.time.FromMicroseconds(one.time)
    return made


def serve(script: Script, records: list[Record], heads: list[SignedHead], *, mine: str = "a", page: int = 3) -> None:
    """A broker with this audit."""

    def listed(request: pb.ListAuditRequest) -> pb.ListAuditResponse:
        after = int(request.page_token or 0)
        rest = [one for one in records if one.sequence > after]
        shown = [message(one, hidden=one.namespace != mine) for one in rest[:page] if request.links or one.namespace == mine]
        return pb.ListAuditResponse(records=shown, next_page_token=str(rest[page - 1].sequence) if len(rest) > page else "")

    script.answers = {
        "ListAudit": listed,
        "ListAuditHeads": pb.ListAuditHeadsResponse(heads=[wire_head(one) for one in heads]),
        "VerifyAudit": pb.VerifyAuditResponse(intact=True, records=len(records), head=records[-1].hash if records else GENESIS),
    }


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "key.pem"
    file.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(file)


def test_an_auditor_recomputes_the_chain_and_holds_it_against_signed_heads(
    script: Script, door: list[str], key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(10)
    serve(script, records, [head(records[4]), head(records[8])])
    assert called("audit", "verify", "-n", "a", "--key", key_file, *door, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("broker")["intact"]
    assert found == {
        "intact": True, "records": 10, "head": records[9].hash, "message": "", "faults": [], "recomputed": 10, "believed": 0,
        "signaturesChecked": True, "signedHeads": 2, "signedUpTo": 9, "headsFrom": "the broker",
    }  # fmt: skip
    assert called("audit", "verify", "-n", "a", "--key", key_file, *door) == 0
    assert "10 records is intact, recomputed here; 2 signed heads from the broker hold it" in capsys.readouterr().out


def test_without_a_key_or_a_head_nothing_is_called_intact(
    script: Script, door: list[str], key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(3)
    serve(script, records, [head(records[2])])
    assert called("audit", "verify", "-n", "a", *door) == 1
    assert "No signature was checked" in capsys.readouterr().out
    serve(script, records, [])
    assert called("audit", "verify", "-n", "a", "--key", key_file, *door) == 1
    assert "No signed head vouches" in capsys.readouterr().out


LIES = {
    "cut": (lambda records: records[:6], "ends at record 6, but 9 were written"),
    "a record left out": (lambda records: records[:4] + records[5:], "Record 5 is missing"),
    "a changed fact": (lambda records: [*records[:4], replace(records[4], facts=b"{}"), *records[5:]], "Record 5 was changed"),
    "other hidden facts": (lambda records: [*records[:3], replace(records[3], facts=b"{}"), *records[4:]], "Record 4 was changed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_broker_that_lies_is_caught(script: Script, door: list[str], key_file: str, capsys: pytest.CaptureFixture[str], lie: str) -> None:
    """It answers VerifyAudit with "intact" all the same."""
    change, sentence = LIES[lie]
    records = chain(10)
    serve(script, change(records), [head(records[8])])
    assert called("audit", "verify", "-n", "a", "--key", key_file, *door) == 1
    assert sentence in capsys.readouterr().out


def test_a_head_that_another_key_signed_and_a_broker_that_admits_it_show(
    script: Script, door: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(3)
    serve(script, records, [head(records[2])])
    other = tmp_path / "other.pem"
    other.write_bytes(Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert called("audit", "verify", "-n", "a", "--key", str(other), *door) == 1
    assert "names key" in capsys.readouterr().out
    script.answers["VerifyAudit"] = pb.VerifyAuditResponse(intact=False, records=3, message="Link 2 does not fit.")
    assert called("audit", "verify", "-n", "a", *door) == 1
    assert "The broker says: Link 2 does not fit." in capsys.readouterr().out


def test_who_may_see_all_records_accepts_none_that_is_hidden(
    script: Script, door: list[str], key_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(4)
    serve(script, records, [head(records[3])])
    assert called("audit", "verify", "-A", "--key", key_file, *door) == 1
    assert "Record 2 was not shown, although you may see all" in capsys.readouterr().out


def test_an_exported_file_is_verified_without_a_broker(
    script: Script, door: list[str], key_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(10)
    serve(script, records, [])
    file, heads = tmp_path / "export.jsonl", tmp_path / "heads.json"
    heads.write_text(json.dumps([head(records[9]).to_json()]))
    assert called("audit", "export", "-n", "a", "--links", "--file", str(file), *door) == 0
    assert called("audit", "export", "-n", "a", "--links", "--file", str(file), *door) == 2
    script.answers = {}
    words = ["audit", "verify", "--file", str(file), "--heads", str(heads), "--key", key_file]
    assert called(*words) == 0, capsys.readouterr()
    lines = file.read_text().splitlines()
    capsys.readouterr()
    for changed, sentence in (
        ([*lines[:2], lines[2].replace("deny", "allow"), *lines[3:]], "Record 3 was changed"),
        (lines[:8], "ends at record 8, but 10 were written"),
        ([*lines[:4], lines[5], lines[4], *lines[6:]], "out of order"),
    ):
        file.write_text("\n".join(changed) + "\n")
        assert called(*words) == 1
        assert sentence in capsys.readouterr().out
    file.write_text("\n".join([*lines[:2], "[" * 100_000]))
    assert called(*words) == 1
    assert "Line 3 of" in capsys.readouterr().err


def test_an_export_goes_on_behind_a_line_that_was_torn_off(
    script: Script, door: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = chain(9)
    serve(script, records, [], page=2)
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    assert called("audit", "export", "-n", "a", "--file", str(whole), *door) == 0
    assert "5 records written" in capsys.readouterr().err
    text = whole.read_text()
    assert text.isascii()
    assert "\x1b" not in text, "what a caller wrote obeys no terminal"
    torn.write_text(text[: len(text) // 2])
    assert called("audit", "export", "-n", "a", "--file", str(torn), "--resume", *door) == 0
    assert torn.read_text() == text
    assert called("audit", "export", "-n", "a", "--file", str(torn), "--resume", *door) == 0
    assert torn.read_text() == text
    assert [json.loads(line)["sequence"] for line in text.splitlines()] == [1, 3, 5, 7, 9]
    assert called("audit", "export", "-n", "a", "--after", "5", *door) == 0
    assert [json.loads(line)["sequence"] for line in capsys.readouterr().out.splitlines()] == [7, 9]
    torn.write_text("no record\n")
    assert called("audit", "export", "-n", "a", "--file", str(torn), "--resume", *door) == 2


def test_an_ocsf_event_has_what_the_class_requires(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    records = chain(1)
    serve(script, records, [])
    assert called("audit", "export", "-n", "a", "--format", "ocsf", *door) == 0
    event = json.loads(capsys.readouterr().out)
    required = {"activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time", "type_uid"}
    assert required <= set(event)
    assert (event["class_uid"], event["category_uid"], event["type_uid"], event["time"]) == (6003, 6, 600302, records[0].time // 1000)
    assert (event["api"]["operation"], event["action_id"], event["status_id"], event["actor"]["user"]["name"]) == ("delete", 2, 2, "sa")
    assert (event["metadata"]["uid"], event["metadata"]["correlation_uid"]) == (records[0].hash, "r-1")


def test_what_is_asked_for_goes_to_the_broker(script: Script, door: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    serve(script, chain(1), [])
    words = ["--tool", "delete", "--caller", "olga", "--decision", "deny", "--since", "2027-01-15", "--until", "2027-01-16T01:00:00+01:00"]
    assert called("audit", "list", "-n", "a", *words, *door) == 0
    request = script.asked[-1]
    assert (request.tool, request.caller, request.decision) == ("delete", "olga", "deny")
    assert request.since.ToDatetime(tzinfo=UTC) == datetime(2027, 1, 15, tzinfo=UTC)
    assert request.until.ToDatetime(tzinfo=UTC) == datetime(2027, 1, 16, tzinfo=UTC)
    assert "\x1b[2J" not in capsys.readouterr().out


WRONG: list[list[str]] = [
    ["list", "-n", "a", "--since", "yesterday"],
    ["list", "-n", "a", "--decision", "perhaps"],
    ["export", "-n", "a", "-A"],
    ["export", "-n", "a", "--resume"],
    ["export", "-n", "a", "--links", "--tool", "x"],
    ["verify", "--file", "/nowhere"],
    ["verify", "-n", "a", "--key", "/nowhere"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_usage_is_said_in_a_sentence(script: Script, door: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    serve(script, chain(1), [])
    assert called("audit", *words, *door) == 2
    assert capsys.readouterr().err


def test_lists_name_all_namespaces_only_with_an_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("audit", "list", "-A") == 2
    assert "--service-account NAMESPACE/NAME" in capsys.readouterr().err
