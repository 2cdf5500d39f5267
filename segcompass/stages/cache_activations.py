"""Caches hidden states at the hook: image tokens once an image, instruction and thought tokens of every training expression.

Where the study names a corpus, its images and texts are read instead.
"""

import json

from tqdm import tqdm

from segcompass.activations.cache import CacheWriter
from segcompass.activations.corpus_passes import cache_corpus
from segcompass.activations.forward_passes import ForwardPasses
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.corpus import Corpus
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.concepts import ActivationSettings

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone"}


def work(stage: Stage) -> None:
    """Fills the shards, `owners.jsonl` and `index.json`."""
    settings = ActivationSettings.model_validate_json(json.dumps(stage.params["activations"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    prepare_torch(stage.params["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, answer)
    writer = CacheWriter(stage.folder, settings.hook_layer, vlm.hidden_width, settings.dtype, settings.shard_tokens)
    if settings.corpus:
        corpus = Corpus(settings.corpus)
        stage.rows |= cache_corpus(corpus, vlm, settings, answer.longest, writer)
        stage.facts["corpus"] = {"path": settings.corpus.path, "skipped": dict(sorted(corpus.skipped.items()))}
    else:
        passes = ForwardPasses(vlm, stage.inputs["data"], settings, answer.longest)
        for number in tqdm(range(len(passes)), desc="caching", disable=None):
            writer.add(passes.tokens(number))
        owners = [(own.sample_id, own.image) for own in passes.expressions]
        stage.rows |= {"tokens": writer.close(owners), "expressions": len(owners), "images": len({image for _, image in owners})}
    stage.facts["device"] = runtime.device


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_activations", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
