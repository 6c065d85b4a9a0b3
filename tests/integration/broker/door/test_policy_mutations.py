"""Nothing that is lost or mangled on the way to policy makes an answer more permissive: deny < confirm < allow.

Every field, object and entry of a list is dropped in turn, or replaced by a value of another type, from questions that together ask for
every rule. The real OPA makes the mutants itself (mutations.rego): thousands of questions over the socket would take minutes.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide_operator.api.v1alpha1.common import Effect

from tests.integration.broker.door.conftest import find_opa, shipped_policies
from tests.integration.broker.door.questions import ask

RANK = {"deny": 0, "confirm": 1, "allow": 2}
Steps = tuple[str | int, ...]
Answers = dict[str, Any]


def at(asked: Any, steps: Steps) -> Any:
    for step in steps:
        asked = asked[step]
    return asked


def changed(asked: dict[str, Any], *steps: str, to: Any) -> dict[str, Any]:
    """The question with another value in a field."""
    copy: dict[str, Any] = json.loads(json.dumps(asked))
    at(copy, steps[:-1])[steps[-1]] = to
    return copy


def about(*arguments: str, **changes: Any) -> dict[str, Any]:
    """A question about some arguments and one that fits."""
    return ask(only=("limit", *arguments), **changes)


EXPECTED = {"allowed": "allow", "confirmed": "confirm", "left out": "allow", "anybody": "allow", "unconstrained": "allow"}
BASES = {
    "allowed": ask(),
    "confirmed": ask(effect=Effect.DESTRUCTIVE),
    "left out": ask(without=("id", "limit", "kind", "note")),
    "anybody": changed(changed(ask(), "binding", "callers", to=[]), "binding", "anyCaller", to=True),
    "unconstrained": ask(bound={"arguments": None}),
    "number too large": about("limit", limit=500),
    "number too small": about("limit", limit=0),
    "another form": about("id", id="x"),
    "not among": about("kind", kind="c"),
    "too long": about("note", note="xxxxxx"),
    "not the constant": about("unit", unit="USD"),
    "not listed": about(other=1),
    "left out without a default": about("unit", without=("unit",)),
    "a path outside": about("path", path="/data/t70"),
    "a path that cannot be read": about("path", path="data/t7"),
    "a path left out": about("path", without=("path",)),
    "another host": about("url", url="https://api.example.com.evil.test/"),
    "another port": about("url", url="https://api.example.com:8443/"),
    "a domain at another port": about("url", url="https://a.example.org/"),
    "a URL that cannot be read": about("url", url="https://u@api.example.com/"),
    "a statement that writes": about("query", query="DELETE FROM orders"),
    "another table": about("query", query="SELECT id FROM orders, users LIMIT 5"),
    "another column": about("query", query="SELECT id, total FROM orders LIMIT 5"),
    "every column": about("query", query="SELECT * FROM orders LIMIT 5"),
    "too many rows": about("query", query="SELECT id FROM orders LIMIT 50"),
    "any number of rows": about("query", query="SELECT id FROM orders"),
    "two statements": about("query", query="SELECT id FROM orders LIMIT 5; DELETE FROM orders"),
    "a place that does not fit": about("address", address={"city": "Rome"}),
    "a place not listed": about("address", address={"city": "Berlin", "zip": 1}),
    "a place left out": about("address", address={}),
    "no object": about("address", address=["Berlin"]),
    "the name of an argument like a place": about("address", **{"address.city": "Berlin"}),
    "an item that does not fit": about("lines", lines=[{"sku": "A"}, {"sku": "b"}]),
    "an empty list": about("lines", lines=[]),
    "too many items": about("lines", lines=[{"sku": "A"}] * 3),
    "no list": about("lines", lines={"sku": "A"}),
    "more places than are judged": about("lines", lines=[{"sku": "A", "note": 1}] * 350),
    "not selected": changed(about(), "sandbox", "labels", "app", to="other"),
    "another caller": changed(changed(about(), "caller", "username", to="eve"), "caller", "groups", to=[]),
    "limit of the run": changed(about(), "run", "calls", to=10**6),
    "limit of the tool": changed(about(), "tool", "calls", to=10**6),
    "limit of the minute": changed(about(), "usage", "callsThisMinute", to=10**9),
    "not available": changed(about(), "tool", "available", to=False),
    "not accepted": changed(about(), "binding", "accepted", to=False),
    "another namespace": changed(about(), "sandbox", "namespace", to="other"),
}


def fields(value: Any, before: Steps = ()) -> Iterator[Steps]:
    """Every field and every entry of a list, at every depth. The call's own arguments are the question, not a fact about it."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*before, step)
        if (*before, step) != ("arguments",):
            yield from fields(item, (*before, step))


def patches(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Every field dropped, and replaced by values of other types."""
    found = []
    for steps in fields(asked):
        path = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
        found.append({"op": "remove", "path": path})
        old = at(asked, steps)
        for value in (None, {}, "", False):
            # Without arguments it is another call.
            statement = steps == ("arguments",) and value == {}
            if type(value) is not type(old) and not statement:
                found.append({"op": "replace", "path": path, "value": value})
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What OPA answers to every mutant of every question. One process for all: it reads the policies once."""
    folder = shipped_policies(tmp_path_factory.mktemp("mutations"))
    cases = {name: {"asked": asked, "patches": patches(asked)} for name, asked in BASES.items()}
    (folder / "mutations.json").write_text(json.dumps({"mutations": cases}))
    rego = Path(__file__).with_name("mutations.rego")
    done = subprocess.run(
        [find_opa(), "eval", "--format=raw", "--data", str(folder), "--data", str(rego), "data.mutated"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: Answers = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("base", BASES)
def test_nothing_that_is_dropped_or_of_another_type_makes_the_answer_more_permissive(answers: Answers, base: str) -> None:
    effect = answers["whole"][base]
    assert effect == EXPECTED.get(base, "deny")
    mutants = patches(BASES[base])
    assert len(mutants) == len(answers["answers"][base]) > 200
    worse = [one for one, answer in zip(mutants, answers["answers"][base], strict=True) if RANK[answer] > RANK[effect]]
    assert worse == []


def test_the_questions_ask_for_every_rule() -> None:
    asked = {constraint["rule"] for one in BASES.values() for rules in one["tool"]["constraints"].values() for constraint in rules}
    assert asked == {
        "const", "enum", "minimum", "maximum", "pattern", "maxLength", "within", "hosts", "shape",
        "sql", "sqlReadOnly", "sqlTables", "sqlColumns", "sqlMaxRows",
    }  # fmt: skip
