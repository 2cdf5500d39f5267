"""Growth of time and memory: concepts F, tokens T, slots K, and the corpus, each varied alone, against the predicted exponent.

Every point is computed in a process of its own on one thread. Time is the processor's, so that other work on the machine does not count;
memory is the peak of the resident set, less what the process held before the point began: `VmHWM`, for `ru_maxrss` of a process is at least
that of the one that started it. An exponent p says that a doubling multiplies by 2^p; it is measured between the two largest points, since
at the smaller ones constant parts weigh more. The last printed line is one JSON object.

| core | what it does |
|---|---|
| codes | top-k codes of tokens, 512 at a time dense, and their reconstruction from sparse codes |
| interface | sparse codes to heat maps and confidences, and the gradients of all its weights |
| corpus | images with text read from a tar shard, checked and decoded |
| cache | a cache of hidden states written, and read once in shuffled training batches |
"""

import argparse
import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.activations.stream import TokenStream
from segcompass.backbone.interface import THOUGHT, VISUAL
from segcompass.datasets.corpus import Corpus
from segcompass.joint.interface import ConceptInterface
from segcompass.joint.reading import Policy, Reading
from segcompass.sae.sparse_codes import Places
from segcompass.sae.sparse_tokens import SparseTokens, encoded_in_blocks
from segcompass.sae.topk import TopKDictionary
from segcompass.study.corpus import CorpusSettings
from segcompass.study.interface import ModelSettings

WIDTH, ACTIVE, BLOCK = 256, 32, 512
"""Hidden states' width, active concepts a token, tokens that are dense at a time."""
ANSWERS, CHANNELS, SIDE = 8, 64, 16
"""Answers of a batch; channels and side of image embeddings."""
QUERY = {"query_width": 128, "query_heads": 4, "query_layers": 2, "mapper_heads": 16, "mapper_head_width": 16}
USUAL = {"F": 8192, "T": 400, "K": 4, "corpus": 1}
"""What a variable is while another one varies."""
CORPUS_ITEMS, CACHE_CHUNKS = 64, 16
"""Items of the corpus, and chunks of 512 tokens of the cache, at 1x."""
Run = Callable[[], object]


class Law(NamedTuple):
    """What is varied in a core, and between which exponents growth must lie."""

    core: str
    varied: str
    values: tuple[int, ...]
    time: tuple[float, float]
    memory: tuple[float, float]
    because: str


CONCEPTS, TOKENS = (1024, 4096, 16384, 65536), (100, 200, 400, 800, 1400)
LAWS = (
    Law("codes", "F", CONCEPTS, (1, 1), (1, 1), "2 d F operations a token; weights, and a dense block of F numbers a token"),
    Law("codes", "T", TOKENS, (1, 1), (0, 1), "a product a token; sparse codes of all, dense ones of a block alone"),
    Law("interface", "F", CONCEPTS, (0, 1), (0, 1), "rows of active concepts alone; the gradient of the rows has F q numbers"),
    Law("interface", "T", TOKENS, (1, 2), (1, 2), "linear layers, and attention between all tokens"),
    Law("interface", "K", (1, 2, 4, 8, 16), (0, 1), (0, 1), "a heat map a slot, beside tokens that all slots share"),
    Law("corpus", "corpus", (1, 2, 4, 8, 16), (1, 1), (0, 0), "an item at a time"),
    Law("cache", "corpus", (1, 2, 4, 8, 16), (1, 1), (0, 0), "a shard, a chunk and the shuffle buffer"),
)


def codes(sizes: dict[str, int], folder: Path) -> Run:
    """See the module's table."""
    del folder
    dictionary = TopKDictionary(WIDTH, sizes["F"], ACTIVE)
    hidden = torch.randn(ANSWERS * sizes["T"], WIDTH)

    @torch.no_grad()
    def run() -> object:
        found = encoded_in_blocks(dictionary.encode, hidden, sizes["F"], BLOCK)
        return dictionary.decode_sparse(found.values, Places(found.indices.long(), found.counts, sizes["F"]))

    return run


