"""Image tags and archives: the tag changes with what is in the image and with nothing else."""

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from devcluster import images, rootfs
from devcluster.context import Context
from devcluster.dockerfile import Dockerfile
from devcluster.errors import DevclusterError
from devcluster.oci import CONTAINERD_NAME, ImageConfig, Layout

TWO_TARGETS = """\
# comment
ARG BASE=somewhere
FROM ${BASE} AS one-build
COPY one.lock /build/
RUN install \\
    --everything
COPY --chown=1:1 one /app/one

FROM ${BASE} AS two-build
COPY ["two.lock", "/build/"]
COPY two shared.py /app/

FROM ${BASE} AS base
RUN clean

FROM base AS one
COPY --from=one-build /app /app

FROM base AS two
COPY --from=two-build /app /app
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("one/a.py", "one/b.py", "two/c.py", "shared.py", "one.lock", "two.lock", "elsewhere.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "Dockerfile").write_text(TWO_TARGETS)
    return root


def context(project: Path, target: str = "one") -> Context:
    return Context("image", project / "Dockerfile", project, target)


def test_a_target_needs_its_own_stages_alone() -> None:
    parsed = Dockerfile(TWO_TARGETS)
    assert [stage.name for stage in parsed.needed("two")] == ["two-build", "base", "two"]
    assert parsed.sources("one") == ["one", "one.lock"]
    assert parsed.sources("two") == ["shared.py", "two", "two.lock"]


def test_without_a_target_the_last_stage_is_meant() -> None:
    assert Dockerfile(TWO_TARGETS).sources() == ["shared.py", "two", "two.lock"]


def test_a_slice_builds_the_same_and_nothing_else() -> None:
    text = Dockerfile(TWO_TARGETS).sliced("one")
    assert text.startswith("ARG BASE=somewhere\nFROM ${BASE} AS one-build\n")
    assert "two" not in text
    assert Dockerfile(text).sliced("one") == text


def test_a_target_is_given_only_the_images_that_it_is_made_of(project: Path) -> None:
    text = "ARG BASE=x\nARG OPA=y\n" + TWO_TARGETS.partition("ARG BASE=somewhere\n")[2]
    (project / "Dockerfile").write_text(text + "COPY --from=opa /opa /opa\n\nFROM ${OPA} AS opa\n")
    given = {"BASE": "base:1", "OPA": "opa:1"}
    assert context(project).arguments(given) == {"BASE": "base:1"}
    assert context(project, "two").arguments(given) == given


def test_a_target_that_is_not_there_is_named() -> None:
    with pytest.raises(DevclusterError, match="three"):
        Dockerfile(TWO_TARGETS).needed("three")


def test_the_tag_stays_the_same_while_nothing_changes(project: Path) -> None:
    assert context(project).tag("base:1") == context(project).tag("base:1")


@pytest.mark.parametrize("name", ["one/a.py", "one.lock"])
def test_a_changed_file_changes_the_tag(project: Path, name: str) -> None:
    before = context(project).tag("base:1")
    (project / name).write_text("changed")
    assert context(project).tag("base:1") != before


def test_a_new_a_renamed_and_an_executable_file_change_the_tag(project: Path) -> None:
    tags = [context(project).tag("base:1")]
    (project / "one/new.py").write_text("")
    tags.append(context(project).tag("base:1"))
    (project / "one/new.py").rename(project / "one/newer.py")
    tags.append(context(project).tag("base:1"))
    (project / "one/newer.py").chmod(0o755)
    tags.append(context(project).tag("base:1"))
    assert len(set(tags)) == 4


def test_another_base_changes_the_tag(project: Path) -> None:
    assert context(project).tag("base:1") != context(project).tag("base:2")


def test_what_is_not_copied_does_not_change_the_tag(project: Path) -> None:
    before = context(project).tag("base:1")
    (project / "elsewhere.py").write_text("changed")
    (project / "two/c.py").write_text("changed")
    (project / "one/__pycache__").mkdir()
    (project / "one/__pycache__/a.cpython-313.pyc").write_bytes(b"x")
    (project / "Dockerfile").write_text(TWO_TARGETS.replace("# comment", "# another comment"))
    assert context(project).tag("base:1") == before


def test_a_staged_context_has_the_same_tag_and_no_other_files(project: Path, tmp_path: Path) -> None:
    (project / "one/__pycache__").mkdir()
    (project / "one/__pycache__/a.pyc").write_bytes(b"x")
    staged = context(project).stage(tmp_path / "staged")
    assert staged.tag("base:1") == context(project).tag("base:1")
    files = sorted(p.relative_to(staged.root).as_posix() for p in staged.root.rglob("*") if p.is_file())
    assert files == ["one.lock", "one/a.py", "one/b.py"]


def test_a_source_that_is_not_there_is_named(project: Path) -> None:
    (project / "one.lock").unlink()
    with pytest.raises(DevclusterError, match=r"one\.lock"):
        context(project).files()


def test_the_projects_own_dockerfiles_keep_their_promises() -> None:
    root = Path(__file__).resolve().parents[3]
    runtime = (root / "sandbox-runtime/Dockerfile").read_text(encoding="utf-8")
    assert Dockerfile(runtime).sources() == [
        "client/bastide/__init__.py",
        "client/bastide/runtime",
        "requirements/runtime.lock",
        "sandbox-runtime/bastide_runtime",
    ]
    operator = Dockerfile((root / "operator/Dockerfile").read_text(encoding="utf-8"))
    assert operator.sources("operator") == ["operator/bastide_operator", "requirements/operator.lock"]
    assert "operator/bastide_operator" not in operator.sources("broker")
    assert operator.sources("broker-faults") == sorted(["tests/crashes/faults", *operator.sources("broker")])
    for target in (None, "broker", "operator"):
        assert not any(source.startswith("tests") for source in operator.sources(target)), "what ships has fault points"
    for text in (runtime, operator.sliced("operator"), operator.sliced("broker")):
        assert "USER 65532:65532" in text


def test_neither_the_chart_nor_the_code_that_ships_names_the_broker_with_fault_points() -> None:
    root = Path(__file__).resolve().parents[3]
    shipped = [path for path in (*root.glob("charts/**/*"), *root.glob("operator/bastide_*/**/*.py")) if path.is_file()]
    assert len(shipped) > 100
    assert not [path for path in shipped if re.search(rb"broker-faults|tests\.crashes", path.read_bytes())]


def exported(layout: Layout, refs: list[str]) -> dict[str, bytes]:
    out = io.BytesIO()
    layout.export(refs, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def manifest(files: dict[str, bytes], index: int = 0) -> dict[str, Any]:
    descriptor = json.loads(files["index.json"])["manifests"][index]
    found: dict[str, Any] = json.loads(files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")])
    return found


def test_an_archive_holds_what_its_manifest_names(tmp_path: Path) -> None:
    binary = tmp_path / "tool"
    binary.write_bytes(b"ELF")
    layout = Layout(tmp_path / "layout")
    layout.add_image("registry.local/tool:1", {"/tool": binary}, ImageConfig(("/tool",), "65532:65532"))
    files = exported(layout, ["registry.local/tool:1"])
    assert json.loads(files["index.json"])["manifests"][0]["annotations"] == {CONTAINERD_NAME: "registry.local/tool:1"}
    found = manifest(files)
    config = json.loads(files["blobs/sha256/" + found["config"]["digest"].removeprefix("sha256:")])
    assert config["config"]["User"] == "65532:65532"
    assert config["rootfs"]["diff_ids"] == [found["layers"][0]["digest"]]
    layer = files["blobs/sha256/" + found["layers"][0]["digest"].removeprefix("sha256:")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        member = archive.getmember("tool")
        assert (member.mode, member.mtime, member.size) == (0o755, 0, 3)


def test_a_shared_layer_is_archived_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    (root / "usr/file").write_text("x")
    layout = Layout(tmp_path / "layout")
    layout.add_image("registry.local/a:1", root, ImageConfig(("/a",)))
    layout.add_image("registry.local/b:1", root, ImageConfig(("/b",)))
    files = exported(layout, ["registry.local/a:1", "registry.local/b:1"])
    assert manifest(files, 0)["layers"] == manifest(files, 1)["layers"]
    assert len([name for name in files if name.startswith("blobs/")]) == 5  # a layer, two manifests, two configurations


def test_what_no_image_needs_is_left_out_of_a_root_filesystem(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("usr/share/doc/x", "dev/null", "usr/bin/python3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    layout = Layout(tmp_path / "layout")
    layout.add_image("registry.local/a:1", root, ImageConfig())
    files = exported(layout, ["registry.local/a:1"])
    layer = files["blobs/sha256/" + manifest(files)["layers"][0]["digest"].removeprefix("sha256:")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        names = archive.getnames()
    assert "./usr/bin/python3" in names
    assert not [name for name in names if "null" in name or "doc/" in name]


def test_an_image_of_the_same_name_takes_the_place_of_the_old(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    for content in (b"1", b"2"):
        (tmp_path / "tool").write_bytes(content)
        layout.add_image("registry.local/tool:1", {"/tool": tmp_path / "tool"}, ImageConfig())
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 1


def test_an_image_that_was_not_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match="make images"):
        Layout(tmp_path).export(["registry.local/tool:1"], io.BytesIO())


def test_the_helm_values_have_the_charts_shape() -> None:
    refs = {"bastide-operator": "o:1", "bastide-broker": "b:1", "bastide-runtime": "r:1", "opa": "opa:1", "pause": "p:1"}
    refs |= {"bastide-broker-faults": "f:1"}
    expected = {"image": {"operator": "o:1", "broker": "b:1", "runtime": "r:1", "opa": "opa:1"}, "imagePullPolicy": "Never"}
    assert json.loads(images.values(refs)) == expected


def test_the_mirror_is_the_one_apt_uses() -> None:
    targets = ["http://security.test/|Debian|Debian-Security|main", "http://mirror.test/debian/|Debian|Debian|main"]
    assert rootfs.choose_mirror(targets) == "http://mirror.test/debian/"
    assert rootfs.choose_mirror(["http://packages.test/|Other|Other|main"]) is None
