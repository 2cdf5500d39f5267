"""Joint training: prompts a second of a whole step against the plain step (benchmarks/plain/joint_step.py).

The shipped embedded backbone, the default study's variant `full` with its prompts, group, interface and learning rates, on training scenes
of the embedded world that are rendered here. The dictionary has the width and k of the study's top-k one, so codes are as sparse as its;
its directions and the interface are untrained, which costs the same. A step is reading its batch, sampling, losses, backward pass and
optimiser. Both sides begin with equal weights and take the same batches in turn; the first, which warms up, compares their losses, and
rates are medians of the others. SAM's embeddings of the images are ready on both sides: the study's runs read them from the cached images,
the paper's release from disk.
"""

import argparse
import copy
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from plain.joint_step import PlainTrainer
from torch import Tensor, nn

from segcompass.backbone.interface import OTHER
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.datasets.artefact import LearningData
from segcompass.joint.batches import Batch, TrainingPrompts, training_prompts
from segcompass.joint.model import JointModel
from segcompass.joint.trainer import JointTrainer
from segcompass.provenance.stage import Stage
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import prepare_data
from segcompass.study.concepts import TopK
from segcompass.study.data import SceneCounts, WorldSettings
from segcompass.study.load import load_study
from segcompass.study.study import Study

STUDY, SHIPPED = Path("params/default.yaml"), Path("backbones/embedded")
SCENES = SceneCounts(train=120, val=5, testA=5, testB=5, test=5)
Step = Callable[[int], dict[str, Tensor]]


class Clock:
    """Seconds in each phase; a phase within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        self._book()
        self._running.append(name)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def watch(self, owner: Any, method: str, name: str, without_gradient: str | None = None) -> None:
        """Makes every call of a method a phase, of another name where no gradient is recorded."""
        call = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            with self.phase(name if without_gradient is None or torch.is_grad_enabled() else without_gradient):
                return call(*args, **options)

        setattr(owner, method, timed)

    def _book(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def joint_model(study: Study) -> JointModel:
    """The model of the variant `full` with an untrained dictionary and interface."""
    settings = study.saes["topk"]
    assert isinstance(settings, TopK)
    vlm = load_vlm(SHIPPED / "vlm", study.runtime, study.answer)
    dictionary = TopKDictionary(vlm.hidden_width, settings.width, settings.k)
    dictionary.hook_layer = study.activations.hook_layer
    interface = study.interface_variant(study.joint.interface).model
    return JointModel(vlm, load_segmenter(SHIPPED / "sam", study.runtime), dictionary, interface, study.answer.max_thought_tokens)


def write_data(study: Study, folder: Path) -> None:
    """The artefact of `prepare_data` for a few scenes."""
    assert isinstance(study.data, WorldSettings)
    settings = study.data.model_copy(update={"scenes": SCENES})
    prepare_data.work(Stage("prepare_data", {"data": settings.model_dump(mode="json")}, {}, folder, {}, {}))


def step_of(
    model: JointModel, study: Study, prompts: TrainingPrompts, clock: Clock, losses: Callable[[Batch, int], dict[str, Tensor]]
) -> Step:
    """A function that makes one step of training by some losses."""
    optimiser, size, norms = model.optimiser(study.joint.learning_rates), study.joint.prompts, study.joint.clip_norm
    parts = model.parts()
    others = [parameter for name, part in parts.items() if name != "language" for parameter in part]

    def make_step(step: int) -> dict[str, Tensor]:
        with clock.phase("images and targets"):
            batch = prompts.batch(step, size)
        with clock.phase("rewards, matching, losses"):
            found = losses(batch, step)
            total = torch.stack(list(found.values())).sum()
        with clock.phase("backward"):
            optimiser.zero_grad()
            total.backward()
        with clock.phase("optimiser"):
            nn.utils.clip_grad_norm_(parts["language"], norms.language)
            nn.utils.clip_grad_norm_(others, norms.others)
            optimiser.step()
        return {name: loss.detach() for name, loss in found.items()}

    return make_step


def our_step(model: JointModel, study: Study, prompts: TrainingPrompts, clock: Clock) -> Step:
    """The trainer's step, its phases watched from outside."""
    trainer = JointTrainer(model, None, study.joint, study.answer, study.evaluation.confidence_threshold, 0)
    vlm, segmenter, interface = model.vlm, model.segmenter, model.interface
    clock.watch(vlm, "prompts", "prompts")
    clock.watch(vlm, "generate", "sampling")
    clock.watch(vlm, "lower", "policy pass")
    clock.watch(vlm, "upper", "policy pass", "reference pass")
    clock.watch(vlm, "answer_log_probs", "policy pass", "reference pass")
    clock.watch(model, "codes_of", "codes and codebook")
    clock.watch(interface.codebook, "forward", "codes and codebook")
    clock.watch(interface.mapper, "forward", "slot mapper")
    clock.watch(segmenter, "decode", "SAM decoding", "SAM decoding without gradient")
    return step_of(model, study, prompts, clock, lambda batch, step: trainer.losses(batch, step)[0])


