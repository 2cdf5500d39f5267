"""Work of a study's jobs, above all of both experiments: what all runs share, interfaces, joint training, evaluation, interventions.

Upper bounds: answers are as long as they may be; in joint training they all differ, some answer of a batch breaks the form, so that the
well-formed answers need a pass of their own, and no image was embedded before; every slot is matched to an object, so that its mask is
decoded with gradient, three times the work, beside the pass without that matching needs; in evaluation every slot is confident.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from segcompass.causal.swap import OTHER_ARMS, OWN_ARMS, STAY_ARMS
from segcompass.causal.thought_swap import ARMS
from segcompass.footprint.architecture import Backbone
from segcompass.footprint.corpus import answered_corpus, evaluated_corpus, pair_counts, paired_corpus, training_corpus
from segcompass.footprint.memory import (
    answer_lengths,
    dictionary_width,
    dtype_bytes,
    interface_size,
    learns_from_masks,
    step_sequences,
)
from segcompass.footprint.work import (
    Work,
    arithmetic,
    blocks_forward,
    cache_work,
    decoding,
    decoding_reads,
    dictionary_work,
    encoder_forward,
    labelling_work,
    mask_forward,
    on_the_fly_work,
    vision_forward,
)
from segcompass.study.analysis import InterventionSettings
from segcompass.study.experiments import Experiment
from segcompass.study.interface import InterfaceSettings
from segcompass.study.jobs import Job, all_jobs, sae_layer
from segcompass.study.joint import JointSettings
from segcompass.study.shard_jobs import number_of_shards
from segcompass.study.study import Study
from segcompass.study.warm_start import WarmStartSettings


def stage_works(study: Study, backbone: Backbone, root: Path, gpus: int) -> dict[str, list[Work]]:
    """Stage that runs a model -> work of each of its jobs, in the order of the pipeline; a divided job counts as its shards."""
    works: dict[str, list[Work]] = {}
    job_work = JobWorks(study, backbone, root, gpus)
    for job in all_jobs(study):
        work = job_work.of(job)
        if work is not None:
            shards = number_of_shards(study, job)
            works.setdefault(job.stage, []).extend([work * (1 / shards)] * shards)
    return works


class JobWorks:
    """Work of single jobs of a study."""

    def __init__(self, study: Study, backbone: Backbone, root: Path, gpus: int) -> None:
        self.study, self.backbone, self.root, self.gpus = study, backbone, root, gpus
        self.training = training_corpus(study, root)
        self.parts = {"training": answered_corpus(study, root), "evaluation": evaluated_corpus(study, root)}
        self.parts |= {"gold": self.parts["evaluation"], "pairs": paired_corpus(study, root)}

    def of(self, job: Job) -> Work | None:
        """None for a stage that runs no model."""
        study, backbone, known = self.study, self.backbone, dict(job.wildcards)
        expressions, variant = self.training.expressions, known.get("variant", "")
        match job.stage:
            case "warm_start" if study.warm_start:
                return warm_start_work(study, backbone, study.warm_start)
            case "cache_activations":
                return cache_work(study, backbone, expressions, int(known["layer"]))
            case "train_sae" if study.activations.on_the_fly:
                tokens = self.training.tokens(backbone, study.answer.max_thought_tokens)
                return on_the_fly_work(study, backbone, known["sae"], expressions, tokens)
            case "train_sae":
                return dictionary_work(study, backbone, known["sae"])
            case "label_tokens":
                return labelling_work(study, backbone)
            case "cache_answers":
                return cached_answers_work(study, backbone, known["part"], self.parts[known["part"]].expressions)
            case "embed_images":
                return embedding_work(study, backbone, known["segmenter"], self.parts[known["part"]].images)
            case "train_interface":
                return interface_work(study, backbone, study.interface_variant(variant), self.parts["training"].expressions)
            case "evaluate_interface":
                return interface_evaluation_work(study, backbone, study.interface_variant(variant), self._evaluated("interface", variant))
            case "train_joint":
                return joint_work(study, backbone, study.joint_variant(variant), self.gpus)
            case "evaluate_joint":
                return joint_evaluation_work(study, backbone, study.joint_variant(variant), self._evaluated("signals", variant))
            case "intervene":
                return intervention_work(study, backbone, study.interface_variant(variant))
            case "exchange":
                return exchange_work(study, backbone, variant)
            case "make_atlas":
                return atlas_work(study, backbone)
        return None

    def _evaluated(self, experiment: Experiment, variant: str) -> "Evaluated":
        asked = self.study.evaluation
        corpus = evaluated_corpus(self.study, self.root, self.study.evaluated_splits(experiment, variant))
        lists = (asked.controls, asked.oracle_thoughts)
        return Evaluated(corpus.expressions, *(variant in listed.get(experiment, []) for listed in lists))


@dataclass(frozen=True)
class Evaluated:
    """What a run is evaluated on, and whether controls and gold thoughts are too."""

    expressions: int
    controlled: bool
    taught: bool


def answer_work(study: Study, backbone: Backbone, batch: int, generated: bool = True) -> Work:
    """One answer, drawn greedily or given, and the pass through all blocks that reads it."""
    language, length = backbone.language, sum(answer_lengths(study, backbone))
    read = arithmetic(study, vision_forward(backbone) + blocks_forward(language, language.layers, length))
    return drawn_work(study, backbone, batch) + read if generated else read


def drawn_work(study: Study, backbone: Backbone, batch: int) -> Work:
    """One answer that is drawn greedily, in a batch."""
    language, (prompt, answer) = backbone.language, answer_lengths(study, backbone)
    drawn = vision_forward(backbone) + blocks_forward(language, language.layers, prompt) + decoding(language, prompt, answer, 1)
    reads = decoding_reads(language, batch, 1, prompt, answer, dtype_bytes(study.runtime)) / batch
    return arithmetic(study, drawn) + Work(read=reads)


def warm_start_work(study: Study, backbone: Backbone, warm_start: WarmStartSettings) -> Work:
    """`warm_start`: the answers of every step through all blocks, forward and, above the hook, back; answers drawn before and after."""
    language, hook, (prompt, answer) = backbone.language, study.activations.hook_layer, answer_lengths(study, backbone)
    trained = 4 if study.runtime.gradient_checkpointing else 3
    each = vision_forward(backbone) + blocks_forward(language, hook, prompt + answer)
    each += trained * blocks_forward(language, language.layers - hook, prompt + answer) + 3 * 2.0 * language.head * answer
    taught = arithmetic(study, each) * (warm_start.steps * warm_start.prompts)
    return taught + drawn_work(study, backbone, warm_start.prompts) * (2 * warm_start.samples)


def cached_answers_work(study: Study, backbone: Backbone, part: str, answers: int) -> Work:
    """`cache_answers` of one part: hidden states of every layer fall out of the one pass."""
    generated = part == "evaluation" or (part == "training" and study.answers.thoughts == "policy")
    return answer_work(study, backbone, study.answers.batch, generated) * answers


def embedding_work(study: Study, backbone: Backbone, segmenter: str, images: int) -> Work:
    """`embed_images` by one SAM."""
    return arithmetic(study, encoder_forward(backbone.segmenters[segmenter]) * images)


def interface_work(study: Study, backbone: Backbone, interface: InterfaceSettings, answers: int) -> Work:
    """`train_interface` on a number of cached answers: sparse codes are computed once, those of a dense map anew for each batch."""
    size, training = interface_size(study, backbone, interface), interface.training
    length, mask = sum(answer_lengths(study, backbone)), size.model.slots * mask_forward(backbone.segmenters[interface.model.segmenter])
    heat, masks = training.heat_maps.steps * training.heat_maps.batch, training.masks.steps * training.masks.batch
    encoded = heat + masks if size.active == size.features else answers
    codes = encoded * product(study, backbone, interface.model.sae)
    return Work(single=codes + 3 * (heat + masks) * size.reading(length) + masks * (1 + 3) * mask)


def evaluated_work(study: Study, backbone: Backbone, interface: InterfaceSettings, controlled: bool) -> Work:
    """What the evaluation of one answer costs behind the policy: codes and what they reconstruct, the control's too, then the masks."""
    dictionaries = [interface.model.sae, *([study.evaluation.control_sae] if controlled else [])]
    return Work(single=sum(2 * product(study, backbone, name) for name in dictionaries)) + segmented_work(study, backbone, interface)


