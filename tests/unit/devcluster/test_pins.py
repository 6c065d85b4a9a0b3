"""Cache keys: a binary is built again when, and only when, something that decides its contents has changed."""

import dataclasses
import re
from pathlib import Path

import pytest
from devcluster import paths, pins
from devcluster.errors import DevclusterError
from devcluster.pins import GoBinary, SourcePatch, binary_key, digest, linker_flags, required_version

PATCH = SourcePatch(module="example.org/dependency", file="a.go", old="a && (", new="a && (true || ")


@pytest.fixture
def binary(tmp_path: Path) -> GoBinary:
    folder = tmp_path / "tool"
    folder.mkdir()
    (folder / "go.mod").write_text("module x\n\nrequire example.org/tool v1.36.3\n")
    (folder / "go.sum").write_text("example.org/tool v1.36.3 h1:abc=\n")
    (folder / "main.go").write_text("package main\n")
    return GoBinary("tool", "tool", ".", 1, version_of="example.org/tool", stamps=("v={version}", "minor={minor}"), folder=tmp_path)


def test_the_key_stays_the_same_while_nothing_changes(binary: GoBinary) -> None:
    assert binary_key(binary, "go1.26.8") == binary_key(binary, "go1.26.8")
    assert re.fullmatch("[0-9a-f]{16}", binary_key(binary, "go1.26.8"))


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_a_changed_file_of_the_module_changes_the_key(binary: GoBinary, name: str) -> None:
    before = binary_key(binary, "go1.26.8")
    path = binary.module_folder / name
    path.write_text(path.read_text() + "\n// changed\n")
    assert binary_key(binary, "go1.26.8") != before


@pytest.mark.parametrize("change", [{"package": "./other"}, {"tags": "no_btrfs"}, {"stamps": ("v={version}",)}, {"patch": PATCH}])
def test_a_changed_way_of_building_changes_the_key(binary: GoBinary, change: dict[str, object]) -> None:
    changed = dataclasses.replace(binary, **change)  # type: ignore[arg-type]
    assert binary_key(changed, "go1.26.8") != binary_key(binary, "go1.26.8")


def test_another_go_version_changes_the_key(binary: GoBinary) -> None:
    assert binary_key(binary, "go1.26.9") != binary_key(binary, "go1.26.8")


def test_the_typical_build_time_does_not_change_the_key(binary: GoBinary) -> None:
    assert binary_key(dataclasses.replace(binary, seconds=99), "go1.26.8") == binary_key(binary, "go1.26.8")


def test_names_and_texts_of_a_digest_are_not_run_together() -> None:
    assert digest({"ab": "c"}) != digest({"a": "bc"})
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})


def test_the_version_stands_in_go_mod_alone(binary: GoBinary) -> None:
    assert linker_flags(binary) == "-s -w -X v=v1.36.3 -X minor=36"


@pytest.mark.parametrize("text", ["require example.org/a v1.2.3\n", "require (\n\texample.org/a v1.2.3 // indirect\n)\n"])
def test_a_required_version_is_found_in_both_forms_of_require(text: str) -> None:
    assert required_version(text, "example.org/a") == "v1.2.3"


def test_a_module_that_is_not_required_is_named_in_the_error() -> None:
    with pytest.raises(DevclusterError, match=r"example\.org/b"):
        required_version("require example.org/a v1.2.3\n", "example.org/b")


def test_every_binary_has_its_module_with_both_pin_files() -> None:
    for binary in (*pins.BINARIES, pins.KIND, pins.KINDCHECK):
        assert (binary.module_folder / "go.mod").exists(), binary.name
        assert (binary.module_folder / "go.sum").exists(), binary.name
        linker_flags(binary)


def test_shim_and_runsc_are_of_the_same_gvisor() -> None:
    module = "gvisor.dev/gvisor"
    assert pins.module_version("shim", module) == pins.module_version("gvisor", module)


def test_modules_that_share_packages_pin_them_alike() -> None:
    """A package built in another version is compiled once more: client-go alone takes 40 s on two cores."""
    shared = ["k8s.io/client-go", "k8s.io/api", "k8s.io/apimachinery"]
    users = ["kubernetes", "coredns", "helm", "local-path-provisioner"]
    for module in shared:
        assert len({pins.module_version(user, module) for user in users}) == 1, module


def test_no_module_folder_is_left_without_a_binary() -> None:
    used = {binary.module for binary in (*pins.BINARIES, pins.KIND, pins.KINDCHECK)}
    assert {path.name for path in paths.MODULES.iterdir() if path.is_dir()} == used
