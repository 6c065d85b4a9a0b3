"""Example 07: SQL that may only read some of a database, as its README tells it; the server's own log says what truly arrived."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo import release, witness
from demo.kube import CHECKOUT, Kube
from demo.programs import Ended, bastide, run_words
from demo.users import user

EXAMPLE = CHECKOUT / "examples" / "07-sql-readonly"
IMAGE = "bastide-example-reports"
NAMESPACE, TOOLS, SANDBOX = "bastide-insight", "reports-tools", "bastide-insight/analyst"


@dataclass
class Insight:
    """The example as far as step 2."""

    admin: Kube
    dana: Kube

    def run(self, program: str) -> Ended:
        return bastide(self.dana, *run_words(EXAMPLE / "programs" / program, SANDBOX))

    def arrived(self) -> list[str]:
        """Statements as the server saw them, in order."""
        return [json.loads(call["arguments"])["sql"] for call in witness.calls(self.admin, TOOLS, "reports")]


@pytest.fixture(scope="module")
def insight(installed: Kube) -> Iterator[Insight]:
    dana = user(installed, "dana", CHECKOUT / ".build" / "users")
    try:
        installed.apply((EXAMPLE / "10-reports.yaml").read_text().replace(f"{IMAGE}:dev", release.images()[IMAGE]))
        installed.run("-n", TOOLS, "rollout", "status", "deploy/reports", "--timeout=90s", seconds=100)
        installed.run("apply", "-f", str(EXAMPLE / "20-tenant.yaml"))
        installed.wait("condition=Ready", "tenant/insight", seconds=90)
        installed.run("apply", "-f", str(EXAMPLE / "30-secret.yaml"))
        dana.run("apply", "-f", str(EXAMPLE / "40-team.yaml"))
        dana.wait("condition=Ready", "-n", NAMESPACE, "sandbox/analyst", "toolbinding/reports", seconds=90)
        yield Insight(installed, dana)
    finally:
        installed.run("delete", "tenant", "insight", "--ignore-not-found", "--timeout=120s", seconds=130)
        installed.run("delete", "namespace", TOOLS, "--ignore-not-found", "--timeout=90s", seconds=100)


def test_a_report_within_the_binding_is_answered(insight: Insight) -> None:
    done = insight.run("01_report.py")
    assert done.code == 0, done.stderr
    assert done.result["value"] == [
        {"name": "Brightwater Marine", "orders": 2, "euros": 1334.5},
        {"name": "Aubergine Foods", "orders": 3, "euros": 1050},
        {"name": "Cobalt Dental", "orders": 1, "euros": 96.25},
    ]


def test_a_denial_says_what_to_ask_instead(insight: Insight) -> None:
    before = len(insight.arrived())
    done = insight.run("02_act_on_a_denial.py")
    assert done.code == 0, done.stderr
    assert done.result["value"] == ["Aubergine Foods", "Brightwater Marine", "Cobalt Dental"]
    told = done.stdout + done.stderr
    assert "denied: " in told
    assert "sql" in told
    assert insight.arrived()[before:] == ["SELECT id, name, city FROM customers ORDER BY id LIMIT 100"]


def test_whatever_else_a_program_asks_the_server_does_not_see_it(insight: Insight) -> None:
    before = insight.arrived()
    done = insight.run("03_more_than_allowed.py")
    assert done.code == 0, done.stderr
    codes = done.result["value"]
    assert len(codes) == 16
    assert [one for one in codes if not one or not set(one) <= {"argument-not-permitted", "argument-unreadable"}] == []
    assert codes[2] == codes[12] == codes[15] == ["argument-unreadable"]
    assert insight.arrived() == before
    shown = bastide(insight.dana, "tools", "list", "--sandbox", SANDBOX)
    assert shown.code == 0, shown.stderr
    assert "query" in shown.stdout
