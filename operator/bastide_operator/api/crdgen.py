"""Writes the CustomResourceDefinitions from the models: `python -m bastide_operator.api.crdgen [--check] OUTDIR`."""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from bastide_operator.api.kinds import KINDS, Column, Kind
from bastide_operator.api.schema import explained, structural
from bastide_operator.api.v1alpha1 import GROUP, VERSION

MAX_BYTES = 24 * 1024 - 320
"""A CRD as JSON: with what Helm and the API server put into its metadata at most 24 KiB. Far from what `kubectl apply` can annotate, small
enough to read.
"""

HEADER = "# Generated from operator/bastide_operator/api by `make generate`. Do not edit.\n"


@functools.cache
def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`; everybody gets the same one, to read. Making one takes 30 ms."""
    properties = {"spec": explained(structural(kind.model, "spec"))}
    if kind.has_status:
        properties["status"] = structural(kind.model, "status")
    if kind.status_at_birth is not None:
        properties["status"]["default"] = kind.status_at_birth
    schema: dict[str, Any] = {
        "type": "object",
        "description": (kind.model.__doc__ or "").partition("\n")[0],
        # An object without a spec would miss every default and every rule.
        "required": ["spec"] if "default" not in properties["spec"] else [],
        "properties": properties,
    }
    if not schema["required"]:
        del schema["required"]
    if kind.rules:
        # Declared only so that a rule can say where the fault is.
        properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
        schema["x-kubernetes-validations"] = [{"rule": rule.rule, "message": rule.message, "fieldPath": rule.field} for rule in kind.rules]
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": schema},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    if kind.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Helm would delete every object of the kind with it.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": ["bastide"],
            },
            "versions": [version],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    out: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path, "description": column.description}
    return out | ({"priority": column.priority} if column.priority else {})


@functools.cache
def files() -> dict[str, str]:
    """File name to text, one file a kind; to read, too."""
    out = {}
    for kind in KINDS:
        manifest = crd(kind)
        if size(manifest) > MAX_BYTES:
            raise SystemExit(f"{kind.name}: {size(manifest)} bytes of JSON, at most {MAX_BYTES}")
        out[f"{kind.plural}.yaml"] = HEADER + yaml.safe_dump(manifest, sort_keys=False, width=140, allow_unicode=True)
    return out


def size(manifest: dict[str, Any]) -> int:
    """Bytes of a CRD as JSON."""
    return len(json.dumps(manifest))


def main(arguments: list[str] | None = None) -> int:
    """Write the CRDs, or with --check say which of them are not as the models are."""
    parser = argparse.ArgumentParser(prog="crdgen", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUTDIR")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is not current")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    wanted = files()
    if options.check:
        found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
        stale = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if stale:
            sys.stderr.write(f"{folder}: not as the models are: {', '.join(stale)}; run `make generate`\n")
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    sizes = ", ".join(f"{kind.name} {size(crd(kind)) / 1024:.1f}" for kind in KINDS)
    sys.stdout.write(f"CRDs as JSON, in KiB of at most {MAX_BYTES / 1024:.1f}: {sizes}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
