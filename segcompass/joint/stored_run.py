"""A trained run with all that it needs, wherever it lies: in its study's results, or shipped in one folder of its own.

| | of a study | shipped (`segcompass ship-run`) |
|---|---|---|
| run | `results/<study>/<experiment>/<variant>/seed<n>` | the folder itself, with `card.json` |
| dictionary | `results/<study>/sae/<sae>` | `sae/` |
| backbone | `results/<study>/backbone` | the shipped backbone, whose files the card names by their digests |
| what concepts are called | `results/<study>/concepts/<sae>` | `concepts.json` |
| pictures that stand in for others | `results/<study>/data` | `examples/` |
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segcompass.backbone.card import file_digests
from segcompass.backbone.runtime import prepare_torch
from segcompass.errors import InputError, damaged
from segcompass.joint.checkpoint import described_run, load_joint
from segcompass.joint.inference import Predictor
from segcompass.provenance.stage import input_fingerprint, read_run
from segcompass.study.backbone import AnswerSettings, RuntimeSettings

BACKBONES = Path(__file__).parents[2] / "backbones"
SHIPPED = BACKBONES / "embedded_run"
"""The run that commands take where no other is named."""
CARD = "card.json"
THRESHOLD = 0.5
"""On probabilities, as the release has it on logits."""


@dataclass(frozen=True)
class StoredRun:
    """Where the parts of a run lie."""

    run: Path
    record: dict[str, Any]
    """Its `run.json`."""
    backbone: Path
    sae: Path
    study: Path | None
    """Results of its study; None of a shipped run."""

    names: Path
    """Where tables of its concepts are looked for; they may be missing."""

    @property
    def name(self) -> str:
        """Experiment, variant and seed in words."""
        described = self.described()
        return f"{described['experiment']} {described['variant']}, seed {described['seed']}"

    def described(self) -> dict[str, str]:
        """What tells the run from others."""
        words = self.record.get("wildcards", {})
        experiment = "joint" if self.record["stage"] == "train_joint" else "interface"
        of_run = {"variant": str(words.get("variant", "?")), "seed": str(words.get("seed", "?"))}
        return {"experiment": experiment, **of_run, "fingerprint": str(self.record.get("fingerprint", ""))}


def stored_run(model: Path | None) -> StoredRun:
    """The run that is named, or the shipped one.

    Args:
        model: its folder; what lies beside a run of a study is looked for where this path says, then where its links lead.

    Raises:
        InputError: the folder is no run, what it needs is not there, or is not what it was trained with.
    """
    if model is None and not (SHIPPED / CARD).is_file():
        raise InputError(
            SHIPPED, "--model", "is empty: no trained run is shipped yet; name one of your own, results/<study>/joint/<variant>/seed<n>"
        )
    run = SHIPPED if model is None else model
    record = read_run(run)
    if record.get("stage") not in ("train_interface", "train_joint"):
        raise InputError(run / "run.json", "stage", f"is `{record.get('stage')}`; name a folder of train_joint or train_interface")
    if (run / CARD).is_file():
        return _shipped(run, record)
    study = study_folder(run)
    # A study with a warm start has two backbones; what the run was made from says which is its own.
    started = any(Path(name).name == "warm_start" for name in record["inputs"])
    backbone, sae = study / ("warm_start" if started else "backbone"), study / "sae" / described_run(run)[0].sae
    for part in (backbone, sae):
        if input_fingerprint(part) not in record["inputs"].values():
            raise InputError(part / "run.json", "fingerprint", f"is not the one that {run} was trained with; restore it or train again")
    return StoredRun(run, record, backbone, sae, study, study / "concepts" / sae.name)


def load_predictor(stored: StoredRun, threshold: float | None, device: str | None = None, dtype: str | None = None) -> Predictor:
    """The predictor of a run, with the backbone and the dictionary that it was trained with.

    Args:
        stored: the run.
        threshold: confidence from which a slot counts; None for that of its training, or `THRESHOLD` where it had none.
        device: where it computes; where it was trained if None, or on the CPU of a machine that has no such device.
        dtype: of the backbone's arithmetic; that of its training if None.

    Raises:
        InputError: files are damaged, or the device is not there.
    """
    params = stored.record["params"]
    _, policy = described_run(stored.run)
    runtime = on_device(RuntimeSettings.model_validate_json(json.dumps(params["runtime"])), device)
    if dtype is not None:
        runtime = runtime.model_copy(update={"dtype": dtype})
    answer = AnswerSettings(slots=policy.slots, max_thought_tokens=policy.longest)
    prepare_torch(params["threads"], 0)
    threshold = params.get("confidence_threshold", THRESHOLD) if threshold is None else threshold
    return Predictor(load_joint(stored.run, stored.backbone, stored.sae, runtime, answer), answer.longest, threshold)


def study_folder(run: Path) -> Path:
    """Folder of the study's results that a run lies in: above the path as it is given, or above the place where its links lead.

    Raises:
        InputError: neither holds a backbone.
    """
    given, real = (path.parents[2] for path in (run.absolute(), run.resolve()))
    for folder in (given, real):
        if (folder / "backbone" / "run.json").is_file():
            return folder
    places = " and ".join(dict.fromkeys((str(given), str(real))))
    problem = f"has no `backbone` above it, in {places}; name results/<study>/joint/<variant>/seed<n>, or a shipped run"
    raise InputError(run, "--model", problem)


def on_device(recorded: RuntimeSettings, device: str | None) -> RuntimeSettings:
    """A run's settings for the machine at hand; those that only CUDA knows become what the CPU has in their place.

    Raises:
        InputError: the named device is not there.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError(None, "--device", "is `cuda`, but torch finds no such device here; take `cpu`")
    wanted = device or (recorded.device if there else "cpu")
    attention = "sdpa" if wanted == "cpu" and recorded.attention == "flash_attention_2" else recorded.attention
    return recorded.model_copy(update={"device": wanted, "attention": attention})


def read_run_card(run: Path) -> dict[str, Any]:
    """The card of a shipped run.

    Raises:
        InputError: it is damaged.
    """
    try:
        card = dict(json.loads((run / CARD).read_text(encoding="utf-8")))
        return card | {"files": dict(card["files"]), "backbone": dict(card["backbone"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(run / CARD, "", f"is no card of a shipped run ({error}); ship the run again") from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shipped(run: Path, record: dict[str, Any]) -> StoredRun:
    card = read_run_card(run)
    for name, wanted in card["files"].items():
        path = run / name
        if not path.is_file() or digest(path) != wanted:
            raise damaged(run, name, "is not the file that was shipped")
    places = (run.absolute().parent / card["backbone_folder"], BACKBONES / card["backbone_folder"])
    for folder in places:
        parts = {part: file_digests(folder / part) for part in card["backbone"] if (folder / part).is_dir()}
        if parts == card["backbone"]:
            return StoredRun(run, record, folder, run / "sae", None, run)
    raise InputError(places[0], "", "is not the backbone that the run was trained with; take both from the same commit")
