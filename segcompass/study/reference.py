"""The reference of every key of a study file, written from the models that check it.

`python -m segcompass.study.reference` writes `docs/study_keys.md`; a test compares it. What a key means is the sentence below it in
`segcompass/study/`; what it may be is its type there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segcompass.study.study import Study

PAGE = Path("docs/study_keys.md")
HEAD = """# Every key of a study file

Written by `python -m segcompass.study.reference` from the models in `segcompass/study/`; do not edit it by hand. A study file is
complete: every key below stands in it, and no other; `activations.corpus` and `warm_start` alone may be left out. `<name>` is a name of
the study's own choice; where a key decides the form of the others, each form has its own table.
"""
Schema = dict[str, Any]
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def reference() -> str:
    """The page's Markdown."""
    schema = Study.model_json_schema()
    parts = [HEAD, *_tables(schema, schema["$defs"], "")]
    return "\n".join(parts)


def _tables(section: Schema, definitions: dict[str, Schema], prefix: str, form: str = "") -> Iterator[str]:
    """A heading and a table of a section's own values, then the tables of the sections within it."""
    title = f"`{prefix.removesuffix('.')}`" if prefix else "The file"
    within: list[tuple[str, Schema]] = []
    rows = []
    for name, field in section["properties"].items():
        found = list(_sections(field, definitions))
        if found:
            within += [(f"{prefix}{name}.{inner}", one | {"of_the_key": field.get("description", "")}) for inner, one in found]
        elif form.partition(": ")[0] != name:  # what names the form is in the heading
            rows.append(f"| `{name}` | {_kind(field, definitions)} | {_line(field.get('description', ''))} |")
    if rows or form:
        yield f"## {title}{f', {form}' if form else ''}\n"
        said = [_line(text) for text in (section.get("of_the_key", ""), section.get("description", "")) if text and prefix]
        if said:
            yield f"{' '.join(said)}\n"
    if rows:
        yield "\n".join(["| key | value | meaning |", "|---|---|---|", *rows]) + "\n"
    for place, one in within:
        yield from _tables(one, definitions, place, one.get("form", ""))


def _sections(field: Schema, definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """The sections that a key holds, each with what is added to its name: none, one, one of several forms, or any number by name."""
    if "$ref" in field:
        yield "", definitions[field["$ref"].rsplit("/", 1)[1]]
    elif "discriminator" in field:
        key = field["discriminator"]["propertyName"]
        forms: dict[str, list[str]] = {}
        for value, place in field["discriminator"]["mapping"].items():
            forms.setdefault(place, []).append(f"`{value}`")
        for place, values in forms.items():
            yield "", definitions[place.rsplit("/", 1)[1]] | {"form": f"{key}: {' or '.join(values)}"}
    elif isinstance(extra := field.get("additionalProperties"), dict):
        yield from ((f"<name>.{inner}", one) for inner, one in _sections(extra, definitions))
    elif "anyOf" in field:
        yield from (found for one in field["anyOf"] for found in _sections(one, definitions))
    elif "items" in field:
        yield from ((f"<number>.{inner}", one) for inner, one in _sections(field["items"], definitions))


def _kind(field: Schema, definitions: dict[str, Schema]) -> str:
    """What a value may be, in words."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(_kind(one, definitions) for one in field["anyOf"])
    if "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}: {', '.join(_kind(one, definitions) for one in field['prefixItems'])}"
    if field.get("type") == "array":
        return f"list, each {_kind(field['items'], definitions)}"
    if field.get("type") == "object":
        names = field.get("propertyNames", {}).get("enum")
        inner = field.get("additionalProperties")
        keys = " or ".join(f"`{name}`" for name in names) if names else "name"
        return f"by {keys}: {_kind(inner, definitions)}" if isinstance(inner, dict) else f"by {keys}: any value"
    limits = [f"{word} {field[key]:g}" for key, word in BOUNDS.items() if key in field]
    pattern = [f"of the form `{field['pattern']}`"] if "pattern" in field else []
    return ", ".join([NAMES.get(str(field.get("type")), "any value"), *limits, *pattern])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Writes the page."""
    PAGE.write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
