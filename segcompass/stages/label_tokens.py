"""Hidden states of a few scenes at one layer, each token with its truth: what `score_concepts` measures dictionaries on.

Thresholds are chosen on scenes of `train`, numbers are read on scenes of `val`; test splits are never opened. Thoughts are the model's
own, greedy ones.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from segcompass.backbone.interface import INSTRUCTION, THOUGHT, VISUAL, VisionLanguageModel
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.training.scenes import read_scenes
from segcompass.concepts.labelled import LabelledTokens
from segcompass.concepts.truth import VALUES, instance_truth, scene_truth
from segcompass.datasets.artefact import sample_image, split_samples
from segcompass.datasets.samples import Sample
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.scoring import LabelledTokenSettings

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills `train` and `val` of the labelled tokens."""
    settings = LabelledTokenSettings.model_validate_json(json.dumps(stage.params["tokens"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, answer)
    vlm.freeze_up_to(stage.params["hook_layer"])
    for split, count in settings.scenes.model_dump().items():
        every = split_samples(stage.inputs["data"], split)
        chosen = chosen_samples(every, count, settings.expressions)
        collector = Collector(vlm, stage.inputs["data"], split, every)
        for start in tqdm(range(0, len(chosen), settings.batch), desc=split, disable=None):
            collector.add(chosen[start : start + settings.batch], answer.longest)
        tokens = collector.tokens()
        tokens.save(stage.folder, split, stage.params["hook_layer"])
        stage.rows |= {f"{split} tokens": len(tokens.hidden), f"{split} images": len(tokens.images)}
    stage.facts["device"] = runtime.device


def chosen_samples(samples: list[Sample], images: int, expressions: int) -> list[Sample]:
    """Expressions of the first images in the order of their names: at most `expressions` an image, evenly spaced over all it has."""
    by_image: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.image, sample.sample_id)):
        by_image.setdefault(sample.image, []).append(sample)
    chosen = []
    for own in list(by_image.values())[:images]:
        chosen += [own[place] for place in np.linspace(0, len(own) - 1, min(expressions, len(own))).round().astype(int)]
    return chosen


class Collector:
    """Gathers the labelled tokens of one split."""

    def __init__(self, vlm: VisionLanguageModel, data: Path, split: str, every: list[Sample]) -> None:
        self.vlm, self.data = vlm, data
        has_scenes = (data / "scenes" / f"{split}.jsonl").is_file()
        self.scenes = {scene.image: scene for scene in read_scenes(data, split)} if has_scenes else None
        self.instances: dict[str, list[dict[str, object]]] = {}
        for sample in every:
            self.instances.setdefault(sample.image, []).extend(sample.instances)
        self.images: dict[str, int] = {}
        self.words: dict[int, int] = {}
        self.samples: list[dict[str, object]] = []
        self.rows: list[dict[str, np.ndarray]] = []

    def add(self, samples: list[Sample], longest: int) -> None:
        """Adds the text tokens of some expressions, and the visual tokens of images that are new."""
        for sample, (hidden, types, ids) in zip(samples, self._states(samples, longest), strict=True):
            if sample.image not in self.images:
                self.images[sample.image] = len(self.images)
                self._add_image(sample, hidden[types == VISUAL])
            self.samples.append({"sample_id": sample.sample_id, "image": self.images[sample.image]})
            self.samples[-1]["target"] = None if sample.no_target else sample.target
            text = (types == INSTRUCTION) | (types == THOUGHT)
            words = [self.words.setdefault(int(number), len(self.words)) for number in ids[text]]
            self._add_rows(
                sample.image, hidden[text], types[text], sample=np.full(len(words), len(self.samples) - 1), word=np.array(words, int)
            )

    def tokens(self) -> LabelledTokens:
        """All that was added."""
        joined = {name: np.concatenate([row[name] for row in self.rows]) for name in self.rows[0]}
        kinds = {"hidden": "f4", "boxes": "f4", "token_type": "u1", "instance": "?", "classes": "i2"}
        arrays = {name: values.astype(kinds.get(name, "i4")) for name, values in joined.items()}
        words = [self.vlm.text(Tensor([number]).long()).strip() for number in self.words]
        return LabelledTokens(
            **arrays, images=list(self.images), samples=self.samples, words=words, attributes=VALUES if self.scenes else {}
        )

    def _states(self, samples: list[Sample], longest: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Hidden states [T, d], token types [T] and ids [T] of each prompt and the model's own greedy answer."""
        images = [sample_image(self.data, sample) for sample in samples]
        prompts = self.vlm.prompts(images, [sample.text for sample in samples])
        rollouts = self.vlm.generate(prompts, 1, None, longest, None)
        states = self.vlm.lower(prompts, rollouts.answers, rollouts.answer_mask)
        for index in range(len(samples)):
            yield states.hidden[index].float().cpu().numpy(), states.token_types[index].cpu().numpy(), states.ids[index].cpu().numpy()

    def _add_image(self, sample: Sample, hidden: np.ndarray) -> None:
        boxes = self.vlm.token_boxes(sample.height, sample.width)
        if self.scenes:
            instance, classes = scene_truth(self.scenes[sample.image], boxes)
        else:
            instance, classes = instance_truth(self.instances[sample.image], boxes, sample.height, sample.width)
        self._add_rows(sample.image, hidden, np.full(len(hidden), VISUAL), boxes=boxes, instance=instance, classes=classes)

    def _add_rows(self, image: str, hidden: np.ndarray, types: np.ndarray, **known: np.ndarray) -> None:
        n = len(hidden)
        unknown = {"sample": np.full(n, -1), "word": np.full(n, -1), "boxes": np.zeros((n, 4)), "instance": np.zeros(n, bool)}
        unknown["classes"] = np.full((n, len(VALUES) if self.scenes else 0), -1)
        self.rows.append({"hidden": hidden, "token_type": types, "image": np.full(n, self.images[image])} | unknown | known)


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("label_tokens", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
