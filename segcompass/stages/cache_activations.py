"""Caches hidden states at the hook: image tokens once an image, instruction and thought tokens of every training expression.

Where the study names a corpus, its images and texts are read instead.
"""

import json
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from segcompass.activations.cache import CacheWriter, StoredChunks
from segcompass.activations.corpus_passes import cache_corpus
from segcompass.activations.forward_passes import ForwardPasses
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.corpus import Corpus
from segcompass.provenance.shards import FLAG, HELP
from segcompass.provenance.stage import Stage, read_run, run_stage
from segcompass.study.backbone import AnswerSettings, RuntimeSettings
from segcompass.study.concepts import ActivationSettings
from segcompass.study.shards import own_shard

FLAGS = {"data": "artefact of prepare_data", "backbone": "artefact of train_backbone", FLAG: HELP}


def work(stage: Stage) -> None:
    """Fills the shards, `owners.jsonl` and `index.json`."""
    settings = ActivationSettings.model_validate_json(json.dumps(stage.params["activations"]))
    answer = AnswerSettings.model_validate_json(json.dumps(stage.params["answer"]))
    runtime = RuntimeSettings.model_validate_json(json.dumps(stage.params["runtime"]))
    stage.facts["device"] = runtime.device
    if FLAG in stage.collections:
        _gather(stage, settings, stage.collections[FLAG])
        return
    prepare_torch(stage.params["threads"], 0)
    vlm = load_vlm(stage.inputs["backbone"] / "vlm", runtime, answer)
    writer = CacheWriter(stage.folder, settings.hook_layer, vlm.hidden_width, settings.dtype, settings.shard_tokens)
    shard = own_shard(stage.wildcards)
    if settings.corpus:
        corpus = Corpus(settings.corpus)
        stage.rows |= cache_corpus(corpus, vlm, settings, answer.longest, writer, shard)
        stage.facts["corpus"] = {"path": settings.corpus.path, "skipped": dict(sorted(corpus.skipped.items()))}
    else:
        passes = ForwardPasses(vlm, stage.inputs["data"], settings, answer.longest)
        own = shard.part(len(passes))
        for number in tqdm(own, desc="caching", disable=None):
            writer.add(passes.tokens(number))
        of_own = passes.expressions[own.start * settings.batch : own.stop * settings.batch]
        owners = [(one.sample_id, one.image) for one in of_own]
        stage.rows |= {"tokens": writer.close(owners), "expressions": len(owners), "images": len({image for _, image in owners})}


def _gather(stage: Stage, settings: ActivationSettings, folders: list[Path]) -> None:
    """Writes the chunks of all shards as one cache; an image whose expressions lie in two shards is one image."""
    shards = [StoredChunks(folder) for folder in folders]
    writer = CacheWriter(stage.folder, settings.hook_layer, shards[0].width, settings.dtype, settings.shard_tokens)
    for shard in shards:
        for number in tqdm(range(len(shard)), desc=f"gathering {shard.folder.name}", disable=None):
            writer.add(shard.tokens(number))
    records = [read_run(folder) for folder in folders]
    tokens = writer.close(owner for shard in shards for owner in shard.owners())
    read = images = sum(record["rows"]["expressions"] for record in records)
    if settings.corpus:
        skipped = sum((Counter(record["facts"]["corpus"]["skipped"]) for record in records), Counter[str]())
        stage.facts["corpus"] = {"path": settings.corpus.path, "skipped": dict(sorted(skipped.items()))}
    else:
        images = len({image for shard in shards for _, image in shard.owners()})
    stage.rows |= {"tokens": tokens, "expressions": read, "images": images}


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("cache_activations", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
