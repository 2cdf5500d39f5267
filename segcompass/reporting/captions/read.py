"""Captions of the report's figures and tables: one reStructuredText file each beside this module, named
`figure_<name>.rst` or `table_<name>.rst`.

They are the list of what a report holds: Snakemake's rules declare exactly these files and show them with their captions in
`snakemake --report`, and the summary takes the figures' captions from here.
"""

from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent


def caption_file(kind: Literal["figure", "table"], name: str) -> Path:
    """The file of a caption."""
    return FOLDER / f"{kind}_{name}.rst"


def captioned(kind: Literal["figure", "table"]) -> list[str]:
    """Names of all figures or tables, sorted."""
    return sorted(path.stem.removeprefix(f"{kind}_") for path in FOLDER.glob(f"{kind}_*.rst"))


def caption(kind: Literal["figure", "table"], name: str) -> str:
    """A caption as one line, without its line breaks."""
    return " ".join(caption_file(kind, name).read_text(encoding="utf-8").split())
