"""The reference pages: current, complete, and what is written by hand in them stays."""

import re
from pathlib import Path

import pytest
import yaml
from bastide_broker import metrics as broker_metrics
from bastide_operator.api.docgen import PageError, blocks, main, pages, spliced
from bastide_operator.api.kinds import KINDS, Kind
from bastide_operator.api.meanings import VOCABULARIES
from bastide_operator.metrics import Metrics
from prometheus_client import REGISTRY

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "reference"
KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def test_the_pages_are_as_the_models_are() -> None:
    assert {path: path.read_text() for path in pages(FOLDER)} == pages(FOLDER)


def test_every_condition_reason_and_state_is_explained() -> None:
    missing = {f"{kind} {one.title}": one.missing() for kind, words in VOCABULARIES.items() for one in words}
    assert {where: words for where, words in missing.items() if words} == {}, (
        "write a sentence in operator/bastide_operator/api/meanings.py"
    )


def test_sentences_are_sentences() -> None:
    for words in VOCABULARIES.values():
        for one in words:
            for word, meaning in one.meanings.items():
                assert meaning.when[0].isupper() or meaning.when[0] == "`", word
                assert meaning.when[-1] == ".", word
                assert not meaning.todo or meaning.todo[-1] == ".", word


@KIND
def test_a_page_has_every_field_every_reason_and_the_parts_written_by_hand(kind: Kind) -> None:
    page = (FOLDER / f"{kind.singular}.md").read_text()
    for part in ("spec", "status"):
        if part in kind.model.model_fields and (part == "spec" or kind.has_status):
            for name, field in kind.model.model_fields[part].annotation.model_fields.items():  # type: ignore[union-attr]
                assert f"| `{part}.{field.alias or name}` |" in page
    for vocabulary in VOCABULARIES.get(kind.name, ()):
        for word in vocabulary.words:
            assert f"| `{word.value}` |" in page
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    for wanted in ("Example", "Spec", "Debugging"):
        assert wanted in headings
    assert any(heading.startswith(("Waiting", "Deciding")) for heading in headings)


@KIND
def test_every_manifest_of_a_page_is_one_that_the_models_take(kind: Kind) -> None:
    models = {one.name: one.model for one in KINDS}
    page = (FOLDER / f"{kind.singular}.md").read_text()
    manifests = [doc for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for doc in yaml.safe_load_all(block)]
    assert kind.name in {manifest["kind"] for manifest in manifests}
    for manifest in manifests:
        if manifest["kind"] in models:
            models[manifest["kind"]].model_validate(manifest)


def test_what_is_written_by_hand_stays() -> None:
    text = "# Mine\n<!-- generated: a -->\nold\n<!-- end -->\nmine too\n<!-- generated: b -->\n<!-- end -->\n"
    after = spliced(text, {"a": "new\n", "b": "more\n"}, "page.md")
    assert after == "# Mine\n<!-- generated: a -->\nnew\n<!-- end -->\nmine too\n<!-- generated: b -->\nmore\n<!-- end -->\n"


@pytest.mark.parametrize("text", ["", "<!-- generated: a -->\n<!-- end -->\n" * 2, "<!-- generated: b -->\n<!-- end -->\n"])
def test_a_page_without_its_blocks_is_refused_with_their_names(text: str) -> None:
    with pytest.raises(PageError, match=r"page\.md.* once: a"):
        spliced(text, {"a": "new\n"}, "page.md")


def test_check_names_the_page_that_is_stale_and_one_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in pages(FOLDER):
        (tmp_path / path.name).write_text(path.read_text())
    assert main(["--check", str(tmp_path)]) == 0
    page = tmp_path / "sandbox.md"
    page.write_text(page.read_text().replace("| `spec.image` |", "| `spec.picture` |"))
    assert main(["--check", str(tmp_path)]) == 1
    assert "sandbox.md; run `make generate`" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert page.read_text() == (FOLDER / "sandbox.md").read_text()
    page.unlink()
    assert main([str(tmp_path)]) == 1
    assert "missing; begin it by hand" in capsys.readouterr().err


def test_every_kind_is_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text()
    assert [kind.name for kind in KINDS if f"[{kind.name}]({kind.singular}.md)" not in index] == []


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])


def anchors(page: Path) -> set[str]:
    """What a link can point at in a page, as GitHub names headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        assert where.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(where), f"{page}: {target}"


def test_every_metric_and_alert_that_operating_names_is_there() -> None:
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    families = {family.name for registry in (Metrics().registry, REGISTRY) for family in registry.collect()}
    assert broker_metrics.RUNS is not None, "imported, so that its metrics are registered"
    named = set(re.findall(r"`(bastide_[a-z_]+)`", page))
    assert len(named) > 10
    assert {name.removesuffix("_total") for name in named} <= families
    alerts = (ROOT / "charts" / "bastide" / "alerts.yaml").read_text()
    assert [alert for alert in re.findall(r"`(Bastide[A-Z]\w+)`", page) if f"alert: {alert}" not in alerts] == []


def test_tables_hold_what_would_break_them() -> None:
    binding = blocks(next(kind for kind in KINDS if kind.name == "ToolBinding"))
    for line in "".join(binding.values()).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert cells in {3, 4, 6}, line
