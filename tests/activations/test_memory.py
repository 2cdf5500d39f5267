"""Writer and trainer need no more memory for a cache that is eight times larger, nor does the reader of a corpus.

Peaks are `VmHWM` of fresh processes: the `ru_maxrss` of a process is at least that of the one that started it.
"""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

MEGABYTE_TOKENS = 4096
"""Tokens of 64 float32 numbers in a MB."""
PEAK = """
def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

"""
WRITE = """
import json, sys, torch
from pathlib import Path
from segcompass.activations.cache import CacheWriter

folder, chunks = Path(sys.argv[1]), int(sys.argv[2])
writer = CacheWriter(folder, 1, 64, "float32", 4096)
generator = torch.Generator().manual_seed(0)
for chunk in range(chunks):
    owner, place = torch.arange(16).repeat_interleave(64) + 16 * chunk, torch.arange(1024) % 64
    writer.add({"hidden": torch.randn(1024, 64, generator=generator), "owner": owner, "position": place, "token_type": place % 3})
tokens = writer.close((f"refcoco_unc_train_s{owner}", f"images/train2014/{owner // 8}.jpg") for owner in range(16 * chunks))
print(json.dumps({"tokens": tokens, "peak": peak()}))
"""
TRAIN = """
import json, sys, torch
from pathlib import Path
from segcompass.activations.cache import CacheReader
from segcompass.sae.metrics import held_out_metrics
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from segcompass.study.concepts import SaeTrainingSettings

folder, settings = Path(sys.argv[1]), SaeTrainingSettings.model_validate_json(sys.argv[2])
reader = CacheReader(folder, settings.held_out_fraction, settings.seed)
torch.manual_seed(0)
dictionary = TopKDictionary(64, 64, 4, 0.0, 1 << 40)
resume = folder / "resume"
resume.mkdir()
rows = train(dictionary, reader, settings, resume)
held = held_out_metrics(dictionary, reader.held_out())["all"]["tokens"]
print(json.dumps({"steps": len(rows), "held": held, "peak": peak()}))
"""
CORPUS = """
import json, sys
from segcompass.datasets.corpus import Corpus
from segcompass.study.corpus import CorpusSettings

items = sum(1 for _ in Corpus(CorpusSettings(source="interleaved", path=sys.argv[1], characters=100)))
print(json.dumps({"items": items, "peak": peak()}))
"""
SETTINGS = {
    "seed": 0,
    "activation_scale": "mean_norm",
    "decoder_norm": "unit",
    "decoder_bias": "mean",
    "batch_tokens": 2048,
    "learning_rate": 1e-3,
    "warmup_fraction": 0.1,
    "final_fraction": 0.1,
    "clip_norm": 1.0,
    "held_out_fraction": 0.1,
    "buffer_tokens": 4096,
    "checkpoint_every": 1000,
}
ROW_GROUP = 100
"""Rows; writers cut shards of pictures into groups of about as many, and a reader may hold one."""
SMALL = 16
"""MB."""


def run(code: str, *arguments: str) -> dict[str, float]:
    """The figures that a fresh process prints; its peak in MB."""
    done = subprocess.run([sys.executable, "-c", PEAK + code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cache_eight_times_larger_needs_no_more_memory(tmp_path: Path) -> None:
    writers, trainers = [], []
    for megabytes in (SMALL, 8 * SMALL):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        tokens = megabytes * MEGABYTE_TOKENS
        writers.append(run(WRITE, str(folder), str(tokens // 1024)))
        # Every training token once, and every held-out one.
        steps = int(0.9 * tokens) // SETTINGS["batch_tokens"]
        trainers.append(run(TRAIN, str(folder), json.dumps(SETTINGS | {"steps": steps})))
        assert writers[-1]["tokens"] == tokens and trainers[-1]["held"] > 0.05 * tokens and trainers[-1]["steps"] == steps
    for small, large in (writers, trainers):
        print(f"peak {small['peak']:.0f} MB, and {large['peak']:.0f} MB for {8 * SMALL} MB instead of {SMALL} MB")
        assert 0.1 * small["peak"] < 7 * SMALL, "a cache held in memory would be seen"
        assert large["peak"] < 1.1 * small["peak"]


def png(seed: int) -> bytes:
    """Noise, which does not shrink: 48 kB."""
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)).save(held, "PNG")
    return held.getvalue()


def write_corpus(folder: Path, megabytes: int, ending: str) -> int:
    """A corpus in one shard.

    Returns:
        How many images it has.
    """
    images = [png(seed) for seed in range(8)]
    count = megabytes * (1 << 20) // len(images[0])
    folder.mkdir()
    if ending == "parquet":
        rows = {"images": [[images[row % 8], None] for row in range(count)], "texts": [[None, f"text {row}"] for row in range(count)]}
        pq.write_table(pa.table(rows), folder / "a.parquet", use_dictionary=False, compression="none", row_group_size=ROW_GROUP)
        return count
    with tarfile.open(folder / "a.tar", "w") as archive:
        for row in range(count):
            for name, content in ((f"{row:08d}.png", images[row % 8]), (f"{row:08d}.txt", f"text {row}".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return count


@pytest.mark.parametrize("ending", ["parquet", "tar"])
def test_a_corpus_eight_times_larger_needs_no_more_memory(ending: str, tmp_path: Path) -> None:
    peaks = []
    for megabytes in (SMALL, 8 * SMALL):
        count = write_corpus(tmp_path / str(megabytes), megabytes, ending)
        found = run(CORPUS, str(tmp_path / str(megabytes)))
        assert found["items"] == count
        peaks.append(found["peak"])
    assert 0.1 * peaks[0] < 7 * SMALL, "a corpus held in memory would be seen"
    assert peaks[1] < 1.1 * peaks[0]
