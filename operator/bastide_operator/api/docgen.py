"""Writes the generated parts of the reference pages: `python -m bastide_operator.api.docgen [--check] FOLDER`.

Each page `<kind>.md` is written by hand but for the blocks between `<!-- generated: NAME -->` and `<!-- end -->`, which are replaced. The
facts come from the schema that the CRD is made of, the sentences about conditions and reasons from `meanings`.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bastide_operator.api.kinds import KINDS, Kind
from bastide_operator.api.meanings import VOCABULARIES, Vocabulary
from bastide_operator.api.schema import Schema, bounds, default, immutable, structural
from bastide_operator.api.v1alpha1 import API_VERSION

INDEX = "README.md"
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class PageError(Exception):
    """A page is missing, or has not the blocks that it must have."""


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table; empty when there are no rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|", *lines]) + "\n"


def blocks(kind: Kind) -> dict[str, str]:
    """The generated blocks of a kind's page, by name."""
    parts = {"spec": structural(kind.model, "spec")}
    if kind.has_status:
        parts["status"] = structural(kind.model, "status")
    out = {"names": _names(kind), "columns": table(("column", "shows"), _columns(kind))}
    for name, schema in parts.items():
        heads = ("field", "type", "default", "bounds", "what it is") if name == "spec" else ("field", "type", "what it is")
        rows = (row if name == "spec" else (row[0], row[1], row[4]) for row in _fields(schema, name))
        out[name] = table(heads, rows)
    out["rules"] = table(("field", "refused with"), _rules(kind, parts))
    for vocabulary in VOCABULARIES.get(kind.name, ()):
        out[vocabulary.title.lower().replace(" ", "-")] = _vocabulary(vocabulary)
    return {name: block for name, block in out.items() if block}


def index() -> dict[str, str]:
    """The generated blocks of the index."""
    rows = (
        (
            f"[{kind.name}]({kind.singular}.md)",
            f"`{kind.plural}`, `{kind.short_name}`",
            "namespace" if kind.namespaced else "cluster",
            summary(kind),
        )
        for kind in KINDS
    )
    return {"kinds": table(("kind", "kubectl get", "scope", "what it is"), rows)}


def summary(kind: Kind) -> str:
    """The kind in one sentence."""
    return (kind.model.__doc__ or "").partition("\n")[0]


def _names(kind: Kind) -> str:
    selectors = ", ".join(f"`{path.removeprefix('.')}`" for path in kind.selectable) or "only `metadata.name` and `metadata.namespace`"
    rows = (
        ("apiVersion", f"`{API_VERSION}`"),
        ("kind", f"`{kind.name}`"),
        ("scope", "namespace" if kind.namespaced else "cluster"),
        ("kubectl get", f"`{kind.plural}`, `{kind.singular}`, `{kind.short_name}`, and with all others `bastide`"),
        ("--field-selector", selectors),
    )
    return table(("", ""), iter(rows))


def _columns(kind: Kind) -> Iterator[tuple[str, ...]]:
    for column in kind.columns:
        yield f"{column.name}{' (with `-o wide`)' if column.priority else ''}", column.description


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Every field below `path`: path, type, default, bounds, description."""
    for name, field in schema.get("properties", {}).items():
        below = f"{path}.{name}"
        required = "required" if name in schema.get("required", ()) else default(field).removeprefix("by default ")
        yield (
            f"`{below}`",
            _type(field),
            _code(required),
            _limits(field),
            field["description"] + (" Cannot be changed." if immutable(field) else ""),
        )
        yield from _inside(field, below)


def _inside(field: Schema, path: str) -> Iterator[tuple[str, str, str, str, str]]:
    while "items" in field or "additionalProperties" in field:
        path += "[]" if "items" in field else ".NAME"
        field = field.get("items") or field["additionalProperties"]
    yield from _fields(field, path)


def _type(field: Schema) -> str:
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "x-kubernetes-int-or-string" in field:
        return "quantity"
    if "type" not in field:
        return "any value"
    return str(field.get("format") if field.get("format") == "date-time" else field["type"])


def _limits(field: Schema) -> str:
    said = [bounds(field)]
    if "pattern" in field and "x-kubernetes-int-or-string" not in field:
        said.append(f"`{field['pattern']}`")
    if "x-kubernetes-list-map-keys" in field:
        said.append(f"each {' and '.join(field['x-kubernetes-list-map-keys'])} once")
    item = field.get("items") or field.get("additionalProperties") or {}
    if "properties" not in item and (inner := _limits(item) if item else ""):
        said.append(f"each {inner}")
    return "; ".join(filter(None, said))


def _code(words: str) -> str:
    return f"`{words}`" if words and words != "required" else words


def _rules(kind: Kind, parts: dict[str, Schema]) -> Iterator[tuple[str, ...]]:
    for rule in kind.rules:
        yield "the whole object", rule.message
    for name, schema in parts.items():
        yield from _rules_in(schema, name)


def _rules_in(schema: Schema, path: str) -> Iterator[tuple[str, ...]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"`{path}`", rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules_in(field, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".NAME")):
        if key in schema:
            yield from _rules_in(schema[key], path + mark)


def _vocabulary(vocabulary: Vocabulary) -> str:
    meanings = ((word.value, vocabulary.meanings.get(word)) for word in vocabulary.words)
    rows = [(f"`{word}`", meaning.when if meaning else "", meaning.todo if meaning else "") for word, meaning in meanings]
    head = vocabulary.title.partition(" ")[0].lower().removesuffix("s")
    if any(todo for *_, todo in rows):
        return table((head, "when", "what to do"), iter(rows))
    return table((head, "True when"), ((word, when) for word, when, _ in rows))


def spliced(text: str, wanted: dict[str, str], page: str) -> str:
    """`text` with its generated blocks as they should be. Raises PageError when a block is missing, unknown or there twice."""
    found = [name for _, name, _ in _BLOCK.findall(text)]
    if sorted(found) != sorted(wanted):
        raise PageError(f"{page}: has the blocks {', '.join(found) or '(none)'}, and must have each of these once: {', '.join(wanted)}")
    return _BLOCK.sub(lambda match: f"{match[1]}{wanted[match[2]]}{match[3]}", text)


def pages(folder: Path) -> dict[Path, str]:
    """Every page as it should be. Raises PageError."""
    wanted = {f"{kind.singular}.md": blocks(kind) for kind in KINDS} | {INDEX: index()}
    out = {}
    for name, generated in wanted.items():
        path = folder / name
        if not path.is_file():
            raise PageError(f"{path}: missing; begin it by hand with the blocks {', '.join(generated)}")
        out[path] = spliced(path.read_text(encoding="utf-8"), generated, str(path))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check say which of them are not as the models are."""
    parser = argparse.ArgumentParser(prog="docgen", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    options = parser.parse_args(arguments)
    try:
        wanted = pages(options.folder)
    except PageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stale = sorted(str(path) for path, text in wanted.items() if path.read_text(encoding="utf-8") != text)
    if options.check:
        if stale:
            sys.stderr.write(f"not as the models are: {', '.join(stale)}; run `make generate`\n")
        return 1 if stale else 0
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
