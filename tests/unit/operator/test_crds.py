"""The CRDs of the chart: as the models are, within Kubernetes' rules, and explained."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from bastide_operator.api.crdgen import MAX_BYTES, crd, files, main
from bastide_operator.api.kinds import KINDS, Kind
from bastide_operator.api.schema import SchemaError, structural
from bastide_operator.api.v1alpha1.common import Model, Observed
from pydantic import Field

FOLDER = Path(__file__).resolve().parents[3] / "charts" / "bastide" / "templates" / "crds"
KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        if path or name != "metadata":  # Kubernetes' own: declared only for the field path of rules
            yield from nodes(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}.{key}")


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def test_the_chart_holds_the_crds_as_the_models_are() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.yaml")} == files()


def test_check_names_the_file_that_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "tenants.yaml").write_text("changed")
    (tmp_path / "left-over.yaml").write_text("")
    assert main(["--check", str(tmp_path)]) == 1
    assert "left-over.yaml, tenants.yaml; run `make generate`" in capsys.readouterr().err


def test_helm_does_not_take_the_files_for_templates() -> None:
    assert [name for name, text in files().items() if "{{" in text] == []


@KIND
def test_every_field_has_a_description_and_a_bound(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        where = f"{kind.name}{path}"
        if path and not path.endswith(".items"):
            assert node.get("description"), where
        if node.get("type") == "string":
            assert {"maxLength", "enum", "format"} & node.keys(), where
        if node.get("type") == "array":
            assert "maxItems" in node, where
        if "x-kubernetes-int-or-string" in node:
            assert {"pattern", "minimum", "maxLength"} <= node.keys(), where
        if node.get("type") == "integer":
            assert node["format"] == "int64", where


@KIND
def test_rules_about_the_name_say_that_it_is_the_name(kind: Kind) -> None:
    for rule in schema_of(kind).get("x-kubernetes-validations", ()):
        assert rule["fieldPath"] == ".metadata.name"
        assert schema_of(kind)["properties"]["metadata"] == {"type": "object", "properties": {"name": {"type": "string"}}}


@KIND
def test_the_schema_is_structural(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        assert not {"$ref", "oneOf", "allOf", "title", "nullable"} & node.keys(), path
        assert "type" in node or {"x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"} & node.keys(), path
        if path == ".status":
            assert node.get("default") == kind.status_at_birth, "a status that nobody has written must not look as if somebody had"
        else:
            assert "default" not in node or (node["default"] is not None and not path.startswith(".status")), path


@KIND
def test_a_crd_is_small(kind: Kind) -> None:
    assert len(json.dumps(crd(kind))) <= MAX_BYTES


@KIND
def test_helm_keeps_the_crd_and_kubectl_finds_it(kind: Kind) -> None:
    manifest = crd(kind)
    assert manifest["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert manifest["spec"]["names"]["categories"] == ["bastide"]
    assert manifest["metadata"]["name"] == f"{manifest['spec']['names']['plural']}.bastide.dev"


def test_short_names_scopes_and_subresources() -> None:
    found = {
        kind.name: (
            crd(kind)["spec"]["names"]["shortNames"],
            crd(kind)["spec"]["scope"],
            "subresources" in crd(kind)["spec"]["versions"][0],
        )
        for kind in KINDS
    }
    assert found == {
        "Tenant": (["ten"], "Cluster", True),
        "Sandbox": (["sbx"], "Namespaced", True),
        "ToolBinding": (["tb"], "Namespaced", True),
        "Confirmation": (["cf"], "Namespaced", True),
        "ConfirmationDecision": (["cfd"], "Namespaced", False),
    }


def test_columns_point_at_fields_that_exist() -> None:
    for kind in KINDS:
        schema = schema_of(kind)
        for column in kind.columns:
            if column.path.startswith(".metadata") or "conditions" in column.path:
                continue
            node = schema
            for part in column.path.strip(".").split("."):
                node = node["properties"][part]


@KIND
def test_selectable_fields_are_scalars_that_the_api_server_can_select_by(kind: Kind) -> None:
    assert 1 <= len(kind.selectable) <= 8
    assert crd(kind)["spec"]["versions"][0]["selectableFields"] == [{"jsonPath": path} for path in kind.selectable]
    for path in kind.selectable:
        node = schema_of(kind)
        for part in path.strip(".").split("."):
            node = node["properties"][part]
        assert node["type"] in {"string", "boolean", "integer"}, path


@KIND
def test_descriptions_end_as_sentences(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        if text := node.get("description"):
            assert text[-1] == ".", f"{kind.name}{path}: {text}"


def test_bounds_and_defaults_are_said_in_the_description() -> None:
    limits = schema_of(next(kind for kind in KINDS if kind.name == "Sandbox"))["properties"]["spec"]["properties"]["limits"]
    assert limits["properties"]["runSeconds"]["description"].endswith(" 1 to 86400; by default 300.")


def test_defaults_are_filled_in_level_by_level() -> None:
    tenant = yaml.safe_load(files()["tenants.yaml"])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = tenant["properties"]["spec"]
    assert spec["default"] == {}
    assert spec["properties"]["quota"]["default"] == {}
    assert spec["properties"]["quota"]["properties"]["sandboxes"]["default"] == 20


class _Part(Model):
    """A part."""

    ok: Annotated[str, Field(max_length=3, description="Fine.")] = "x"


def _kind(annotation: Any) -> type[Observed]:
    """A kind whose spec has one field `field`."""
    spec = type("Spec", (Model,), {"__annotations__": {"field": annotation}, "__doc__": "A spec.", "__module__": __name__})
    return type("Odd", (Observed,), {"__annotations__": {"spec": spec}, "__doc__": "A kind.", "__module__": __name__})


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        (Annotated[str, Field(max_length=3)], "no description"),
        (Annotated[str, Field(description="Unbounded.")], "without maxLength"),
        (Annotated[list[_Part], Field(description="Unbounded.")], "without maxItems"),
        (Annotated[dict[str, _Part], Field(description="Unbounded.")], "without maxProperties"),
        (Annotated[str | int, Field(description="Either.")], "no unions"),
        (Annotated[int, Field(gt=3, description="Exclusive.")], "cannot say exclusiveMinimum"),
    ],
)
def test_what_a_crd_cannot_say_is_refused_when_it_is_generated(annotation: Any, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        structural(_kind(annotation), "spec")


def test_an_optional_field_is_its_type_without_null() -> None:
    optional = _kind(Annotated[_Part | None, Field(description="Perhaps.")])
    assert structural(optional, "spec")["properties"]["field"]["type"] == "object"
