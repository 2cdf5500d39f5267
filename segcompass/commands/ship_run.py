"""`segcompass ship-run`: copies a trained run into one folder, with all that commands need of its study but the shipped backbone."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from segcompass.backbone.card import file_digests
from segcompass.datasets.artefact import data_root, each_sample, manifest
from segcompass.datasets.pairs import exchanged_pairs
from segcompass.datasets.samples import Sample, read_samples
from segcompass.errors import InputError
from segcompass.explain.carriers import attributes, carriers, exchanged
from segcompass.explain.donors import EXAMPLES, INDEX
from segcompass.explain.names import names_of
from segcompass.joint.checkpoint import run_settings
from segcompass.joint.stored_run import CARD, StoredRun, digest, load_predictor, stored_run
from segcompass.provenance.new_folder import new_folder
from segcompass.provenance.stage import read_run

OF_RUN = ("run.json", "interface.json", "model.safetensors")
OF_SAE = ("cfg.json", "sae_weights.safetensors")
PICTURES = 8
"""Examples of val that are shipped beside counterfactual pairs: pictures to try, and donors of codes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="results/<study>/joint/<variant>/seed<n>, whose study has its concepts scored"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="backbones/embedded_run, or another folder beside the backbone's")
    backbone = "the shipped backbone that the run was trained with; %(default)s"
    parser.add_argument("--backbone", type=Path, default=Path("backbones/embedded"), metavar="FOLDER", help=backbone)


def run(arguments: argparse.Namespace) -> int:
    """Replaces the folder by the run, its dictionary, the names of its concepts, examples, a card with every file's digest, and a page."""
    stored = stored_run(arguments.run)
    if stored.study is None:
        raise InputError(arguments.run, "RUN", "is a shipped run already; name one in its study's results")
    if not (stored.names / "run.json").is_file():
        raise InputError(stored.names, "", "is missing; run the stage score_concepts of this dictionary first")
    parts = _backbone_parts(stored, arguments.backbone)
    if arguments.folder.is_dir() and not (arguments.folder / CARD).is_file() and any(arguments.folder.iterdir()):
        raise InputError(arguments.folder, "FOLDER", "holds other files than a shipped run; name another folder")
    draft = arguments.folder.with_name(f"{arguments.folder.name}.new")
    with new_folder(draft, flag="FOLDER") as folder:
        _copy(stored, folder)
        predictor = load_predictor(stored, None, "cpu")
        names = names_of(stored.names, predictor.interface_model.dictionary.features)
        data, (pairs, count) = stored.study / "data", exchanged(stored.study)
        names.carriers.update({name: carriers(predictor, data, name, pairs, count) for name in attributes(data)})
        names.save(folder)
        _examples(data, folder / EXAMPLES)
        card = _card(stored, folder, arguments.backbone.name, parts)
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(page_text(card), encoding="utf-8")
    shutil.rmtree(arguments.folder, ignore_errors=True)
    draft.rename(arguments.folder)
    size = sum(path.stat().st_size for path in arguments.folder.rglob("*") if path.is_file())
    print(f"{stored.name}: {len(card['files'])} files, {size / 2**20:.1f} MiB in {arguments.folder}")
    return 0


def _backbone_parts(stored: StoredRun, shipped: Path) -> dict[str, dict[str, str]]:
    """Digests of the backbone's parts that the run needs, which must be those that are shipped."""
    names = ("vlm", run_settings(stored.run).segmenter)
    parts = {name: file_digests(stored.backbone / name) for name in names}
    for name, files in parts.items():
        if not (shipped / name).is_dir() or file_digests(shipped / name) != files:
            problem = (
                f"is not the one that the run was trained with; `segcompass ship-backbone {stored.backbone} {shipped}` puts that one there"
            )
            raise InputError(shipped / name, "--backbone", problem)
    return parts


def _copy(stored: StoredRun, folder: Path) -> None:
    for name in OF_RUN:
        shutil.copyfile(stored.run / name, folder / name)
    (folder / "sae").mkdir()
    for name in OF_SAE:
        shutil.copyfile(stored.sae / name, folder / "sae" / name)


def _examples(data: Path, folder: Path) -> None:
    """The first expression with a target of the first pictures of val, and both sides of each attribute's first counterfactual pair."""
    chosen: dict[str, Sample] = {}
    for sample in each_sample(data, "val"):
        if not sample.no_target and len(chosen) < PICTURES:
            chosen.setdefault(sample.image, sample)
    named = {str(number): sample for number, sample in enumerate(chosen.values())}
    for attribute in attributes(data):
        pair = next(row for row in exchanged_pairs(data, "val", 1) if (row.attribute, row.kind) == (attribute, "cause"))
        samples = {sample.sample_id: sample for sample in read_samples(manifest(data, pair.benchmark, "val"))}
        named |= {f"{attribute}_{number}": samples[side.sample_id] for number, side in enumerate(pair.sides)}
    folder.mkdir()
    rows = []
    for name, sample in named.items():
        source = data_root(data) / sample.image
        shutil.copyfile(source, folder / f"{name}{source.suffix}")
        rows.append({"image": f"{name}{source.suffix}", "instruction": sample.text, "sample_id": sample.sample_id})
    (folder / INDEX).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _card(stored: StoredRun, folder: Path, backbone: str, parts: dict[str, dict[str, str]]) -> dict[str, Any]:
    record, dictionary = stored.record, read_run(stored.sae)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "run": stored.described(),
        "study": stored.study.name if stored.study else "",
        "commit": record["commit"],
        "code": record["code"],
        "seed": record["params"].get("seed"),
        "steps": record["params"].get("joint", {}).get("steps"),
        "seconds": record["seconds"],
        "versions": record["versions"],
        "dictionary": {"name": stored.sae.name, "commit": dictionary["commit"], "fingerprint": dictionary["fingerprint"]},
        "backbone_folder": backbone,
        "backbone": parts,
        "files": {path.relative_to(folder).as_posix(): digest(path) for path in files},
    }


def page_text(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    run = card["run"]
    return "\n".join(
        [
            f"# A trained run: {run['experiment']} `{run['variant']}`, seed {run['seed']}, of the study `{card['study']}`",
            "",
            "What `segcompass predict`, `explain`, `edit` and `demo` use where no `--model` is given: the parts that this run trained and",
            f"fitted, its dictionary (`sae/`, of {card['dictionary']['name']}), its concepts' names (`concepts.json`), and pictures to try",
            f"(`examples/`). The backbone is `../{card['backbone_folder']}/`; `card.json` holds its digests and those of every file here.",
            "Weights are float32, as trained.",
            "`segcompass ship-run` writes this folder from the study's results.",
            "",
            "| | commit | fingerprint |",
            "|---|---|---|",
            f"| run | {card['commit']} | {run['fingerprint'][:12]} |",
            f"| dictionary | {card['dictionary']['commit']} | {card['dictionary']['fingerprint'][:12]} |",
            "",
        ]
    )