def segmented_work(study: Study, backbone: Backbone, interface: InterfaceSettings, dense: bool = False) -> Work:
    """One answer's way from codes to masks."""
    size, segmenter = interface_size(study, backbone, interface), backbone.segmenters[interface.model.segmenter]
    return Work(single=size.reading(sum(answer_lengths(study, backbone)), dense) + size.model.slots * mask_forward(segmenter))


def interface_evaluation_work(study: Study, backbone: Backbone, interface: InterfaceSettings, evaluated: Evaluated) -> Work:
    """`evaluate_interface` of one run, under gold thoughts too where it is taught."""
    own = evaluated_work(study, backbone, interface, evaluated.controlled)
    gold = Work(single=product(study, backbone, interface.model.sae)) + segmented_work(study, backbone, interface)
    return (own + gold if evaluated.taught else own) * evaluated.expressions


def joint_evaluation_work(study: Study, backbone: Backbone, joint: JointSettings, evaluated: Evaluated) -> Work:
    """`evaluate_joint` of one run: its own answers, and gold ones where it is taught."""
    interface = study.interface_variant(joint.interface)
    own = answer_work(study, backbone, study.evaluation.batch) + embedding_work(study, backbone, interface.model.segmenter, 1)
    own += evaluated_work(study, backbone, interface, evaluated.controlled)
    gold = answer_work(study, backbone, 1, False) + Work(single=product(study, backbone, interface.model.sae))
    gold += segmented_work(study, backbone, interface)
    return (own + gold if evaluated.taught else own) * evaluated.expressions


