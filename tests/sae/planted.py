"""A token cache with known structure, and the training settings that find it in seconds."""

from pathlib import Path

import torch

from segcompass.activations.cache import CacheWriter
from segcompass.study.concepts import SaeTrainingSettings

SETTINGS = SaeTrainingSettings(
    seed=0,
    activation_scale="mean_norm",
    decoder_norm="unit",
    decoder_bias="geometric_median",
    steps=60,
    batch_tokens=64,
    learning_rate=3e-3,
    warmup_fraction=0.03,
    final_fraction=0.1,
    clip_norm=1.0,
    held_out_fraction=0.2,
    buffer_tokens=512,
    checkpoint_every=20,
)


def write_cache(folder: Path, images: int = 30) -> Path:
    """40 tokens an image that are sparse sums of 12 planted directions in 8 dimensions."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(12, 8, generator=generator), dim=1)
    writer = CacheWriter(folder, 2, 8, "float32", 500)
    for image in range(images):
        weights = torch.rand(40, 12, generator=generator) * (torch.rand(40, 12, generator=generator) < 0.15)
        owner, place = torch.full((40,), image), torch.arange(40)
        writer.add({"hidden": weights @ directions, "owner": owner, "position": place, "token_type": place % 3})
    assert writer.close((f"s{image}", f"i{image}.jpg") for image in range(images)) == 40 * images
    return folder
