"""Training a dictionary: tokens a second against SAELens's trainer, d = 512, F = 8192, two threads, same batches, optimiser and steps.

Both trainers take every batch in turn, so that whatever else the machine does falls on both; times are medians over steps. Activations
are sparse sums of planted directions, unequally frequent, with noise. SAELens trains with its defaults (`standard`, `topk`; the backward
pass of its option `use_sparse_activations` does not exist on a CPU). The held-out loss is the trained objective on tokens that neither saw.
With `--device cuda` both train there, and ours once for each way of adding rows (`segcompass/sae/row_sums.py`).
The fraction of the machine's peak counts the multiplications that a trainer makes, dense or sparse, against a 2048-wide matrix product.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from statistics import median
from unittest import mock

import torch
from sae_lens import (
    SAETrainer,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
    TrainingSAE,
)
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from segcompass.sae.dictionary import Dictionary, squared_error
from segcompass.sae.initialisation import decoder_bias
from segcompass.sae.relu_l1 import ReluL1Dictionary
from segcompass.sae.row_sums import sums_by_bags, sums_by_matrix
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import Trainer
from segcompass.study.concepts import SaeTrainingSettings

WIDTH, FEATURES, BATCH, K, L1 = 512, 8192, 4096, 32, 5.0
PLANTED, PLANTED_ACTIVE = 4096, 24
LEARNING_RATE, WARMUP = 1e-3, 4
PEAK_SIDE = 2048


def planted_tokens(count: int, seed: int) -> Tensor:
    """Tokens [count, d] of mean norm sqrt(d): sums of 24 out of 4,096 directions whose frequencies fall as rank^-0.7, and noise."""
    world, draws = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(PLANTED, WIDTH, generator=world), dim=1)
    frequency = torch.arange(1, PLANTED + 1).float() ** -0.7
    which = torch.multinomial(frequency.expand(count, -1), PLANTED_ACTIVE, generator=draws)
    strength = 0.5 + torch.rand(count, PLANTED_ACTIVE, generator=draws)
    x = torch.nn.functional.embedding_bag(which, directions, per_sample_weights=strength, mode="sum")
    x = x + 0.02 * torch.randn(count, WIDTH, generator=draws)
    return x * (WIDTH**0.5 / x.norm(dim=1).mean())


def settings(steps: int) -> SaeTrainingSettings:
    """Adam at a constant rate after a warm-up, which both trainers can do."""
    return SaeTrainingSettings(
        seed=0,
        activation_scale="none",
        decoder_norm="free",
        decoder_bias="geometric_median",
        steps=steps,
        batch_tokens=BATCH,
        learning_rate=LEARNING_RATE,
        warmup_fraction=WARMUP / steps,
        final_fraction=1.0,
        clip_norm=1.0,
        held_out_fraction=0.5,
        buffer_tokens=BATCH,
        checkpoint_every=steps,
    )


def ours(dictionary: Dictionary, first: Tensor, steps: int) -> Callable[[int, Tensor], object]:
    """A function that makes one step."""
    with torch.no_grad():
        dictionary.start_at(first, decoder_bias(first, "geometric_median"))
    return Trainer(dictionary, settings(steps)).step


def theirs(sae: TrainingSAE, steps: int) -> Callable[[int, Tensor], None]:
    """A function that makes one step of SAELens's trainer, through the method that its own loop calls."""
    config = SAETrainerConfig(
        total_training_samples=steps * BATCH,
        train_batch_size_samples=BATCH,
        lr=LEARNING_RATE,
        lr_end=LEARNING_RATE,
        lr_warm_up_steps=WARMUP,
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))

    def make_step(step: int, x: Tensor) -> None:
        trainer.step(x)
        trainer.n_training_steps = step + 1

    return make_step


