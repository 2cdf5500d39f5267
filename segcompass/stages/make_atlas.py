"""Writes the concept atlas, `atlas.html`: one offline page on the dictionary that the study's reference interface reads, concept by
concept, and on some test samples of its first seed.

Whoever asks what a concept is sees where it fires, where it does not, how pure it is beside its shuffled and untrained twins, and what it
does to a mask when it alone is removed. Figures of the causal battery are read from its artefacts; effects of single concepts, which the
battery does not keep, are measured here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segcompass.atlas.battery import battery_figures
from segcompass.atlas.content import DictionaryContent, with_effects
from segcompass.atlas.effects import Effects, mean_contributions
from segcompass.atlas.observed import Observed, in_turn, targeted
from segcompass.atlas.page import MOST_BYTES, atlas_page
from segcompass.atlas.pictures import picture_uri
from segcompass.atlas.samples import sample_views
from segcompass.atlas.swaps import swap_views
from segcompass.backbone.load import load_tokenizer
from segcompass.backbone.runtime import prepare_torch, usable_device
from segcompass.backbone.vocabulary import pieces
from segcompass.concepts.labelled import load_labelled
from segcompass.datasets.artefact import data_root, split_samples
from segcompass.datasets.images import Size, read_image
from segcompass.errors import InputError
from segcompass.joint.cached_answers import CachedAnswers
from segcompass.joint.cached_images import CachedImages
from segcompass.joint.checkpoint import load_interface
from segcompass.joint.inference import CachedThoughts
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary
from segcompass.study.analysis import AtlasSettings, BootstrapSettings
from segcompass.study.backbone import RuntimeSettings

FLAGS = {
    "data": "artefact of prepare_data",
    "tokens": "artefact of label_tokens",
    "sae": "artefact of train_sae, the dictionary that is shown",
    "saes": "all other artefacts of train_sae of its layer",
    "scores": "artefact of score_concepts, of the dictionary",
    "backbone": "artefact of train_backbone",
    "answers": "artefact of cache_answers, those to the evaluated samples",
    "images": "artefact of embed_images, those of the evaluated samples",
    "run": "artefact of train_interface, the run whose effects are measured",
    "battery": "optional: all artefacts of intervene and exchange of that run, where it has part in them",
}
LONGEST = (320, 224, 160, 112)
"""Longer side of pictures in pixels; the first with which the page is small enough."""
FEWEST = 16
"""Concepts with which a page must fit at the least."""
RULE = "Samples are the first one of every test split in turn, then of every split the first one of its second image, and so on."


def work(stage: Stage) -> None:
    """Fills `atlas.html`."""
    settings = AtlasSettings.model_validate_json(json.dumps(stage.params["atlas"]))
    bootstrap = BootstrapSettings.model_validate_json(json.dumps(stage.params["bootstrap"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], settings.seed)
    tokens = {split: load_labelled(stage.inputs["tokens"], split) for split in ("train", "val")}
    content = DictionaryContent(load_dictionary(stage.inputs["sae"]), tokens, stage.inputs["scores"], settings.patches, settings.seed)
    others = {folder.name: load_dictionary(folder).W_dec.detach().numpy() for folder in stage.collections["saes"]}
    kinds, ((_, variant, seed),) = stage.params["dictionaries"], stage.params["runs"]
    features = content.dictionary.features
    thoughts = _thoughts(stage, runtime)
    contributions, effects = _effects(stage, settings, bootstrap, thoughts, features)
    views, sizes = _samples(stage, settings, thoughts)
    swaps, of_swaps = swap_views(stage.collections.get("battery", []), variant, seed, stage.inputs["data"])
    facts = {
        "study": stage.params["study"],
        "sae": stage.inputs["sae"].name,
        "run": {"variant": variant, "seed": seed},
        "level": bootstrap.level,
        "rule": RULE,
        "effects": settings.effects.model_dump(mode="json"),
        "attributes": tokens["val"].attributes,
        "dictionaries": [{"name": name, "kind": kinds[name]} for name in others],
        "width": features,
        "silent": content.silent,
        "battery": battery_figures(stage.collections.get("battery", []), variant, seed, bootstrap),
    }
    sizes |= of_swaps | {sample.image: (sample.height, sample.width) for sample in split_samples(stage.inputs["data"], "val")}
    most = settings.concepts
    while True:
        pictures: dict[str, int] = {}
        for view in views:
            view["picture"] = pictures.setdefault(view["path"], len(pictures))
        for swap in swaps:
            swap["pictures"] = [pictures.setdefault(path, len(pictures)) for path in swap["paths"]]
        shown, axes = content.concepts(most, others, pictures)
        shown = with_effects(shown, contributions, effects)
        found = facts | {
            "axes": axes,
            "concepts": shown,
            "samples": views,
            "swaps": swaps,
            "left_out": features - content.silent - len(shown),
        }
        for longest in LONGEST:
            page = atlas_page(found | {"pictures": _pictures(stage.inputs["data"], pictures, sizes, longest)})
            if len(page.encode()) <= MOST_BYTES:
                (stage.folder / "atlas.html").write_text(page, encoding="utf-8")
                stage.rows |= {"concepts": len(shown), "samples": len(views), "pictures": len(pictures), "effects": len(effects)}
                stage.facts |= {"device": runtime.device, "seed": settings.seed, "bytes": len(page.encode()), "picture side": longest}
                return
        if most <= FEWEST:
            raise InputError(None, "report.atlas", f"makes a page above {MOST_BYTES // 2**20} MiB; show fewer samples or patches")
        most = max(FEWEST, min(most, len(shown)) // 2)


def _thoughts(stage: Stage, runtime: RuntimeSettings) -> CachedThoughts:
    device = usable_device(runtime.device)
    model = load_interface(stage.inputs["run"], stage.inputs["backbone"], stage.inputs["sae"], runtime).requires_grad_(False)
    answers = CachedAnswers(stage.inputs["answers"], model.dictionary.hook_layer, device)
    return CachedThoughts(answers, CachedImages(stage.inputs["images"], model.settings.segmenter, device), model, sparse=True)


def _effects(
    stage: Stage, settings: AtlasSettings, bootstrap: BootstrapSettings, thoughts: CachedThoughts, features: int
) -> tuple[np.ndarray, Mapping[int, dict[str, Any]]]:
    """Mean contributions [F], and the exact effects of the concepts that contribute most."""
    batch, threshold = stage.params["batch"], stage.params["confidence_threshold"]
    places = targeted(stage.inputs["data"], stage.params["edited"], settings.effects.samples)
    observed = [Observed(thoughts, places[start : start + batch], threshold) for start in range(0, len(places), batch)]
    contributions = mean_contributions(observed, features)
    chosen = np.argsort(-contributions, kind="stable")[: settings.effects.concepts]
    effects = Effects(features)
    for part in tqdm(observed, desc="effects", disable=None):
        effects.add(part, chosen[contributions[chosen] > 0], settings.effects.doses)
    return contributions, effects.table(bootstrap)


def _samples(stage: Stage, settings: AtlasSettings, thoughts: CachedThoughts) -> tuple[list[dict[str, Any]], dict[str, Size]]:
    """What is shown of the samples, and the sizes of their images."""
    batch, threshold = stage.params["batch"], stage.params["confidence_threshold"]
    places = in_turn(stage.inputs["data"], stage.params["splits"], settings.samples)
    tokenizer = load_tokenizer(stage.inputs["backbone"] / "vlm")
    views: list[dict[str, Any]] = []
    for start in range(0, len(places), batch):
        observed = Observed(thoughts, places[start : start + batch], threshold)
        views += sample_views(observed, lambda ids: pieces(tokenizer, ids.tolist()), settings.carriers, settings.pairs)
    return views, {sample.image: (sample.height, sample.width) for _, _, sample in places}


def _pictures(data: Path, pictures: Mapping[str, int], sizes: Mapping[str, Size], longest: int) -> list[dict[str, Any]]:
    """Name, size and data URI of every picture, by number."""
    root = data_root(data)
    return [
        {"name": Path(path).name, "size": list(sizes[path]), "uri": picture_uri(read_image(root / path, sizes[path]), longest)}
        for path in pictures
    ]


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("make_atlas", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
