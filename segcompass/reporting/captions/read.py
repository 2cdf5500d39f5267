"""Captions of the report's figures and tables: one reStructuredText file each beside this module, named
`figure_<name>.rst`, `table_<name>.rst` or, of the claims, `ledger_<name>.rst`.

They are the list of what a report holds: Snakemake's rules declare exactly these files and show them with their captions in
`snakemake --report`, and the summary takes the figures' captions from here.
"""

from pathlib import Path
from typing import Literal

Kind = Literal["figure", "table", "ledger"]
FOLDER = Path(__file__).parent


def caption_file(kind: Kind, name: str) -> Path:
    """The file of a caption."""
    return FOLDER / f"{kind}_{name}.rst"


def captioned(kind: Kind) -> list[str]:
    """Names of all of a kind, sorted."""
    return sorted(path.stem.removeprefix(f"{kind}_") for path in FOLDER.glob(f"{kind}_*.rst"))


def caption(kind: Kind, name: str) -> str:
    """A caption as one line, without its line breaks."""
    return " ".join(caption_file(kind, name).read_text(encoding="utf-8").split())
