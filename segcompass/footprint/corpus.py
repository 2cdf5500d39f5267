"""How much a study reads: images, expressions and tokens of its corpus, counted where the data is prepared, else from what is published.

Published counts are those of the `refer` API for the partitions unc (RefCOCO, RefCOCO+) and umd (RefCOCOg), one expression a sentence.
gRefCOCO publishes its total alone; its splits get the share that their images have, which are RefCOCO's.
"""

from dataclasses import dataclass
from pathlib import Path

from segcompass.datasets.artefact import manifest, training_samples
from segcompass.datasets.splits import BENCHMARKS
from segcompass.errors import InputError
from segcompass.footprint.architecture import Backbone
from segcompass.study.concepts import ActivationSettings
from segcompass.study.data import RootSettings, WorldSettings
from segcompass.study.study import Study

IMAGES = {
    ("refcoco", "unc"): {"train": 16994, "val": 1500, "testA": 750, "testB": 750},
    ("refcoco+", "unc"): {"train": 16992, "val": 1500, "testA": 750, "testB": 750},
    ("refcocog", "umd"): {"train": 21899, "val": 1300, "test": 2600},
    ("grefcoco", "unc"): {"train": 16994, "val": 1500, "testA": 750, "testB": 750},
}
"""(Benchmark, partition) -> images of each split."""
EXPRESSIONS = {
    ("refcoco", "unc"): {"train": 120624, "val": 10834, "testA": 5657, "testB": 5095},
    ("refcoco+", "unc"): {"train": 120191, "val": 10758, "testA": 5726, "testB": 4889},
    ("refcocog", "umd"): {"train": 80512, "val": 4896, "test": 9602},
    ("reasonseg", None): {"val": 200, "test": 779},
}
"""As above, expressions."""
GREFCOCO = 278232
"""Expressions of all splits of gRefCOCO together."""
SAME_IMAGES = ("refcoco", "refcoco+", "grefcoco")
"""Benchmarks over one set of images; how many of these RefCOCOg shares is not published, so it is counted as sharing none."""
RELEASE_TOKENS, RELEASE_SAMPLES, RELEASE_BYTES = 1400, 200_000, 2
"""The release's activation cache: positions that every sample is padded to, samples, bytes of an fp16 number."""


@dataclass(frozen=True)
class Corpus:
    """What dictionaries are trained on."""

    images: int
    expressions: int
    counted: bool
    """Counted in the prepared data; else estimated from published counts."""

    def tokens(self, backbone: Backbone, longest_thought: int) -> int:
        """Tokens of the cache: visual ones once an image, text ones once an expression, every thought as long as it may be."""
        return self.images * backbone.vision.tokens + self.expressions * (backbone.prompt_text + longest_thought)


def token_bytes(width: int, settings: ActivationSettings) -> int:
    """Bytes of a cached token: hidden state, owner and position (int32 each), token type (uint8)."""
    return width * (4 if settings.dtype == "float32" else 2) + 4 + 4 + 1


def release_sample_bytes(width: int) -> int:
    """Bytes of one sample in the release's cache."""
    return RELEASE_TOKENS * width * RELEASE_BYTES


def training_corpus(study: Study, root: Path) -> Corpus:
    """Images and expressions whose tokens are cached."""
    artefact = root / "results" / study.study / "data"
    if (artefact / "run.json").is_file():
        samples = training_samples(artefact)
        kept = set(sorted({sample.image for sample in samples})[: study.activations.scenes])
        return Corpus(len(kept), sum(sample.image in kept for sample in samples), True)
    joint = [name for name in BENCHMARKS if name != "reasonseg"]
    if isinstance(study.data, WorldSettings):
        images = min(study.activations.scenes, study.data.scenes.train)
        return Corpus(images, images * study.data.instructions_per_scene * len(joint), False)
    read = [name for name in joint if name in study.data.partitions]
    own = {name: _published(study.data, name, "train", IMAGES) for name in read}
    every = max((own[name] for name in read if name in SAME_IMAGES), default=0) + own.get("refcocog", 0)
    images = min(study.activations.scenes, every)
    return Corpus(images, round(sum(_expressions(study.data, name, "train") for name in read) * images / every), False)


def evaluated_expressions(study: Study, root: Path) -> int:
    """Expressions that one run is evaluated on."""
    total = 0
    for benchmark, splits in study.evaluation.splits.items():
        for split in splits:
            path = manifest(root / "results" / study.study / "data", benchmark, split)
            if path.is_file():
                total += path.read_text(encoding="utf-8").count("\n")
            elif isinstance(study.data, WorldSettings):
                total += getattr(study.data.scenes, split) * study.data.instructions_per_scene
            else:
                total += _expressions(study.data, benchmark, split)
    return total


def _expressions(data: RootSettings, benchmark: str, split: str) -> int:
    if benchmark != "grefcoco":
        return _published(data, benchmark, split, EXPRESSIONS)
    images = IMAGES["grefcoco", "unc"]
    return round(GREFCOCO * images[split] / sum(images.values()))


def _published(data: RootSettings, benchmark: str, split: str, counts: dict) -> int:  # type: ignore[type-arg]
    partition = data.partitions[benchmark]
    if (benchmark, partition) not in counts:
        known = ", ".join(str(part) for name, part in counts if name == benchmark)
        raise InputError(None, f"data.partitions.{benchmark}", f"counts are known of {known}; prepare the data first (`prepare_data`)")
    return int(counts[benchmark, partition][split])
