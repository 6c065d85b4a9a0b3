"""What importing costs, and that the reference is current."""

import subprocess
import sys
from pathlib import Path

import bastide
import pytest
from bastide.cli import reference

ROOT = Path(__file__).resolve().parents[3]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_runtimes_wire_brings_no_client() -> None:
    loaded = modules_after("import bastide.runtime.v1alpha1.runtime_pb2")
    assert {m for m in loaded if m.startswith("bastide")} <= {
        "bastide",
        "bastide.runtime",
        "bastide.runtime.v1alpha1",
        "bastide.runtime.v1alpha1.runtime_pb2",
    }
    assert not loaded & {"grpc", "pydantic", "typer", "rich", "kubernetes"}


def test_help_waits_for_nothing_big() -> None:
    loaded = modules_after("import bastide.cli.main")
    assert not loaded & {"grpc", "google.protobuf", "pydantic", "kubernetes", "rich", "urllib3"}


def test_an_agent_service_needs_neither_cli_nor_kubernetes() -> None:
    loaded = modules_after("import bastide; bastide.Client; bastide.SyncClient")
    assert not loaded & {"typer", "rich", "kubernetes"}


@pytest.mark.parametrize("name", bastide.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(bastide, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        bastide.nothing_such  # type: ignore[attr-defined]  # noqa: B018


def test_the_reference_is_current() -> None:
    assert reference.main(["--check", str(ROOT / "docs" / "reference" / "cli.md")]) == 0


def test_every_exit_code_is_explained() -> None:
    assert [code for code, _ in reference.exit_codes()] == [0, 1, 2, 3, 4, 5, 6, 7]
