"""What concepts are called: the attribute value that each tells best, with its purity, and the words on which it is strongest.

Names come from the tables of `score_concepts`; a shipped run carries them in `concepts.json`. They are descriptions found on held-out
scenes, chosen on training scenes: a name says on what a concept fires, not what it does. That is measured (explanation.py).
A value's name stands for the concept that tells it best on patches and for those whose leading word it is: `red` is seen and is said.
"""

import difflib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segcompass.errors import InputError, damaged

FILE = "concepts.json"
WORDS = 3
"""Words of a name."""
PURE = 0.8
"""AUROC from which a concept is called by its value; below it the words come first."""


@dataclass(frozen=True)
class ConceptName:
    """Of one concept; empty where nothing is known."""

    attribute: str = ""
    value: str = ""
    auroc: float | None = None
    """Of the value, on patches of held-out scenes; None of a concept that fires on no patch."""
    words: tuple[str, ...] = ()
    """Strongest first."""

    @property
    def pure(self) -> bool:
        """It tells its value well enough to be called by it."""
        return self.auroc is not None and self.auroc >= PURE

    @property
    def called(self) -> str:
        """Value, or of a concept that is not pure its first word; empty where it has neither."""
        return self.value if self.pure else "".join(self.words[:1])

    @property
    def title(self) -> str:
        """Value and words, on one line; of a concept that is not pure the words come first."""
        seen = f"{self.value} ({self.attribute}, AUROC {self.auroc:.2f})" if self.auroc is not None else ""
        said = f"words: {', '.join(self.words)}" if self.words else ""
        parts = [seen, said] if self.pure or not said else [said, seen and f"at best {seen}"]
        return "; ".join(part for part in parts if part) or "fires on nothing that was labelled"


@dataclass(frozen=True)
class ConceptNames:
    """Of a dictionary with F concepts."""

    features: int
    names: dict[int, ConceptName] = field(default_factory=dict)
    best: dict[str, int] = field(default_factory=dict)
    """Attribute value -> the concept that tells it best."""
    carriers: dict[str, list[int]] = field(default_factory=dict)
    """Attribute -> the concepts that carry it in thoughts, strongest first."""

    def of(self, concept: int) -> ConceptName:
        """The name of a concept."""
        return self.names.get(concept, ConceptName())

    def find(self, text: str, flag: str) -> list[int]:
        """The concepts that a number or a name stands for.

        Raises:
            InputError: none.
        """
        if text.isascii() and text.isdigit():
            if len(text) > len(str(self.features)) or int(text) >= self.features:
                raise InputError(None, flag, f"names concept {text[:20]}, and the dictionary has those from 0 to {self.features - 1}")
            return [int(text)]
        wanted = text.strip().lower()
        said = [concept for concept, name in self.names.items() if name.words[:1] == (wanted,)]
        found = list(dict.fromkeys([*([self.best[wanted]] if wanted in self.best else []), *sorted(said)]))
        if found:
            return found
        known = sorted({*self.best, *(name.words[0] for name in self.names.values() if name.words)})
        near = difflib.get_close_matches(wanted, known, 3) or sorted(self.best)[:8]
        advice = f"; try {', '.join(near)}, or a number below {self.features}" if near else f"; give a number below {self.features}"
        raise InputError(None, flag, f"names no concept (`{text[:60]}`){advice}")

    def save(self, folder: Path) -> None:
        """Writes `concepts.json`."""
        rows = {str(concept): asdict(name) for concept, name in sorted(self.names.items())}
        text = json.dumps({"features": self.features, "concepts": rows, "best": self.best, "carriers": self.carriers}, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def names_of(folder: Path | None, features: int) -> ConceptNames:
    """Names from a shipped run, from an artefact of `score_concepts`, or none from a folder that is None or not there.

    Args:
        folder: shipped run, or `results/<study>/concepts/<sae>`.
        features: F.

    Raises:
        InputError: the files are damaged or are of another dictionary.
    """
    if folder is None or not folder.is_dir():
        return ConceptNames(features)
    try:
        found = _shipped(folder) if (folder / FILE).is_file() else _of_tables(folder, features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, "", f"holds no names of concepts ({error})") from error
    if found.features != features or any(not 0 <= concept < features for concept in found.names):
        raise damaged(folder, "", f"names concepts of another dictionary than the run's, which has {features}")
    return found


def _shipped(folder: Path) -> ConceptNames:
    raw: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    names = {int(concept): ConceptName(**row | {"words": tuple(row["words"])}) for concept, row in raw["concepts"].items()}
    return ConceptNames(int(raw["features"]), names, dict(raw["best"]), dict(raw["carriers"]))


def _of_tables(folder: Path, features: int) -> ConceptNames:
    import pandas as pd  # which a shipped run's names do without

    concepts, words, purity = (pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""]) for name in TABLES)
    said: dict[int, list[str]] = {}
    for row in words.sort_values(["concept", "rank"]).to_dict("records"):
        said.setdefault(int(row["concept"]), []).append(str(row["word"]))
    names = {concept: ConceptName(words=tuple(spoken[:WORDS])) for concept, spoken in said.items()}
    for row in concepts[concepts["dictionary"] == "trained"].dropna(subset="auroc").to_dict("records"):
        spoken = names.get(int(row["concept"]), ConceptName()).words
        names[int(row["concept"])] = ConceptName(str(row["attribute"]), str(row["value"]), float(row["auroc"]), spoken)
    values = purity[(purity["metric"] == "auroc") & (purity["value"] != "(mean)")]
    return ConceptNames(features, names, {str(row["value"]): int(row["concept"]) for row in values.to_dict("records")})


TABLES = ("concepts", "top_words", "purity")
"""Tables of `score_concepts` that names are made of."""
