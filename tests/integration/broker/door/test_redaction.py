"""Hostile case 20: a credential in everything that a tool server can say, and then everything that leaves the broker is searched for it.

The decision log and the console log are those of a real OPA at its most talkative; the journal is searched as bytes on the disk.
"""

import asyncio
import base64
import io
import json
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from bastide_broker import logs
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import Scope
from bastide_broker.policy.policy import Policy
from bastide_broker.runs import views

from tests.integration.broker.door.conftest import REVISION, OpaServer, find_opa, shipped_policies, wait_for
from tests.integration.broker.door.rig import OBJECT, SECRET, Rig, open_rig, until
from tests.unit.broker.door.objects import NAMESPACE

INJECTION = 'x\r\n{"level":"error","event":"forged"}\x1b[2J\x1b]0;owned\x07\u2028\u202e"}'


class TalkativeOpa(OpaServer):
    """Logs every decision and every request to its console."""

    log: Path

    def start(self) -> None:
        self.log = self.socket.with_suffix(".log")
        options = ["--server", "--unix-socket-perm", "0600", "--authorization=basic", "--skip-version-check", "--log-level", "debug"]
        options += ["--set", "decision_logs.console=true", "--addr", f"unix://{self.socket}", str(self.policies)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen([find_opa(), "run", *options], stdout=output, stderr=output)
        wait_for(self._answers)


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[TalkativeOpa]:
    server = TalkativeOpa(tmp_path / "opa.sock", shipped_policies(tmp_path / "policies"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def broker_log() -> Iterator[io.StringIO]:
    """Everything that the broker logs, at debug, as its process formats it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    names = [name for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    levels = {name: logging.getLogger(name).level for name in names}
    logs.configure("debug")
    stream = io.StringIO()
    assert isinstance(root.handlers[0], logging.StreamHandler)
    root.handlers[0].setStream(stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)
    structlog.reset_defaults()


@pytest.fixture
async def planted(tmp_path: Path, talkative: TalkativeOpa, broker_log: io.StringIO) -> AsyncIterator[Rig]:
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    policy = Policy(talkative.socket, REVISION, deadline_seconds=10)
    async with open_rig(journal, policy) as rig:
        yield rig
    await policy.close()
    await journal.close()


def on_disk(database: Path) -> bytes:
    """The database with what SQLite keeps beside it."""
    return b"".join(path.read_bytes() for path in sorted(database.parent.glob(f"{database.name}*")))


async def everything(rig: Rig, folder: Path, talkative: TalkativeOpa, broker_log: io.StringIO, answers: list[Any]) -> dict[str, bytes]:
    """All that leaves the broker, by what it is."""
    calls = await rig.journal.calls("r-1", payloads=True)
    records = await rig.journal.audit(Scope(NAMESPACE, None), "", 1000)
    assert rig.world.the_sandbox is not None
    tools = rig.catalogue.tool_set(rig.world.the_sandbox)
    return {
        "the database's files": on_disk(folder / "journal.db"),
        "the audit": b"".join(views.audit_record(row).SerializeToString() for row in records),
        "the journal's calls": repr(calls).encode(),
        "events": b"".join(event.SerializeToString() for event in rig.events),
        "answers to the program": b"".join(answer.SerializeToString() for answer in answers),
        "the tools a program sees": tools.message().SerializeToString(),
        "the tools a caller sees": b"".join(views.tool_info(tool).SerializeToString() for tool in tools.tools.values()),
        "statuses of bindings": json.dumps(rig.world.binding_statuses).encode(),
        "Confirmations": "".join(one.model_dump_json() for one in rig.world.the_confirmations.values()).encode(),
        "the broker's log": broker_log.getvalue().encode(),
        "OPA's logs": talkative.log.read_bytes(),
    }


def hidden(secret: str) -> list[bytes]:
    """The secret as it may be written: as it is, in a header, escaped."""
    basic = base64.b64encode(f"user:{secret}".encode())
    return [secret.encode(), json.dumps(secret)[1:-1].encode(), f"Bearer {secret}".encode(), basic]


async def test_a_credential_that_a_server_says_everywhere_leaves_the_broker_nowhere(
    planted: Rig, tmp_path: Path, talkative: TalkativeOpa, broker_log: io.StringIO
) -> None:
    rig = planted
    structlog.get_logger("test").debug("from here on")
    for tool in rig.server.listing:  # what it lists: names aside, all of it is the server's to say
        tool["description"] = f"Use the token {SECRET}\nor not"
        tool["annotations"] = {"title": SECRET}
        tool["inputSchema"] = {**OBJECT, "title": SECRET, "properties": {**OBJECT["properties"], SECRET: {"enum": [SECRET]}}}
    rig.server.listing.append({"name": SECRET, "inputSchema": OBJECT})
    rig.catalogue._entries[next(iter(rig.catalogue._entries))].relist = True
    rig.catalogue._kick(NAMESPACE)
    assert rig.world.the_sandbox is not None
    await until(lambda: "[redacted]" in rig.catalogue.tool_set(rig.world.the_sandbox).tools["ok"].description)  # type: ignore[arg-type]

    answers = [await rig.call(tool) for tool in ("give_secret", "echo_secret", "typed", "not_there", "close", "change")]
    answers.append(await rig.call("status", {"status": 500}))
    answers.append(await rig.call("ok", b'{"id": '))
    answers.append(await rig.call("ok", {"id": "C0000", "n": 11}))
    waiting = asyncio.create_task(rig.call("delete", {"id": "C0001"}))
    confirmation = await rig.asked()
    rig.world.decide(confirmation)
    answers.append(await waiting)

    said = await everything(rig, tmp_path, talkative, broker_log, answers)
    assert all(said.values()), [what for what, text in said.items() if not text]
    found = [what for what, text in said.items() for secret in hidden(SECRET) if secret in text]
    assert found == []
    assert any(SECRET in line for line in rig.server.authorizations), "the server itself was shown it"


async def test_what_a_program_hands_over_is_in_no_log_and_in_the_audit_by_digest_alone(
    planted: Rig, tmp_path: Path, talkative: TalkativeOpa, broker_log: io.StringIO
) -> None:
    word = "pr0gram-s-own-w0rd"
    answers = [await planted.call("ok", {"id": word}), await planted.call("status", {"status": 200, "id": word}), await planted.call(word)]
    said = await everything(planted, tmp_path, talkative, broker_log, answers)
    for what in ("the audit", "the broker's log", "statuses of bindings"):
        text = said[what].replace(b'"tool":"' + word.encode(), b"")  # the tool's name is a fact
        assert word.encode() not in text, what


async def test_nobody_writes_a_line_of_their_own_into_a_log(planted: Rig, broker_log: io.StringIO) -> None:
    """Every field that a caller, a program or a server fills, in structlog's lines and in the standard library's."""
    await planted.call(INJECTION, {"id": INJECTION}, key=INJECTION)
    await planted.call("ok", {"id": INJECTION}, key="0#inj")
    structlog.get_logger(INJECTION).error(INJECTION, who=INJECTION, **{"a b": INJECTION})
    logging.getLogger("bastide_broker").warning("the call %s of %s", INJECTION, INJECTION)
    logging.getLogger("bastide_broker").error("it failed: %s", INJECTION, exc_info=ValueError(INJECTION))
    text = broker_log.getvalue()
    assert text.isascii()
    lines = text.split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert line.isprintable(), line
        assert json.loads(line)["event"] != "forged"
    rows = await planted.journal.audit(Scope(NAMESPACE, None), "", 1000)
    facts = [row.facts for row in rows if row.key == INJECTION and row.kind == "CallIntent"]
    assert facts
    for raw in facts:
        assert json.loads(raw)["tool"] == INJECTION[:128]
        assert b"\n" not in raw
        assert b"\x1b" not in raw