def compared(make_steps: dict[str, Callable[[int, Tensor], object]], batches: list[Tensor], steps: int) -> tuple[dict[str, float], float]:
    """Median seconds of a step of each trainer, and of the peak's matrix product, all taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in make_steps}
    square, peak = torch.randn(PEAK_SIDE, PEAK_SIDE, device=batches[0].device), []
    for step in range(steps):
        x = batches[step % len(batches)]
        for name, make_step in make_steps.items():
            started = time.perf_counter()
            make_step(step, x)
            _finish(x.device)
            seconds[name].append(time.perf_counter() - started)
        started = time.perf_counter()
        square @ square
        _finish(x.device)
        peak.append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}, median(peak)


def _finish(device: torch.device) -> None:
    """Waits for what was asked of a device that computes in the background."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def by(way: Callable[..., Tensor], make_step: Callable[[int, Tensor], object]) -> Callable[[int, Tensor], object]:
    """The step with its rows added in one way, whatever the device."""

    def step(number: int, x: Tensor) -> object:
        with mock.patch("segcompass.sae.sparse_codes.weighted_sums", way):
            return make_step(number, x)

    return step


@torch.no_grad()
def held_out_quality(dictionary: Dictionary | TrainingSAE, x: Tensor, l1: float) -> dict[str, float]:
    """The objective on held-out tokens, and L0."""
    z = dictionary.encode(x)
    loss = squared_error(x, dictionary.decode(z)) + l1 * (z @ dictionary.W_dec.norm(dim=1)).mean()
    return {"loss": float(loss), "l0": float((z != 0).sum(1).float().mean())}


def main() -> None:
    """Prints a table; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    batches = list(planted_tokens(8 * BATCH, 1).to(device).split(BATCH))
    held_out = planted_tokens(BATCH, 2).to(device)
    common = {"d_in": WIDTH, "d_sae": FEATURES, "device": arguments.device}
    cases = {
        "relu_l1": (
            ReluL1Dictionary(WIDTH, FEATURES, L1, 0.03),
            StandardTrainingSAE(StandardTrainingSAEConfig(**common, l1_coefficient=L1)),
            L1,
        ),
        "topk": (TopKDictionary(WIDTH, FEATURES, K, 1 / 32, 1 << 40), TopKTrainingSAE(TopKTrainingSAEConfig(**common, k=K)), 0.0),
    }
    result: dict[str, object] = {"threads": arguments.threads, "steps": arguments.steps, "batch": BATCH, "d": WIDTH, "F": FEATURES}
    for name, (dictionary, sae, l1) in cases.items():
        make_steps = {"ours": ours(dictionary.to(device), batches[0], arguments.steps), "SAELens": theirs(sae, arguments.steps)}
        if device.type == "cuda":
            for way in (sums_by_bags, sums_by_matrix):
                make_steps[way.__name__] = by(way, ours(copy.deepcopy(dictionary), batches[0], arguments.steps))
        seconds, peak_seconds = compared(make_steps, batches, arguments.steps)
        quality = {key: held_out_quality(made, held_out, l1) for key, made in (("ours", dictionary), ("SAELens", sae))}
        peak, dense = 2 * PEAK_SIDE**3 / peak_seconds, 2 * BATCH * WIDTH * FEATURES
        made = {"ours": dense + 4 * 2 * BATCH * quality["ours"]["l0"] * WIDTH, "SAELens": 5 * dense}
        for key in made:
            print(
                f"{name:8} {key:8} {BATCH / seconds[key]:8.0f} tokens/s  {made[key] / seconds[key] / peak:.2f} of peak"
                f"  held-out loss {quality[key]['loss']:8.2f}  L0 {quality[key]['l0']:7.1f}"
            )
        for other in sorted(seconds.keys() - made.keys()):
            print(f"{name:8} {other:14} {BATCH / seconds[other]:8.0f} tokens/s")
        result[name] = {
            "ratio": seconds["SAELens"] / seconds["ours"],
            "tokens_per_second": {key: BATCH / value for key, value in seconds.items()},
            "fraction_of_peak": {key: made[key] / seconds[key] / peak for key in made},
            "held_out": quality,
            "peak_gflops": peak / 1e9,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
