"""Trains a dictionary on a stream of tokens (paper section 2, stage 1), in one process or in several.

Several processes take the same steps as one, up to rounding. They divide the tokens of every batch, each holding all concepts, or, from
`feature_shards.DIVIDED_FROM` concepts on, the concepts. One departure: where tokens are divided, batch top-k chooses the k * T largest
values of each process's own tokens, not of the whole batch, and its running threshold is averaged.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from segcompass.activations.source import TokenSource
from segcompass.activations.stream import TokenStream
from segcompass.errors import InputError
from segcompass.numerics.finite import check_step
from segcompass.optimisation.processes import Processes
from segcompass.optimisation.resume import ResumePoint
from segcompass.optimisation.schedule import rate_factor
from segcompass.sae.dictionary import Dictionary
from segcompass.sae.feature_shards import DIVIDED_FROM, ShardOfConcepts
from segcompass.sae.initialisation import decoder_bias, mean_norm_scale
from segcompass.sae.training_state import DividedState, WholeState
from segcompass.study.concepts import SaeTrainingSettings


class Trainer:
    """AdamW with warm-up, cosine decay and clipping on the objective of one dictionary."""

    def __init__(self, dictionary: Dictionary, settings: SaeTrainingSettings, processes: Processes | None = None) -> None:
        """`processes` None: this one alone. A dictionary that was divided among them stays so; else they divide every batch."""
        self.dictionary, self.settings, self.processes = dictionary, settings, processes or Processes()
        self.divided = isinstance(dictionary.concepts, ShardOfConcepts)
        if not self.divided and settings.batch_tokens % self.processes.count:
            problem = f"is {settings.batch_tokens}, which {self.processes.count} processes cannot share evenly; take a multiple"
            raise InputError(None, "sae_training.batch_tokens", problem)
        dictionary.unit_decoder &= settings.decoder_norm == "unit"
        trained = [parameter for parameter in dictionary.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0, fused=True)

    def step(self, step: int, x: Tensor) -> dict[str, Any]:
        """Step number `step` (from 0) on scaled tokens [T, d], the same on every process.

        Returns:
            The step's row of the curve: losses and L0 of the whole batch.
        """
        settings, dictionary, processes = self.settings, self.dictionary, self.processes
        factor = rate_factor(step, settings.steps, settings.warmup_fraction, settings.final_fraction)
        self.optimiser.param_groups[0]["lr"] = settings.learning_rate * factor
        losses, uses = dictionary.losses(x if self.divided else processes.part(x))
        values = torch.stack(list(losses.values()))
        self.optimiser.zero_grad()
        values.sum().backward()
        means = values.detach()
        if not self.divided:
            uses = processes.total(uses)
            processes.average([means, *(parameter.grad for parameter in dictionary.parameters() if parameter.grad is not None)])
            processes.average(buffer for buffer in dictionary.buffers() if buffer.is_floating_point())
        dictionary.count_silent(uses, len(x))
        dictionary.before_step()
        norm = self._clip()
        row: dict[str, Any] = {"step": step} | dict(zip(losses, means.tolist(), strict=True))
        check_step(row | {"gradient norm": float(norm.detach())}, step, "sae_training.learning_rate")
        self.optimiser.step()
        dictionary.after_step()
        active = processes.total(uses.sum()) if self.divided else uses.sum()
        return row | {"l0": float(active) / len(x)}

    def _clip(self) -> Tensor:
        """Clips the gradients by their norm over all concepts, which it returns."""
        parameters = [parameter for parameter in self.dictionary.parameters() if parameter.grad is not None]
        if not self.divided:
            return nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        rows, zero = self.dictionary.rows().values(), self.dictionary.b_dec.new_zeros(())
        squares = sum((row.grad.square().sum() for row in rows if row.grad is not None), zero)
        shared = zero if self.dictionary.b_dec.grad is None else self.dictionary.b_dec.grad.square().sum()
        norm = (self.processes.total(squares) + shared).sqrt()
        nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        return norm


def train(
    dictionary: Dictionary,
    source: TokenSource,
    settings: SaeTrainingSettings,
    resume: Path,
    processes: Processes | None = None,
    stop_after: int | None = None,
) -> list[dict[str, Any]]:
    """Trains in place, on the dictionary's device; it reads raw activations afterwards. The shuffle buffer stays on the CPU.

    With `stop_after` it is what training to the end of the same schedule has come to after so many steps.

    Killed at any moment and called again with the same folder `resume`, it ends with the same bytes. Several processes all call it with
    the same arguments; the main one writes the resume points, which are of the whole dictionary however it is divided.

    Returns:
        The curve: one row a step.
    """
    stream = TokenStream(source, settings.batch_tokens, settings.buffer_tokens, settings.seed)
    processes = processes or Processes()
    divided = processes.count > 1 and dictionary.features >= DIVIDED_FROM
    if divided:
        dictionary.divide(processes)
    trainer = Trainer(dictionary, settings, processes)
    scale = torch.ones(())
    point = ResumePoint(resume, "sae")
    state = (DividedState if divided else WholeState)(dictionary, trainer.optimiser, processes)
    done, rows = state.load(point, stream.state() | {"scale": scale})
    if not done:
        _initialise(dictionary, stream, settings, scale)
    last = stop_after or settings.steps
    for step in tqdm(range(done, last), desc="training", initial=done, total=last, disable=None):
        rows.append(trainer.step(step, next(stream).to(dictionary.b_dec.device) / scale))
        if (step + 1) % settings.checkpoint_every == 0:
            state.save(point, step + 1, stream.state() | {"scale": scale}, rows)
    if divided:
        dictionary.join(processes)
    dictionary.fold_scale(float(scale))
    return rows


@torch.no_grad()
def _initialise(dictionary: Dictionary, stream: TokenStream, settings: SaeTrainingSettings, scale: Tensor) -> None:
    x = stream.first().to(dictionary.b_dec.device)
    if settings.activation_scale == "mean_norm":
        scale.fill_(mean_norm_scale(x))
    x = x / scale
    dictionary.start_at(x, decoder_bias(x, settings.decoder_bias))
