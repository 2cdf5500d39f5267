"""Trains on a cache in a process of its own, which a test kills: `training_process.py CACHE FOLDER STEPS SECONDS_PER_STEP`.

Writes the checkpoint and the curve to FOLDER, resume points to FOLDER/resume.
"""

import json
import sys
import time
from pathlib import Path

import torch

from segcompass.activations.cache import CacheReader
from segcompass.backbone.runtime import prepare_torch
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import Trainer, train
from tests.sae.planted import SETTINGS

cache, folder, steps, pause = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
prepare_torch(1, 0)
torch.manual_seed(0)
reader = CacheReader(cache, 0.2, 0)
dictionary = TopKDictionary(reader.width, 3 * reader.width, 3, 1 / 32, 500)
dictionary.hook_layer = reader.hook_layer
(folder / "resume").mkdir(parents=True, exist_ok=True)
step = Trainer.step


def slowly(trainer: Trainer, number: int, x: torch.Tensor) -> dict[str, object]:
    """A step that lasts long enough to be killed in."""
    time.sleep(pause)
    return step(trainer, number, x)


Trainer.step = slowly  # type: ignore[method-assign]
rows = train(dictionary, reader, SETTINGS.model_copy(update={"steps": steps, "checkpoint_every": 3}), folder / "resume")
save_dictionary(dictionary, folder)
(folder / "curves.json").write_text(json.dumps(rows))
(folder / "metrics.json").write_text(json.dumps(held_out_metrics(dictionary, reader.held_out())))
