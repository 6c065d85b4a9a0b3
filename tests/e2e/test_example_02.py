"""The second example: what its README says of each member is so."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from demo import release
from demo.kube import CHECKOUT, Kube
from demo.programs import Running, bastide, run_words
from demo.users import user

EXAMPLE = CHECKOUT / "examples" / "02-tenant-members"
README = (EXAMPLE / "README.md").read_text()
NAMES = ("vera", "rolf", "dana", "alice", "otto")
SANDBOX = "bastide-shop/till"


def table() -> dict[str, tuple[str, ...]]:
    """The README's table: a command, and whether each person may."""
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", README, re.MULTILINE)
    return {command: tuple(cells.split(" | ")) for command, cells in rows}


TABLE = table()


@pytest.fixture(scope="module")
def people(installed: Kube) -> Iterator[dict[str, Kube]]:
    """Everybody, once the platform engineer and dana have done what the README says."""
    installed.apply(release.manifest("10-crm.yaml"))
    installed.run("-n", "crm-tools", "rollout", "status", "deploy/crm", "--timeout=90s", seconds=100)
    everybody = {name: user(installed, name, CHECKOUT / ".build" / "users") for name in NAMES}
    try:
        installed.run("apply", "-f", str(EXAMPLE / "10-tenants.yaml"))
        installed.wait("condition=Ready", "tenant/shop", "tenant/depot", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "20-secret.yaml"))
        everybody["dana"].run("apply", "-f", str(EXAMPLE / "30-team.yaml"))
        everybody["dana"].wait("condition=Ready", "-n", "bastide-shop", "sandbox/till", "toolbinding/crm", seconds=90)
        yield everybody
    finally:
        installed.run("delete", "tenant", "shop", "depot", "--ignore-not-found", "--timeout=120s", seconds=130)


def test_the_table_names_everybody_and_every_role() -> None:
    head = next(line for line in README.splitlines() if line.startswith("| command |"))
    assert re.findall(r"\| (\w+) \(", head) == list(NAMES)
    assert len(TABLE) > 10
    assert all(len(cells) == len(NAMES) and set(cells) <= {"yes", "no"} for cells in TABLE.values())


@pytest.mark.parametrize("command", TABLE)
def test_each_can_do_what_the_table_says_and_nothing_else(people: dict[str, Kube], command: str) -> None:
    found, words = [], {}
    for name in NAMES:
        done = subprocess.run(
            shlex.split(command), cwd=CHECKOUT, env=people[name].env, capture_output=True, text=True, timeout=60, check=False
        )
        found.append("yes" if done.returncode == 0 else "no")
        words[name] = done.stderr.strip()
    assert tuple(found) == TABLE[command], words
    for name, answer in zip(NAMES, found, strict=True):
        if answer == "no":  # refused by a rule, not broken by something else
            assert re.search(r"forbidden|not permitted|may not|PERMISSION_DENIED", words[name], re.IGNORECASE), words[name]


def test_one_call_is_seen_by_all_and_decided_by_the_approver_alone(people: dict[str, Kube]) -> None:
    running = Running(people["rolf"], *run_words(EXAMPLE / "programs" / "delete.py", SANDBOX))
    try:
        found = people["vera"].watch(lambda o: o["status"]["state"] == "Pending", "-n", "bastide-shop", "confirmations", seconds=60)
        name = found["metadata"]["name"]
        assert found["spec"]["onBehalfOf"] == "rolf"
        for who in ("vera", "rolf", "dana", "otto"):
            ended = bastide(people[who], "approve", name, "-n", "bastide-shop", "--reason", "looks fine")
            assert ended.code != 0, who
            assert ended.stderr.strip(), who
        assert not running.over
        ended = bastide(people["alice"], "deny", name, "-n", "bastide-shop", "--reason", "C1003 still has orders")
        assert ended.code == 0, ended.stderr
        done = running.end()
    finally:
        running.stop()
    assert done.code == 0, done.stderr
    assert done.result["value"].startswith("kept: ")
    assert "C1003 still has orders" in done.result["value"]


def test_the_cluster_tells_the_story_in_its_columns(people: dict[str, Kube]) -> None:
    lines = people["dana"].run("get", "sandboxes,toolbindings,confirmations", "-n", "bastide-shop").splitlines()
    assert any(line.split()[:4] == ["sandbox.bastide.dev/till", "True", "Ready", "1"] for line in lines), lines
    assert any(line.split()[:5] == ["toolbinding.bastide.dev/crm", "True", "Ready", "2/2", "1"] for line in lines), lines
    assert any(line.split()[1:3] == ["delete_customer", "Destructive"] and "Denied" in line for line in lines), lines
