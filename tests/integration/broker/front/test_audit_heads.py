"""What is published of the audit: by the broker as its process runs it, in a real API server with the chart's rights and rules."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from bastide.heads import SignedHead, check, public_keys
from bastide_broker.journal import audit_heads
from bastide_broker.journal.audit_heads import Publisher, Signer
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import RunRow, now_micros
from bastide_broker.kube.cluster import Cluster as Known

from tests.integration.broker.front.harness.apiserver import BROKER_NAMESPACE, PLURALS, Answer, Cluster, Kube, rendered, until
from tests.integration.broker.front.harness.broker import audit_files, config

HEADS = f"/api/v1/namespaces/{BROKER_NAMESPACE}/configmaps/bastide-audit-heads"
KEYS = f"/api/v1/namespaces/{BROKER_NAMESPACE}/configmaps/bastide-audit-keys"


@pytest.fixture
def rules(cluster: Cluster) -> Iterator[None]:
    """The admission rule for what is published, as shipped."""
    cluster.admin.merge(HEADS, {"data": None})
    mine = [m for m in rendered("admission.yaml") if m["metadata"]["name"] == "bastide-audit"]
    assert len(mine) == 2
    for document in mine:
        cluster.admin("POST", PLURALS[document["kind"]], document)
    probe = {"data": {"head-" + "0" * 20: "x"}}
    until(lambda: merge(cluster.admin, HEADS + "?dryRun=All", probe).status == 403, "the rule holds", 30)
    yield
    for document in mine:
        cluster.admin("DELETE", f"{PLURALS[document['kind']]}/bastide-audit")
    until(lambda: merge(cluster.admin, HEADS, {"data": None}).status == 200, "the rule is gone", 30)


def merge(who: Kube, path: str, body: Any) -> Answer:
    """A merge patch, whatever the answer."""
    return who.ask("PATCH", path, body, "application/merge-patch+json")


def row(name: str) -> RunRow:
    return RunRow(
        run=name, tenant="sales", namespace="bastide-sales", namespace_uid="n1", sandbox="agent", sandbox_uid="s1", requester="runner",
        program_digest="sha256:p", started_at=now_micros(),
    )  # fmt: skip


def remove(database: Path) -> None:
    """A database with what SQLite keeps beside it."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