def plain_step(model: JointModel, study: Study, prompts: TrainingPrompts, clock: Clock) -> Step:
    """The plain step."""
    plain = PlainTrainer(model, study.joint, study.answer.longest, study.evaluation.confidence_threshold)
    clock.watch(plain, "repeated_prompts", "prompts")
    clock.watch(plain, "sample", "sampling")
    clock.watch(plain, "log_probs", "policy pass", "reference pass")
    clock.watch(plain, "states", "second policy pass")
    clock.watch(plain, "segment", "codes, slots, masks")

    def losses(batch: Batch, step: int) -> dict[str, Tensor]:
        repeated = plain.repeated_prompts(batch)
        return plain.losses(batch, repeated, plain.sample(repeated, step))

    return step_of(model, study, prompts, clock, losses)


@torch.no_grad()
def sizes(model: JointModel, study: Study, batch: Batch) -> dict[str, float]:
    """What the time depends on: L0 of the prompts' tokens, and which share of the answers differs from others to the same prompt."""
    vlm, policy = model.vlm, study.joint.policy
    prompts = vlm.prompts(batch.images, batch.texts)
    rollouts = vlm.generate(prompts, policy.group, policy.temperature, study.answer.longest, torch.Generator().manual_seed(0))
    states = vlm.rollout_states(prompts, rollouts)
    answers = {(row // policy.group, tuple(ids)) for row, ids in enumerate(rollouts.answers.tolist())}
    active = (model.codes_of(states.hidden, states.token_types)[states.token_types != OTHER] != 0).sum(-1)
    return {"active_concepts": float(active.float().mean()), "distinct_answers": len(answers) / len(rollouts.answers)}


def print_shares(name: str, seconds: dict[str, float]) -> dict[str, float]:
    """Prints and returns each phase's share of the time."""
    total = sum(seconds.values())
    shares = {phase: value / total for phase, value in sorted(seconds.items(), key=lambda item: -item[1])}
    print(f"{name}: " + ", ".join(f"{phase} {share:.1%}" for phase, share in shares.items()))
    return shares


def main() -> None:
    """Prints the shares of time; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, help="instead of the study's, whose jobs run side by side, one core each")
    parser.add_argument("--temperature", type=float, help="instead of the study's; the hotter, the more answers differ")
    given = parser.parse_args()
    study = load_study(STUDY)
    if given.temperature is not None:
        policy = study.joint.policy.model_copy(update={"temperature": given.temperature})
        study = study.model_copy(update={"joint": study.joint.model_copy(update={"policy": policy})})
    prepare_torch(given.threads or study.threads, 0)
    model = joint_model(study)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_data(study, data)
        learning = LearningData(data)
        order = training_prompts(learning, study.answers.benchmarks, seed=0)
        prompts = TrainingPrompts(learning, order, len(order.samples), model.segmenter, seed=0)
        batches = [prompts.batch(step, study.joint.prompts) for step in range(given.steps + 1)]  # embeds every image
        measured = sizes(model, study, batches[0])
        clocks = {"ours": Clock(), "plain": Clock()}
        steps = {
            "plain": plain_step(copy.deepcopy(model), study, prompts, clocks["plain"]),
            "ours": our_step(model, study, prompts, clocks["ours"]),
        }
        first = {name: make_step(0) for name, make_step in steps.items()}
        for clock in clocks.values():
            clock.seconds.clear()
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        for step in range(1, given.steps + 1):
            for name, make_step in steps.items():
                start = time.perf_counter()
                make_step(step)
                seconds[name].append(time.perf_counter() - start)
    rates = {name: study.joint.prompts / median(values) for name, values in seconds.items()}
    shares = {name: print_shares(name, clock.seconds) for name, clock in clocks.items()}
    print(f"ours {rates['ours']:.2f} prompts/s, plain {rates['plain']:.2f} prompts/s, {rates['ours'] / rates['plain']:.2f} times")
    result = {
        "prompts": study.joint.prompts,
        "group": study.joint.policy.group,
        "steps": given.steps,
        "threads": torch.get_num_threads(),
        **measured,
        "largest_loss_difference_at_first_step": max(float((loss - first["plain"][name]).abs()) for name, loss in first["ours"].items()),
        "prompts_per_second": rates,
        "ratio": rates["ours"] / rates["plain"],
        "shares": shares,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
