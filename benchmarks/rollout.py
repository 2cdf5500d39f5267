"""Sampling G = 8 answers a prompt from a shared prefix, against the same prompts repeated 8 times through transformers' `generate`.

The shipped embedded backbone, scenes of the embedded world that it was not trained on, the default study's runtime, temperature, longest
answer and batch. Both sides get the same tokenised prompts and prepared pixels, and the same model object; `generate` gets one batch of all
repeated prompts, its faster way (one call an answer is timed as well, on the first batch). The two sides alternate batch by batch after a
warm-up; processor seconds stand beside wall seconds, since the machine may be shared. That both draw from one distribution is shown by the
tokens that both give greedily and from the same seed, and by the log-probabilities of our samples in transformers' plain forward pass.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segcompass.backbone.interface import Prompts, Rollouts
from segcompass.backbone.load import load_vlm
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.split import SplitModel
from segcompass.study.data import WorldSettings
from segcompass.study.load import load_study
from segcompass.study.study import Study
from segcompass.world.render import render
from segcompass.world.scene import draw_scene
from segcompass.world.splits import expressions

STUDY = Path("params/default.yaml")
GROUP, BATCHES, THREADS = 8, 8, 1
FIRST_SCENE = 1_000_000
"""Scene numbers from here on are in no split of the study."""


def batches(vlm: SplitModel, study: Study) -> list[Prompts]:
    """Prompts of new scenes, one expression a benchmark and scene, in batches of the study's size."""
    assert isinstance(study.data, WorldSettings)
    images, texts, number = [], [], FIRST_SCENE
    while len(texts) < BATCHES * study.joint.prompts:
        scene = draw_scene(number, "val", study.data, np.random.default_rng([study.data.seed, number]))
        for benchmark in study.answers.benchmarks:
            for expression in expressions(scene, benchmark, study.data)[:1]:
                images.append(render(scene, np.random.default_rng([study.data.seed, number, 1])))
                texts.append(expression.sentences[0])
        number += 1
    size = study.joint.prompts
    return [vlm.prompts(images[start : start + size], texts[start : start + size]) for start in range(0, BATCHES * size, size)]


def through_generate(vlm: SplitModel, prompts: Prompts, group: int, temperature: float | None, longest: int) -> Tensor:
    """Answers [B * G, A] of transformers for every prompt repeated `group` times, padded behind the end."""
    how = {"do_sample": False} if temperature is None else {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return vlm.model.generate(
        input_ids=prompts.ids.repeat_interleave(group, 0),
        attention_mask=prompts.mask.long().repeat_interleave(group, 0),
        pixel_values=prompts.vision_inputs["pixel_values"].repeat_interleave(group, 0),
        max_new_tokens=longest,
        pad_token_id=vlm.pad_id,
        eos_token_id=vlm.end_id,
        **how,
    )[:, prompts.ids.shape[1] :]


def one_call_an_answer(vlm: SplitModel, prompts: Prompts, temperature: float, longest: int) -> None:
    """`generate` once for each of the B * G answers."""
    for index in range(len(prompts.ids)):
        keep = prompts.mask[index]
        pixels = {"pixel_values": prompts.vision_inputs["pixel_values"][index : index + 1]}
        alone = Prompts(prompts.ids[index : index + 1, keep], keep[keep][None], prompts.token_types, prompts.positions, pixels)
        for _ in range(GROUP):
            through_generate(vlm, alone, 1, temperature, longest)


@torch.no_grad()
def plain_log_probs(vlm: SplitModel, prompts: Prompts, answers: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Log-probabilities [N, A] of answers in transformers' forward pass over the repeated prompts, 0 where `mask` is false."""
    ids = torch.cat([prompts.ids.repeat_interleave(GROUP, 0), answers], 1)
    attention = torch.cat([prompts.mask.repeat_interleave(GROUP, 0), mask], 1).long()
    pixels = prompts.vision_inputs["pixel_values"].repeat_interleave(GROUP, 0)
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    logits = vlm.model(input_ids=ids, attention_mask=attention, position_ids=positions, pixel_values=pixels).logits
    distribution = torch.log_softmax(logits[:, prompts.ids.shape[1] - 1 : -1].float() / temperature, -1)
    return distribution.gather(2, answers[..., None])[..., 0] * mask


def identical(ours: Rollouts, theirs: Tensor) -> tuple[int, int]:
    """(our valid tokens that are the same on the other side, our valid tokens)."""
    width = min(ours.answers.shape[1], theirs.shape[1])
    same = (ours.answers[:, :width] == theirs[:, :width]) & ours.answer_mask[:, :width]
    return int(same.sum()), int(ours.answer_mask.sum())


def main() -> None:
    """Prints the figures; the last line is one JSON object."""
    study = load_study(STUDY)
    prepare_torch(THREADS, 0)
    vlm = load_vlm(Path("backbones/embedded/vlm"), study.runtime, study.answer)
    assert isinstance(vlm, SplitModel)
    prompts, longest, temperature = batches(vlm, study), study.answer.longest, study.joint.policy.temperature
    vlm.generate(prompts[0], GROUP, temperature, longest, torch.Generator())
    through_generate(vlm, prompts[0], GROUP, temperature, longest)

    clocks, largest, sampled = [], 0.0, []
    for seed, batch in enumerate(prompts):
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        times = [(time.perf_counter(), time.process_time())]
        ours = vlm.generate(batch, GROUP, temperature, longest, generator)
        times.append((time.perf_counter(), time.process_time()))
        theirs = through_generate(vlm, batch, GROUP, temperature, longest)
        times.append((time.perf_counter(), time.process_time()))
        clocks.append(np.diff(np.array(times), axis=0))
        sampled.append(identical(ours, theirs))
        recomputed = plain_log_probs(vlm, batch, ours.answers, ours.answer_mask, temperature)
        largest = max(largest, float((recomputed - ours.log_probs).abs().max()))
    started = time.process_time()
    one_call_an_answer(vlm, prompts[0], temperature, longest)
    single = time.process_time() - started
    greedy = [identical(vlm.generate(batch, 1, None, longest, None), through_generate(vlm, batch, 1, None, longest)) for batch in prompts]

    (shared, shared_cpu), (separate, separate_cpu) = np.sum(clocks, 0)
    print(f"{len(prompts) * study.joint.prompts} prompts x {GROUP}: shared prefix {shared:.2f} s, generate {separate:.2f} s")
    result = {
        "prompts": len(prompts) * study.joint.prompts,
        "group": GROUP,
        "threads": torch.get_num_threads(),
        "attention": study.runtime.attention,
        "longest": longest,
        "shared_prefix_seconds": shared,
        "generate_seconds": separate,
        "ratio": separate / shared,
        "ratio_of_processor_seconds": separate_cpu / shared_cpu,
        "ratio_of_processor_seconds_to_one_call_an_answer": single / clocks[0][0, 1],
        "sampled_tokens": sum(total for _, total in sampled),
        "sampled_tokens_identical": sum(same for same, _ in sampled) / sum(total for _, total in sampled),
        "greedy_tokens": sum(total for _, total in greedy),
        "greedy_tokens_identical": sum(same for same, _ in greedy) / sum(total for _, total in greedy),
        "largest_log_prob_difference": largest,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