def joint_work(study: Study, backbone: Backbone, joint: JointSettings, gpus: int) -> Work:
    """`train_joint` of one variant and seed, on n GPUs together, with its validations."""
    interface, language = study.interface_variant(joint.interface), backbone.language
    hook, size = sae_layer(study, interface.model.sae), step_sequences(study, joint, backbone, gpus)
    prompts, count, upper = joint.prompts, joint.prompts * joint.policy.group, language.layers - hook
    trained = 4 if study.runtime.gradient_checkpointing else 3
    rows, length = replace(size, prompts=prompts).rows
    masks = learns_from_masks(joint)
    half = prompts * (2 * vision_forward(backbone) + blocks_forward(language, language.layers, size.prompt))
    half += prompts * encoder_forward(backbone.segmenters[interface.model.segmenter])
    half += count * decoding(language, size.prompt, size.answer, size.group)
    half += rows * blocks_forward(language, hook, length)
    half += (trained + (trained if masks else 1) + 1) * rows * blocks_forward(language, upper, length)
    half += (3 + 1) * count * 2.0 * language.head * size.answer
    mask = interface.model.slots * mask_forward(backbone.segmenters[interface.model.segmenter])
    reading = interface_size(study, backbone, interface).reading(size.length)
    learnt = 3 if joint.segmentation.weight else 0
    single = count * (product(study, backbone, interface.model.sae) + max(1, learnt) * reading + (1 + learnt) * mask)
    reads = gpus * decoding_reads(language, size.prompts, size.group, size.prompt, size.answer, dtype_bytes(study.runtime))
    step = arithmetic(study, half) + Work(single=single, read=reads)
    return step * joint.steps + validation_work(study, backbone, joint)


def validation_work(study: Study, backbone: Backbone, joint: JointSettings) -> Work:
    """All validations of a run: one before the first step, one behind every so many, and one at the end."""
    interface, times = study.interface_variant(joint.interface), 1 + math.ceil(joint.steps / joint.validation.every)
    once = answer_work(study, backbone, joint.prompts * joint.policy.group) + segmented_work(study, backbone, interface)
    once += Work(single=product(study, backbone, interface.model.sae)) + embedding_work(study, backbone, interface.model.segmenter, 1)
    return once * (times * joint.validation.samples)


def intervention_work(study: Study, backbone: Backbone, interface: InterfaceSettings) -> Work:
    """`intervene` on one run, from cached answers, as if every slot led: codes and a first look at all slots, then a reading and often a
    mask of one slot for each edit of it; a gradient is three of them."""
    settings = study.analysis.intervention
    size, segmenter = interface_size(study, backbone, interface), backbone.segmenters[interface.model.segmenter]
    reading, mask = size.reading(sum(answer_lengths(study, backbone))), mask_forward(segmenter)
    expressions, readings, masks = edited_slots(settings, interface.model.readout == "concepts")
    once = Work(single=product(study, backbone, interface.model.sae) + reading)
    edits = Work(single=interface.model.slots * (readings * reading + masks * mask))
    return once * ((expressions + settings.fitted) * len(settings.splits)) + edits * len(settings.splits)