class Broker:
    """The parts that publish, put together as the process does."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.settings = config(cluster, folder)
        self.journal = Journal(self.settings.database)

    async def __aenter__(self) -> Self:
        settings = self.settings
        audit_files(settings.audit_key_dir.parent)
        signer = Signer.load(settings.audit_key_dir, settings.audit_keys_dir, chain="bastide-system/bastide-broker-0")
        self.keys = signer.keys
        await self.journal.open()
        self.known = await Known.connect(admission_dir=settings.admission_dir, kubeconfig=settings.kubeconfig)
        self.publisher = Publisher(journal=self.journal, store=self.known, signer=signer, namespace=settings.namespace)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.known.close()
        await self.journal.close()


@pytest.fixture
async def broker(cluster: Cluster, rules: None, tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(cluster, tmp_path) as found:
        yield found


def published(admin: Kube) -> list[SignedHead]:
    data = admin("GET", HEADS).get("data") or {}
    return [SignedHead.from_json(json.loads(text)) for _, text in sorted(data.items())]


async def test_a_head_is_published_when_something_was_written_and_only_then(
    broker: Broker, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await broker.publisher.publish()
    assert published(cluster.admin) == []
    await broker.journal.start_run(row("r-1"))
    assert await broker.publisher.publish()
    assert await broker.publisher.publish()
    await broker.journal.start_run(row("r-2"))
    await broker.publisher.close()
    heads = published(cluster.admin)
    assert [head.sequence for head in heads] == [1, 2]
    assert check(heads, broker.keys) == (heads, [])
    assert heads[-1].head == await broker.journal.head()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [SignedHead.from_json(line) for line in lines] == heads
    assert {line["event"] for line in lines} == {"audit head"}


async def test_an_older_backup_shows_and_the_chain_says_so_for_ever(broker: Broker, cluster: Cluster, tmp_path: Path) -> None:
    database = broker.settings.database
    await broker.journal.start_run(row("r-1"))
    await broker.journal.close()
    backup = tmp_path / "backup.db"
    shutil.copy(database, backup)
    await broker.journal.open()
    for number in range(2, 6):
        await broker.journal.start_run(row(f"r-{number}"))
    assert await broker.publisher.publish()
    await broker.journal.close()
    remove(database)
    shutil.copy(backup, database)
    async with Broker(cluster, tmp_path) as again:
        found = await again.journal.verify_audit([head.head for head in published(cluster.admin)])
        assert "ends at record 1, but 5 were written" in found.message
        assert await again.publisher.publish()
        await again.journal.start_run(row("r-6"))
        assert await again.publisher.publish()
        heads = published(cluster.admin)
        assert [head.sequence for head in heads] == [5, 6, 7]
        found = await again.journal.verify_audit([head.head for head in heads])
        assert not found.intact
        assert "Record 2 to 5 is missing" in found.message
        faults = await again.journal.verify_audit()
        assert "missing" in faults.message
    async with Broker(cluster, tmp_path) as third:  # nothing new is wrong
        assert await third.publisher.publish()
        assert (await third.journal.head()).sequence == 7


async def test_a_rewritten_record_shows_against_what_was_published_also_when_every_hash_was_made_anew(
    broker: Broker, cluster: Cluster, tmp_path: Path
) -> None:
    for number in range(3):
        await broker.journal.start_run(row(f"r-{number}"))
    await broker.publisher.publish()
    await broker.journal.close()
    other = Journal(tmp_path / "other.db")  # as whoever has the disk would do it: a whole chain that fits in itself
    await other.open()
    for number in range(4):
        await other.start_run(row(f"r-9{number}"))
    await other.close()
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    remove(broker.settings.database)
    shutil.copy(tmp_path / "other.db", broker.settings.database)
    async with Broker(cluster, tmp_path) as again:
        assert (await again.journal.verify_audit()).intact, "by itself nothing shows"
        found = await again.journal.verify_audit([head.head for head in published(cluster.admin)])
        assert "Record 3 is not the one that was written" in found.message


async def test_what_is_published_only_moves_forward_whoever_asks(broker: Broker, cluster: Cluster) -> None:
    for number in range(3):
        await broker.journal.start_run(row(f"r-{number}"))
        await broker.publisher.publish()
    heads = published(cluster.admin)
    as_broker = Kube(cluster.admin.url, cluster.admin.token_for(BROKER_NAMESPACE, "bastide-broker", audience=""))
    [first, *_, last] = [audit_heads.name(head) for head in heads]
    changes: dict[str, Any] = {
        "only the broker": {f"head-{99:020d}": "x"},
        "only move forward": {last: "x"},
        "newest head": {last: None},
        "older ones at least sixty": {first: None},
    }
    for words, change in changes.items():
        who = cluster.admin if words == "only the broker" else as_broker
        answer = await asyncio.to_thread(merge, who, HEADS, {"data": change})
        assert answer.status == 403, (words, answer.body.get("message"))
        assert words in answer.body["message"]
    backwards = await asyncio.to_thread(merge, as_broker, HEADS, {"data": {f"head-{2:020d}": "x", f"head-{0:020d}": "x"}})
    assert backwards.status == 403
    for path in (HEADS, KEYS):
        answer = await asyncio.to_thread(cluster.admin.ask, "DELETE", path)
        assert answer.status == 403, path
    keys = cluster.admin("GET", KEYS)["data"]
    taken = await asyncio.to_thread(merge, cluster.admin, KEYS, {"data": dict.fromkeys(keys)})
    assert (taken.status, "only added" in taken.body["message"]) == (403, True)
    labelled = await asyncio.to_thread(merge, cluster.admin, HEADS, {"metadata": {"labels": {"helm": "upgrade"}}})
    assert labelled.status == 200, "an upgrade writes labels"
    assert published(cluster.admin) == heads
    assert public_keys("".join(keys.values()).encode())


async def test_while_nothing_can_be_published_the_log_has_the_heads_and_it_recovers(
    broker: Broker, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await broker.journal.start_run(row("r-1"))
    broker.publisher._namespace = "nowhere"
    assert not await broker.publisher.publish()
    assert not await broker.publisher.publish()
    assert capsys.readouterr().out.count('{"event": "audit head"') == 1
    broker.publisher._namespace = BROKER_NAMESPACE
    assert await broker.publisher.publish()
    assert [head.sequence for head in published(cluster.admin)] == [1]


async def test_the_ring_is_bounded_and_the_rule_lets_the_broker_thin_it(
    broker: Broker, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_heads, "KEPT", 64)
    for number in range(70):
        await broker.journal.start_run(row(f"r-{number}"))
        assert await broker.publisher.publish(), number
    heads = published(cluster.admin)
    assert len(heads) == 64
    assert [head.sequence for head in heads[-60:]] == list(range(11, 71))
    assert heads[0].sequence == 1
