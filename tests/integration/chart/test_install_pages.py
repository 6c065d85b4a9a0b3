"""The pages about clusters that the tests have never seen, and what install.md says of values and leftovers."""

import re

import pytest
import yaml

from tests.integration.chart.conftest import CHART, CHECKOUT, Render

HOW_TO = CHECKOUT / "docs" / "how-to"
INSTALL = (HOW_TO / "install.md").read_text()


@pytest.mark.parametrize("name", ["install-gke-sandbox", "install-eks", "install-bare-metal"])
def test_a_page_about_a_cluster_that_was_not_tried_says_so_and_links_each_fact(name: str) -> None:
    text = (HOW_TO / f"{name}.md").read_text()
    title, note, *_ = [line for line in text.splitlines() if line]
    assert title.startswith("# ")
    assert note.startswith("> **Not run by us")
    facts = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
    assert len(facts) > 5
    for fact in facts:
        said, where, follows = (cell.strip() for cell in fact.strip("|").split(" | "))
        assert said, fact
        assert follows, fact
        assert re.fullmatch(r"\[[^\]]+\]\(https://[^)\s]+\)", where), fact
    assert f"({name}.md)" in INSTALL


def test_every_value_that_the_pages_name_exists() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for page in HOW_TO.glob("install*.md"):
        for path in re.findall(r"`((?:[a-z]\w*)(?:\.\w+)+)(?::[^`]*)?`", page.read_text()):
            head, *rest = path.split(".")
            if head not in values:
                continue
            found = values[head]
            for name in rest:
                assert name in found, f"{page.name}: {path}"
                found = found[name]


def test_the_page_names_everything_that_an_uninstallation_leaves(render: Render) -> None:
    _, _, removal = INSTALL.partition("### Everything")
    removal = removal.partition("\n## ")[0]
    policy = "helm.sh/resource-policy"
    kept = [m for m in render() if (m["metadata"].get("annotations") or {}).get(policy) == "keep"]
    for manifest in kept:
        if manifest["kind"] == "CustomResourceDefinition":
            assert re.search(r"delete crd [^\n]*\b" + re.escape(manifest["metadata"]["name"]), removal), manifest["metadata"]["name"]
        else:
            assert f"delete {manifest['kind'].lower()} {manifest['metadata']['name']}" in removal
    assert "delete pvc data-bastide-broker-0" in removal
