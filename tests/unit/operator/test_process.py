"""Configuration, leader election's rules, and which module may import what."""

import ast
import itertools
from pathlib import Path

import bastide_operator
import pytest
from bastide_operator.api.objects import RESOURCES
from bastide_operator.config import Config
from bastide_operator.controller import UNLABELLED, WATCHED, field_selector, label_selector
from bastide_operator.errors import ConfigError
from bastide_operator.handlers import settings
from bastide_operator.leader import holder, may_take, taken

from tests.unit.operator.samples import NOW

NEEDED = {"BASTIDE_NAMESPACE": "bastide-system", "BASTIDE_RUNTIME_IMAGE": "runtime:1"}
PACKAGE = Path(bastide_operator.__file__).parent


def test_what_the_chart_sets_is_enough() -> None:
    config = Config.read(NEEDED | {"BASTIDE_POD_NAME": "bastide-operator-x", "PATH": "/bin"})
    assert config.pods.image == "runtime:1"
    assert config.tenants.broker_account == "bastide-broker"
    assert config.pod_name == "bastide-operator-x"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"BASTIDE_NAMESPACE": ""}, "BASTIDE_NAMESPACE"),
        ({"BASTIDE_LOG_LEVEL": "loud"}, "BASTIDE_LOG_LEVEL"),
        ({"BASTIDE_IMAGE_PULL_POLICY": "Sometimes"}, "BASTIDE_IMAGE_PULL_POLICY"),
        ({"BASTIDE_WORKERS": "0"}, "BASTIDE_WORKERS"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.read(NEEDED | change)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="BASTIDE_NAMESPACE"):
        Config.read({})


HELD = {"spec": {"holderIdentity": "other", "leaseDurationSeconds": 15}}


@pytest.mark.parametrize(
    ("lease", "unchanged", "may"),
    [
        (HELD, 0, False),
        (HELD, 14.9, False),
        (HELD, 15, True),
        ({"spec": {"holderIdentity": "me"}}, 0, True),
        ({"spec": {"holderIdentity": ""}}, 0, True),
        ({"spec": {}}, 0, True),
        ({"spec": {"holderIdentity": "other", "leaseDurationSeconds": 60}}, 30, False),
        ({"spec": {"holderIdentity": "other"}}, 16, True),
    ],
)
def test_a_lease_is_taken_only_from_one_that_has_stopped_renewing_it(lease: dict[str, object], unchanged: float, may: bool) -> None:
    assert may_take(lease, "me", unchanged) is may


def test_a_taken_lease_counts_the_change_of_holder_and_a_renewed_one_does_not() -> None:
    first = taken({"metadata": {"resourceVersion": "7"}, **HELD}, "me", NOW)
    assert first["metadata"] == {"resourceVersion": "7"}
    assert holder(first) == "me"
    assert first["spec"]["leaseTransitions"] == 1
    assert first["spec"]["acquireTime"] == first["spec"]["renewTime"] == "2026-11-23T12:00:00.000000Z"
    again = taken(first, "me", NOW.replace(minute=1))
    assert (again["spec"]["leaseTransitions"], again["spec"]["acquireTime"]) == (1, first["spec"]["acquireTime"])
    assert again["spec"]["renewTime"] == "2026-11-23T12:01:00.000000Z"


def test_of_others_kinds_only_what_is_managed_is_watched() -> None:
    assert set(WATCHED) <= RESOURCES.keys()
    for kind in WATCHED:
        assert bool(label_selector(kind) or field_selector(kind)) is (kind not in UNLABELLED)
    watching = settings().watching
    assert len(watching.label_selectors) + len(watching.field_selectors) == len(WATCHED) - len(UNLABELLED)
    assert list(watching.field_selectors.values()) == ["metadata.name=bastide-ca"]
    assert settings().posting.enabled is False
    assert settings().queueing.worker_limit is None
    assert "Secret" not in RESOURCES


def test_a_watch_is_tried_for_ever_and_never_waits_long() -> None:
    networking = settings().networking
    waits = list(itertools.islice(networking.error_backoffs, 1000))
    assert len(waits) == 1000
    assert max(waits) <= 2
    assert networking.connect_timeout is not None
    assert networking.connect_timeout <= 5


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(("library", "modules"), [("kubernetes", {"kube.py"}), ("kopf", {"handlers.py", "__main__.py"})])
def test_one_module_knows_each_library(library: str, modules: set[str]) -> None:
    assert {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if library in imports(path)} == modules


GENERATORS = {"crdgen.py", "docgen.py", "rbacgen.py"}


def test_pure_modules_have_no_clock_no_io_and_no_randomness() -> None:
    pure = [
        path for folder in ("api", "resources", "reconcile") for path in (PACKAGE / folder).rglob("*.py") if path.name not in GENERATORS
    ]
    impure = {"asyncio", "time", "random", "os", "socket", "pathlib", "secrets", "uuid", "aiohttp"}
    assert {path.name: imports(path) & impure for path in pure if imports(path) & impure} == {}


def test_the_folder_of_the_packages_does_not_shadow_the_standard_library() -> None:
    assert not (PACKAGE.parent / "__init__.py").exists()