def edited_slots(settings: InterventionSettings, concepts: bool) -> tuple[int, int, int]:
    """Expressions of a benchmark that are edited, and readings and masks of all edits of a slot of each; `concepts` are read, or not."""
    traced = settings.traceability
    observed = len(traced.sizes) + 2
    counts = [settings.sham, traced.samples]
    readings = 2 * settings.sham + traced.samples * (3 * (settings.steps + 2) + observed)
    masks = 2 * settings.sham + traced.samples * (3 + observed)
    if concepts:
        curve, alone = settings.curve, settings.attribution
        for count in curve.samples.values():
            readings += count * (2 + 5 * len(curve.masks)) + 5 * min(count, curve.grid) * (len(curve.fractions) - len(curve.masks))
            masks += count * (2 + 5 * len(curve.masks)) * bool(curve.masks)
        readings += settings.dose.samples * 2 * len(settings.dose.doses) + settings.composition.samples * 10
        readings += alone.samples * (alone.ablated + 3 * settings.steps + 2)
        masks += min(alone.samples, alone.mask_samples) * (alone.ablated + 1)
        counts += [*curve.samples.values(), settings.dose.samples, settings.composition.samples, alone.samples]
    expressions = max(counts)
    return expressions, readings + expressions * (1 + 3), masks + expressions


def exchange_work(study: Study, backbone: Backbone, variant: str) -> Work:
    """`exchange` on one run: codes of both sides of a pair, or of a sample and its donors, and a look at each edit.

    Swaps: on val both sides of two kinds, of one of them once more for the components of their states and of the other for each number of
    concepts; on test both sides of two kinds and what is expected, and hidden states that are encoded again."""
    settings, interface, pairs = study.analysis.exchange, study.interface_variant(variant), pair_counts(study)
    asked = {name for name, variants in settings.variants.items() if variant in variants}
    samples = settings.samples * sum(len(splits) for splits in settings.splits.values())
    sizes = len(settings.concepts)
    codes, looks = 0, 0
    if "swap" in asked and pairs:
        encoded = sum(arm in ("direction", "neurons", "components") for arms in (OWN_ARMS, OTHER_ARMS, STAY_ARMS) for arm in arms)
        codes += pairs["val"] * 2 * (2 + sizes) + pairs["test"] * (2 * 2 + 1 + encoded)
        looks += pairs["val"] * 3 * sizes + pairs["test"] * (1 + len(OWN_ARMS) + len(OTHER_ARMS) + 1 + 1 + len(STAY_ARMS))
    if "thought_swap" in asked:
        codes, looks = codes + samples * (1 + len(ARMS)), looks + samples * (2 + len(ARMS) + 1)
    if "paths" in asked:
        codes, looks = codes + samples * 2, looks + samples * (2**4 + 1)
    return Work(single=codes * product(study, backbone, interface.model.sae)) + segmented_work(study, backbone, interface) * looks


def atlas_work(study: Study, backbone: Backbone) -> Work:
    """`make_atlas`: codes, a first look and a gradient of every sample, as if every slot led; then of each concept that is removed a mask,
    and a reading without it, without it on each kind of token, and at each dose; of each carrier in a sample that is shown one of both."""
    settings, interface = study.report.atlas, study.interface_variant(study.experiments.interface.reference)
    reading = interface_size(study, backbone, interface).reading(sum(answer_lengths(study, backbone)))
    mask = mask_forward(backbone.segmenters[interface.model.segmenter])
    edited, shown = settings.effects.samples * len(study.analysis.intervention.splits), settings.samples
    readings = edited * (3 + settings.effects.concepts * (1 + 3 + len(settings.effects.doses))) + shown * (3 + settings.carriers)
    masks = edited * (1 + settings.effects.concepts) + shown * (2 + settings.carriers)
    once = Work(single=(edited + shown) * (product(study, backbone, interface.model.sae) + reading))
    return once + Work(single=interface.model.slots * (readings * reading + masks * mask))


def product(study: Study, backbone: Backbone, sae: str) -> float:
    """Operations of encoding, or of decoding, one answer's tokens with a dictionary."""
    return 2.0 * backbone.language.width * dictionary_width(study, sae, backbone.language.width) * sum(answer_lengths(study, backbone))
