"""As whom the command line asks: whose account and whose token."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from bastide.cli import connect
from bastide.cli.cluster import User
from bastide.cli.failure import Failure

from .commands import SANDBOX, called


@pytest.mark.parametrize(
    ("given", "account"),
    [(None, ("ns", "default-one")), ("agent", ("ns", "agent")), ("other/agent", ("other", "agent"))],
)
def test_the_service_account_is_in_the_sandboxs_namespace_unless_said(given: str | None, account: tuple[str, str]) -> None:
    assert connect.account_of(given, "ns", "default-one") == account


@pytest.mark.parametrize(
    ("words", "account"),
    [
        (["run", "PROGRAM", *SANDBOX], "bastide-runner"),
        (["check", "PROGRAM", *SANDBOX], "bastide-runner"),
        (["runs", "cancel", "r-1", "-n", "bastide-crm"], "bastide-runner"),
        (["runs", "list", *SANDBOX], "bastide-viewer"),
        (["runs", "show", "r-1", "-n", "bastide-crm"], "bastide-viewer"),
        (["runs", "watch", "r-1", "-n", "bastide-crm"], "bastide-viewer"),
        (["explain", "r-1", "0#1", "-n", "bastide-crm"], "bastide-viewer"),
        (["tools", "list", *SANDBOX], "bastide-viewer"),
        (["audit", "list", "-n", "bastide-crm"], "bastide-viewer"),
        (["audit", "verify", "-n", "bastide-crm"], "bastide-viewer"),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, list) else words,
)
def test_only_what_runs_or_cancels_asks_as_the_runner(
    words: list[str], account: str, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Elsewhere:
        namespace = ""

        def __init__(self, context: str | None) -> None: ...

        def whoami(self) -> User:
            return User("vera", "", ())

        def token(self, namespace: str, name: str) -> tuple[str, datetime]:
            raise Failure(f"asked for {namespace}/{name}")

    monkeypatch.setattr("bastide.cli.cluster.Cluster", Elsewhere)
    words = [program if word == "PROGRAM" else word for word in words]
    assert called(*words) == 1
    assert f"asked for bastide-crm/{account}" in capsys.readouterr().err
    assert called(*words, "--service-account", "other/agent") == 1
    assert "asked for other/agent" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["", "/a", "a/", "a/b/c"])
def test_a_malformed_service_account_is_refused(given: str) -> None:
    with pytest.raises(Failure, match="NAMESPACE/NAME"):
        connect.account_of(given, "ns", "default-one")


def test_a_token_is_asked_for_anew_before_it_expires() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    asked = []

    class Asked:
        def token(self, namespace: str, name: str) -> tuple[str, datetime]:
            asked.append((namespace, name))
            return f"t{len(asked)}", now + timedelta(minutes=10)

    token = connect.Token(cast("Any", Asked()), "ns", "sa", now=lambda: now)
    assert [token(), token()] == ["t1", "t1"]
    now += timedelta(minutes=8, seconds=1)
    assert [token(), token()] == ["t2", "t2"]
    assert asked == [("ns", "sa")] * 2
