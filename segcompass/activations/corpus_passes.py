"""The token cache of a corpus: its items are read, passed through the backbone and written as a stream, a batch at a time."""

from itertools import islice

from tqdm import tqdm

from segcompass.activations.cache import CacheWriter
from segcompass.activations.forward_passes import Reading, read_tokens
from segcompass.backbone.interface import VisionLanguageModel
from segcompass.datasets.corpus import Corpus
from segcompass.study.concepts import ActivationSettings
from segcompass.study.shards import WHOLE, Shard


def cache_corpus(
    corpus: Corpus, vlm: VisionLanguageModel, settings: ActivationSettings, longest: int, writer: CacheWriter, shard: Shard = WHOLE
) -> dict[str, int]:
    """Caches the first `settings.scenes` usable items, each an owner whose image is its document, and closes the writer.

    A shard reads the items before its own too, for which of them are usable shows when they are read, but passes none of them through the
    backbone; what lies between the last of these and its own last one is what it counts as left out.

    Args:
        corpus: the stream, which counts what it leaves out.
        vlm: backbone.
        settings: hook, batch and dtype.
        longest: tokens of the longest answer.
        writer: of the cache.
        shard: which part of it is cached here.

    Returns:
        How many tokens, expressions and images the cache holds.
    """
    vlm.freeze_up_to(settings.hook_layer)
    batches = shard.part(-(-settings.scenes // settings.batch))
    first, last = (min(place * settings.batch, settings.scenes) for place in (batches.start, batches.stop))
    items = islice(iter(corpus), last)
    read = before = sum(1 for _ in islice(items, first))
    if first:
        corpus.skipped.clear()
    with tqdm(total=last - first, desc="caching", disable=None) as progress:
        while batch := list(islice(items, settings.batch)):
            names = [item.key for item in batch]
            reading = Reading([item.image for item in batch], [item.text for item in batch], names, [True] * len(batch))
            tokens = read_tokens(vlm, reading, read, settings, longest)
            writer.add(tokens, ((item.key, item.document) for item in batch))
            read += len(batch)
            progress.update(len(batch))
    return {"tokens": writer.close(), "expressions": read - before, "images": read - before}
