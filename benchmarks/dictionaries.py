"""Held-out quality of the study's dictionaries on the shipped backbone, for several training seeds; nothing is timed.

Activations come from the study's cache (`snakemake results/default/activations/layer<l>/run.json`). A seed decides the dictionary's start,
the order of tokens and which images are held out. Explained variance, L0 and dead features are those of the held-out images; the last
printed line is one JSON object with every value and the worst one of each.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch

from segcompass.activations.cache import CacheReader
from segcompass.backbone.runtime import prepare_torch
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.training import train
from segcompass.stages.train_sae import initial_dictionary
from segcompass.study.jobs import Job
from segcompass.study.load import load_study

STUDY = Path("params/default.yaml")
SEEDS = (0, 1, 2)


def quality(name: str, seed: int, cache: Path) -> dict[str, float]:
    """Held-out explained variance, L0 as a share of the width, and dead fraction of one training."""
    study = load_study(STUDY)
    settings = study.sae_training.model_copy(update={"seed": seed})
    prepare_torch(study.threads, seed)
    source = CacheReader(cache, settings.held_out_fraction, seed)
    dictionary = initial_dictionary(study.saes[name], source.width, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as resume:
        train(dictionary, source, settings, Path(resume))
    found = held_out_metrics(dictionary, source.held_out())["all"]
    share = found["l0"] / dictionary.features
    return {"explained_variance": found["explained_variance"], "l0_share": share, "dead_fraction": found["dead_fraction"]}


def main() -> None:
    """Prints a line a training and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dictionaries", nargs="+", default=["topk", "relu_l1"])
    given = parser.parse_args()
    study = load_study(STUDY)
    cache = Job("cache_activations", (("layer", str(study.activations.hook_layer)),)).artefact(study.study)
    found = {}
    for name in given.dictionaries:
        found[name] = [quality(name, seed, cache) for seed in SEEDS]
        for seed, values in zip(SEEDS, found[name], strict=True):
            print(f"{name}, seed {seed}: " + ", ".join(f"{key} {value:.4f}" for key, value in values.items()), flush=True)
    worst = {
        name: {key: (min if key == "explained_variance" else max)(values[key] for values in rows) for key in rows[0]}
        for name, rows in found.items()
    }
    print(json.dumps({"seeds": list(SEEDS), "torch": torch.__version__, "dictionaries": found, "worst": worst}))


if __name__ == "__main__":
    main()