def interface(sizes: dict[str, int], folder: Path) -> Run:
    """See the module's table."""
    del folder
    said: dict[str, Any] = {"sae": "", "segmenter": "", "readout": "concepts", "codebook": "queries", "rows": "random", "mapper": "fused"}
    said |= {"thought_codes": True, "slots": sizes["K"], "threshold": 0.0, "reference_state": True} | QUERY
    model = ConceptInterface(
        ModelSettings(**said), torch.zeros(sizes["F"], WIDTH), CHANNELS, Policy(vocabulary=1, slots=sizes["K"], longest=1)
    )
    tokens = ANSWERS * sizes["T"]
    active = torch.randint(sizes["F"], (tokens * ACTIVE,), dtype=torch.int32)
    sparse = SparseTokens(active, torch.rand(tokens * ACTIVE), torch.arange(tokens + 1) * ACTIVE, sizes["F"])
    kinds = torch.full((ANSWERS, sizes["T"]), VISUAL, dtype=torch.uint8)
    kinds[:, -min(20, sizes["T"] // 2) :] = THOUGHT
    reading = Reading(sparse, kinds, torch.zeros(ANSWERS, sizes["T"], dtype=torch.int64), torch.randn(ANSWERS, sizes["K"], WIDTH))
    embeddings = torch.randn(ANSWERS, CHANNELS, SIDE, SIDE)

    def run() -> object:
        heat, confidence = model(reading, embeddings)
        return (heat.square().mean() + confidence.square().mean()).backward()

    return run


def corpus(sizes: dict[str, int], folder: Path) -> Run:
    """See the module's table."""
    draws = np.random.default_rng(0)
    with tarfile.open(folder / "a.tar", "w") as archive:
        for item in range(CORPUS_ITEMS * sizes["corpus"]):
            held = io.BytesIO()
            Image.fromarray(draws.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(held, "PNG")
            for ending, content in (("png", held.getvalue()), ("txt", b"a text")):
                member = tarfile.TarInfo(f"{item:08d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return lambda: sum(len(item.text) for item in Corpus(CorpusSettings(source="interleaved", path=str(folder), characters=100)))


def cache(sizes: dict[str, int], folder: Path) -> Run:
    """See the module's table."""
    count = CACHE_CHUNKS * sizes["corpus"]

    def run() -> object:
        writer = CacheWriter(folder, 1, WIDTH, "float32", 4096)
        for chunk in range(count):
            owner = torch.arange(16, dtype=torch.int32).repeat_interleave(32) + 16 * chunk
            kinds = {"position": torch.arange(512, dtype=torch.int32) % 32, "token_type": torch.zeros(512, dtype=torch.uint8)}
            writer.add({"hidden": torch.randn(512, WIDTH), "owner": owner} | kinds)
        writer.close((f"s{owner}", f"i{owner}") for owner in range(16 * count))
        reader = CacheReader(folder, 0.1, 0)
        stream = TokenStream(reader, 512, 4096, 0)
        return sum(float(next(stream)[0, 0]) for _ in range(int(0.85 * count)))

    return run


CORES = {"codes": codes, "interface": interface, "corpus": corpus, "cache": cache}


def point(core: str, varied: str, value: int) -> dict[str, float]:
    """Processor seconds and peak memory, in MB beyond what was held before, of one point in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        if core in ("corpus", "cache"):  # making the corpus is no part of it; its process is as warm as it will be
            CORES[core](USUAL, Path(name))()
            for file in Path(name).iterdir():
                file.unlink()
            run, before = CORES[core](USUAL | {varied: value}, Path(name)), _status("VmHWM")
        else:
            before = _status("VmRSS")
            run = CORES[core](USUAL | {varied: value}, Path(name))
        started = time.process_time()
        run()
        return {"value": value, "seconds": time.process_time() - started, "mb": _status("VmHWM") - before, "before_mb": before}


def _status(field: str) -> float:
    """A field of the process's status, in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def exponent(first: tuple[float, float], second: tuple[float, float]) -> float:
    """p of a power law y = c x^p through two points (x, y)."""
    return math.log(second[1] / first[1]) / math.log(second[0] / first[0])


def measured(law: Law) -> dict[str, Any]:
    """All points of a law, and its exponents between the two largest ones."""
    points = []
    for value in law.values:
        words = [sys.executable, __file__, "--point", law.core, law.varied, str(value)]
        points.append(json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout))
        print(f"{law.core:9} {law.varied} = {value:6}: {points[-1]['seconds']:7.3f} s, {points[-1]['mb']:7.1f} MB", flush=True)
    last = points[-2:]
    seconds = exponent(*((one["value"], one["seconds"]) for one in last))
    # What must not grow is held against the whole process: beyond what was held before there may be nothing.
    base = last[0]["before_mb"] if law.memory == (0, 0) else 0.0
    memory = exponent(*((one["value"], max(base + one["mb"], 0.1)) for one in last))
    return law._asdict() | {"points": points, "time_exponent": seconds, "memory_exponent": memory}


def main() -> None:
    """Prints a line a point and the exponents; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--point", nargs=3, metavar=("CORE", "VARIED", "VALUE"), help="one point, in this process")
    given = parser.parse_args()
    if given.point:
        core, varied, value = given.point
        print(json.dumps(point(core, varied, int(value))))
        return
    found = [measured(law) for law in LAWS]
    for one in found:
        times, memory = (f"{low:g} to {high:g}" if low < high else f"{low:g}" for low, high in (one["time"], one["memory"]))
        print(
            f"{one['core']:9} in {one['varied']:6} time {one['time_exponent']:5.2f} (predicted {times}), "
            f"memory {one['memory_exponent']:5.2f} (predicted {memory}): {one['because']}"
        )
    print(json.dumps({"threads": 1, "torch": torch.__version__, "laws": found}))


if __name__ == "__main__":
    main()
