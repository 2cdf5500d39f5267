"""The reference of study keys is that of the models, and leaves no key of any committed study out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segcompass.study.reference import PAGE, reference


def test_the_committed_page_is_current() -> None:
    """After `python -m segcompass.study.reference` this holds."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def names(value: Any) -> set[str]:
    """Every key at any depth whose value is no section."""
    if isinstance(value, list):
        return set().union(*(names(part) for part in value))
    if not isinstance(value, dict):
        return set()
    return {key for key, part in value.items() if not isinstance(part, dict)}.union(*(names(part) for part in value.values()))


@pytest.mark.parametrize("section", ["data", "runtime", "activations", "sae_training", "joint", "analysis", "report"])
def test_every_key_of_a_section_stands_on_the_page(section: str) -> None:
    text = reference()
    for path in sorted(Path("params").glob("*.yaml")):
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        chosen = {key for key in raw.get(section, {}) if key in ("splits", "partitions")}
        for name in names(raw.get(section, {})) - chosen - {"refcoco", "refcoco+", "refcocog", "grefcoco", "reasonseg"}:
            assert any(form in text for form in (f"`{name}`", f"{name}: `", f".{name}.<number>")), f"{path.name}: {section} … {name}"


def test_values_ranges_forms_and_meanings_are_said_in_words() -> None:
    text = reference()
    assert "| `threads` | whole number, above 0 | Threads of every job that runs a model" in text
    assert "`float16` or `bfloat16` or `float32`" in text
    assert "## `saes.<name>`, architecture: `topk`" in text and "## `backbone`, source: `build` or `shipped`" in text
    assert "number, above 0, below 1" in text and "`sweep.lines.<number>`" in text
