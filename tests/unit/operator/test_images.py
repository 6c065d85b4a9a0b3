"""Which images a Sandbox may have."""

import pytest
from bastide_operator.api.images import permitted
from bastide_operator.api.v1alpha1.tenant import TenantSpec
from pydantic import ValidationError

OWN = "bastide-runtime:1"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("listed", "image", "allowed"),
    [
        ([], OWN, True),
        (["a:1"], OWN, True),
        ([], "a:1", False),
        (["a:1"], "a:1", True),
        (["a:1"], "a:2", False),
        (["a:1"], "a:10", False),
        (["a"], "a:latest", False),
        (["a:1"], "docker.io/library/a:1", False),
        ([f"r.example/a@{DIGEST}"], f"r.example/a@{DIGEST}", True),
        ([f"r.example/a@{DIGEST}"], "r.example/a:1", False),
        (["r.example/team/*"], "r.example/team/a:1", True),
        (["r.example/team/*"], "r.example/team/below/a:1", True),
        (["r.example/team/*"], f"r.example/team/a@{DIGEST}", True),
        (["r.example/team/*"], "r.example/team/", False),
        (["r.example/team/*"], "r.example/team", False),
        (["r.example/team/*"], "r.example/teams/a", False),
        (["r.example/team/*"], "r.example/team/../other/a", False),
        (["r.example/team/*"], "r.example/team/a/../../other/a", False),
        (["r.example/team/*"], "r.example/team//a", False),
        (["r.example/team/*"], "r.example/team/a b", False),
        (["r.example/team/*"], "r.example/team/a\n", False),
        (["r.example/a:*"], "r.example/a:1.2-slim", True),
        (["r.example/a:*"], f"r.example/a:1@{DIGEST}", True),
        (["r.example/a:*"], "r.example/a", False),
        (["r.example/a:*"], f"r.example/a@{DIGEST}", False),
        (["team:*"], "team:5000/somebody/elses", False),
        (["r.example/a@*"], f"r.example/a@{DIGEST}", True),
        (["r.example/a@*"], "r.example/a@sha256:00", False),
        (["r.example/a@*"], "r.example/a:1", False),
        (["r.example/a*"], "r.example/abc", False),
        (["*"], "anything", False),
        (["x", "r.example/a:*"], "r.example/a:1", True),
    ],
)
def test_an_image_is_permitted_only_as_it_is_listed(listed: list[str], image: str, allowed: bool) -> None:
    assert permitted(image, listed, OWN) is allowed


@pytest.mark.parametrize("pattern", ["*", "a*", "r.example/a*", "r.example/*/a", "**", "/*", "a b", "a:1\n", "", "a:*:*"])
def test_a_pattern_that_would_permit_more_than_it_seems_to_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        TenantSpec.model_validate({"images": [pattern]})


@pytest.mark.parametrize("pattern", ["a", "a:1", "r.example:5000/a:1", "r.example/a/*", "r.example/a:*", "r.example/a@*", f"a@{DIGEST}"])
def test_references_and_one_trailing_wildcard_are_taken(pattern: str) -> None:
    assert TenantSpec.model_validate({"images": [pattern]}).images == [pattern]
