"""How much a study reads: images, expressions and tokens of its corpus, counted where the data is prepared, else from what is published.

Published counts are those of the `refer` API for the partitions unc (RefCOCO, RefCOCO+) and umd (RefCOCOg), one expression a sentence.
gRefCOCO publishes its total alone; its splits get the share that their images have, which are RefCOCO's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcompass.datasets.artefact import manifest, training_samples
from segcompass.datasets.pairs import paired_samples, pairs_file
from segcompass.datasets.samples import read_samples
from segcompass.datasets.splits import BENCHMARKS, COUNTERFACTUALS
from segcompass.errors import InputError
from segcompass.footprint.architecture import Backbone
from segcompass.study.concepts import ActivationSettings
from segcompass.study.data import RootSettings, WorldSettings
from segcompass.study.jobs import swapped_variants
from segcompass.study.study import Study

IMAGES = {
    ("refcoco", "unc"): {"train": 16994, "val": 1500, "testA": 750, "testB": 750},
    ("refcoco+", "unc"): {"train": 16992, "val": 1500, "testA": 750, "testB": 750},
    ("refcocog", "umd"): {"train": 21899, "val": 1300, "test": 2600},
    ("grefcoco", "unc"): {"train": 16994, "val": 1500, "testA": 750, "testB": 750},
    ("reasonseg", None): {"val": 200, "test": 779},
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
    """Part of a study's data."""

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
    """Images and expressions whose tokens are cached; a corpus that the study names has a text for each image, and is not counted here."""
    if study.activations.corpus:
        return Corpus(study.activations.scenes, study.activations.scenes, False)
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
    every = _distinct({(name, "train"): _published(study.data, name, "train", IMAGES) for name in read})
    images = min(study.activations.scenes, every)
    return Corpus(images, round(sum(_expressions(study.data, name, "train") for name in read) * images / every), False)


def answered_corpus(study: Study, root: Path) -> Corpus:
    """Training prompts that are answered for the interfaces, and their images: no more than there are, and than a prompt has."""
    benchmarks, wanted = study.answers.benchmarks, study.answers.prompts
    paths = [manifest(root / "results" / study.study / "data", benchmark, "train") for benchmark in benchmarks]
    if counted := all(path.is_file() for path in paths):
        images, expressions = _counted(paths)
    elif isinstance(study.data, WorldSettings):
        images = study.data.scenes.train
        expressions = images * study.data.instructions_per_scene * len(benchmarks)
    else:
        images = _distinct({(benchmark, "train"): _published(study.data, benchmark, "train", IMAGES) for benchmark in benchmarks})
        expressions = sum(_expressions(study.data, benchmark, "train") for benchmark in benchmarks)
    return Corpus(min(images, wanted), min(expressions, wanted), counted)


def evaluated_corpus(study: Study, root: Path, listed: Mapping[str, Sequence[str]] | None = None) -> Corpus:
    """Expressions of some splits by benchmark, and their images; of all that are evaluated where none are listed."""
    splits = [(benchmark, split) for benchmark, names in (listed or study.evaluation.splits).items() for split in names]
    paths = [manifest(root / "results" / study.study / "data", *place) for place in splits]
    if all(path.is_file() for path in paths):
        return Corpus(*_counted(paths), True)
    if isinstance(study.data, WorldSettings):
        scenes = study.data.scenes.model_dump()
        expressions = study.data.instructions_per_scene * sum(scenes[split] for _, split in splits)
        return Corpus(sum(scenes[split] for split in {split for _, split in splits}), expressions, False)
    data = study.data
    images = _distinct({place: _published(data, *place, IMAGES) for place in splits})
    return Corpus(images, sum(_expressions(data, *place) for place in splits), False)


PAIR_IMAGES, PAIR_EXPRESSIONS = 2, 6
"""Of a counterfactual pair: pictures, and expressions that are read of it in one split (`segcompass/datasets/pairs.py`)."""


def pair_counts(study: Study) -> dict[str, int]:
    """Split -> counterfactual pairs, of all attributes together, that are exchanged; none where no variant is swapped."""
    if not swapped_variants(study) or not isinstance(study.data, WorldSettings):
        return {}
    attributes = len(COUNTERFACTUALS) - (not study.data.patterns)
    there = study.data.counterfactuals.pairs
    return {split: attributes * min(count, there) for split, count in study.analysis.exchange.pairs.model_dump().items()}


def paired_corpus(study: Study, root: Path) -> Corpus:
    """Samples of counterfactual pairs whose codes are exchanged, and their images."""
    artefact, pairs = root / "results" / study.study / "data", sum(pair_counts(study).values())
    if pairs and all(pairs_file(artefact, split).is_file() for split in pair_counts(study)):
        samples = [sample for *_, sample in paired_samples(artefact, study.analysis.exchange.pairs.model_dump())]
        return Corpus(len({sample.image for sample in samples}), len(samples), True)
    return Corpus(PAIR_IMAGES * pairs, PAIR_EXPRESSIONS * pairs, False)


def _counted(paths: list[Path]) -> tuple[int, int]:
    """Distinct images, and expressions, of some manifests."""
    images = [sample.image for path in paths for sample in read_samples(path)]
    return len(set(images)), len(images)


def _distinct(images: dict[tuple[str, str], int]) -> int:
    """Images of some splits, where benchmarks over one set of images share them."""
    shared: dict[str, int] = {}
    for (benchmark, split), count in images.items():
        if benchmark in SAME_IMAGES:
            shared[split] = max(shared.get(split, 0), count)
    return sum(shared.values()) + sum(count for (benchmark, _), count in images.items() if benchmark not in SAME_IMAGES)


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
