"""The whole battery at F = 65,536 and T = 800, with states of 8 dimensions; run as a process of its own, it prints its greatest memory.

What is read from files in a study is drawn here: hidden states of answers, images' embeddings and their samples.
"""

import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from segcompass.backbone.token_types import INSTRUCTION, THOUGHT, VISUAL
from segcompass.causal.battery import Battery
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample
from segcompass.joint.answer_codes import blanked
from segcompass.joint.inference import CachedThoughts, Place, Thoughts
from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Policy, Reading
from segcompass.sae.topk import TopKDictionary
from segcompass.study.analysis import InterventionSettings
from tests.tiny import micro_study, tiny_sam

FEATURES, TOKENS, WIDTH, SLOTS = 65_536, 800, 8, 2
SIZE = (96, 128)


class DrawnThoughts(CachedThoughts):
    """Thoughts of samples that no file holds."""

    def __init__(self, model: InterfaceModel) -> None:
        self.model = model
        self.answers: Any = SimpleNamespace(starts=np.arange(3) * TOKENS)

    def of_places(self, places: Any) -> Thoughts:
        count, sam = len(places), self.model.segmenter
        generator = torch.Generator().manual_seed(int(places[0][2].sample_id))
        hidden = torch.randn(count, TOKENS, WIDTH, generator=generator)
        types = torch.tensor([VISUAL] * 640 + [INSTRUCTION] * 60 + [THOUGHT] * 100, dtype=torch.uint8).expand(count, -1)
        codes = blanked(self.model.dictionary.encode_sparse(hidden.flatten(0, 1)), torch.ones(count * TOKENS, dtype=torch.bool))
        reading = Reading(codes, types, types.long(), torch.randn(count, SLOTS, WIDTH, generator=generator))
        embeddings = torch.randn(count, sam.channels, sam.grid, sam.grid, generator=generator)
        valid = torch.ones(count, sam.mask_side, sam.mask_side, dtype=torch.bool)
        return Thoughts([""] * count, ["ok"] * count, hidden, reading, embeddings, valid, [SIZE] * count, [np.zeros((0, 4))] * count)


class DrawnBattery(Battery):
    """A battery whose samples are numbered."""

    def _chosen(self, benchmark: str, splits: Any, count: int, targets: bool) -> list[Place]:
        del targets
        mask = np.zeros(SIZE, bool)
        mask[:40, :40] = True
        found = []
        for number in range(count):
            sample = Sample(str(number), f"{number}.png", *SIZE, "", False, encode(mask), None, (encode(mask),))
            found.append((benchmark, splits[0], sample))
        return found


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dictionary = TopKDictionary(WIDTH, FEATURES, 64, 0.0, 1000)
    settings = micro_study().interface.model.model_copy(update={"slots": SLOTS, "query_width": 16, "query_layers": 1})
    model = InterfaceModel(tiny_sam(), dictionary, settings, Policy(50, SLOTS, TOKENS)).requires_grad_(False).eval()
    raw = micro_study().analysis.intervention.model_dump(mode="json")
    raw["splits"] = {"refcoco": ["testA"]}
    raw |= {"codes_mib": 512, "fitted": 2, "sham": 1, "steps": 1}
    raw["curve"] |= {"samples": {"zero": 2, "mean": 1, "resample": 1}, "fractions": [0.05], "masks": []}
    for name in ("dose", "composition", "traceability"):
        raw[name]["samples"] = 1
    battery = DrawnBattery(DrawnThoughts(model), InterventionSettings.model_validate(raw), 0.5, 32, Path())
    assert battery.batch == 2, "512 MiB hold two samples, all of whose concepts are active on all tokens"
    values = [row.value for row in battery.measurements("refcoco")]
    assert len(values) > 70 and np.isfinite(values).mean() > 0.9
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
