"""`segcompass claims`: every verdict once more, from the committed records and the rules as the study file has them now."""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from segcompass.claims.evidence import read_record
from segcompass.errors import InputError
from segcompass.reporting.front_page import claim_line
from segcompass.reporting.ledger import write_ledger
from segcompass.study.jobs import ARTEFACTS
from segcompass.study.load import load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="study file, such as params/default.yaml")
    parser.add_argument("--lines", nargs="+", metavar="CLAIM", help="print these claims alone, as a list in Markdown")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="folder of the ledger; reports/<study>/claims if left out")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line a claim: its verdict and why; then what differs from the committed ledger.

    Returns:
        0 if the committed ledger says the same to the byte, 1 if it does not.
    """
    study = load_study(arguments.study)
    folder = arguments.report or Path(ARTEFACTS["judge_claims"].format(study=study.study))
    record = read_record(folder)
    with tempfile.TemporaryDirectory() as made:
        write_ledger(study.claims, record, Path(made))
        names = sorted(path.name for path in Path(made).iterdir())
        differing = [name for name in names if _bytes(folder / name) != (Path(made) / name).read_bytes()]
        now = pd.read_csv(Path(made) / "claims.csv").set_index("claim")
    if arguments.lines:
        if unknown := [name for name in arguments.lines if name not in now.index]:
            raise InputError(
                None, "--lines", f"`{unknown[0]}` is no claim of {arguments.study}; choose from {', '.join(map(str, now.index))}"
            )
        print("\n".join(claim_line(now.loc[name].to_dict()) for name in arguments.lines))
        return int(bool(differing))
    width, outcome = max(map(len, now.index)), max(map(len, now["verdict"]))
    for name, row in now.iterrows():
        print(f"{name:<{width}}  {row['verdict']:<{outcome}}  {row['reason']}")
    if not differing:
        return 0
    print(f"\n{folder} differs in {', '.join(differing)}")
    before = _verdicts(folder / "claims.csv")
    for name in [*now.index, *(name for name in before if name not in now.index)]:
        old, new = before.get(str(name), "not in the ledger"), now["verdict"].get(name, "no longer a claim")
        if old != new:
            print(f"{name}: {old} in the committed ledger, now {new}")
    return 1


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _verdicts(path: Path) -> dict[str, str]:
    try:
        table = pd.read_csv(path)
        return dict(zip(table["claim"].astype(str), table["verdict"].astype(str), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, "", f"is no ledger ({error}); start the pipeline, which makes it") from error
