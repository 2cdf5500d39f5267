"""What a study needs, as tables: parameters, memory a GPU, disk, GPU hours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segcompass.footprint.architecture import Backbone
from segcompass.footprint.corpus import (
    RELEASE_BYTES,
    RELEASE_SAMPLES,
    RELEASE_TOKENS,
    answered_corpus,
    evaluated_corpus,
    paired_corpus,
    release_sample_bytes,
    token_bytes,
    training_corpus,
)
from segcompass.footprint.disk import (
    cached_answer_bytes,
    cached_image_bytes,
    cached_target_bytes,
    dictionary_bytes,
    interface_checkpoint_bytes,
    interface_resume_bytes,
    joint_checkpoint_bytes,
    joint_resume_bytes,
    policy_bytes,
    token_box_bytes,
    warm_start_resume_bytes,
)
from segcompass.footprint.memory import (
    SINGLE,
    active_concepts,
    answer_lengths,
    dictionary_width,
    interface_bytes,
    model_parts,
    sampling_bytes,
    state_bytes,
    step_sequences,
    trained_parameters,
    update_bytes,
    warm_start_bytes,
)
from segcompass.footprint.runs import stage_works
from segcompass.footprint.sizes import backbone_sizes
from segcompass.footprint.work import A100, UTILISATION, Work
from segcompass.study.jobs import Job, all_jobs, answered_layers, sae_layer
from segcompass.study.shard_jobs import number_of_shards
from segcompass.study.study import Study
from segcompass.study.warm_start import WarmStartSettings


@dataclass(frozen=True)
class Table:
    """A titled table of text cells."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """GitHub's form; the first column is text, the others are figures."""
        rule = ["---"] + ["---:"] * (len(self.header) - 1)
        return "\n".join([f"**{self.title}**", "", *("| " + " | ".join(row) + " |" for row in [self.header, rule, *self.rows])])

    def plain(self) -> str:
        """Aligned columns for a terminal."""
        widths = [max(len(row[column]) for row in [self.header, *self.rows]) for column in range(len(self.header))]

        def line(row: list[str]) -> str:
            first, *others = (
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            return "  ".join([first, *others]).rstrip()

        return "\n".join([self.title, *map(line, [self.header, *self.rows])])


def scale_tables(study: Study, root: Path, gpus: int) -> list[Table]:
    """The tables of a study; the paths that it names are relative to `root`.

    Raises:
        InputError: sizes of a checkpoint or counts of a benchmark are not known.
    """
    backbone = backbone_sizes(study, root)
    return [
        size_table(study, backbone),
        parameter_table(study, backbone),
        memory_table(study, backbone, gpus),
        *([warm_start_table(study, backbone, study.warm_start, gpus)] if study.warm_start else []),
        interface_table(study, backbone, root),
        disk_table(study, backbone, root),
        hours_table(study, backbone, root, gpus),
    ]


def size_table(study: Study, backbone: Backbone) -> Table:
    """The numbers from which the other tables follow, of the reference of joint training."""
    model = study.interface_variant(study.joint.interface).model
    language, segmenter, size = backbone.language, backbone.segmenters[model.segmenter], step_sequences(study, study.joint, backbone, 1)
    known = {
        "d, f, width of hidden states and feed-forward layers": (language.width, language.mlp_width),
        "L, l, blocks and hook": (language.layers, sae_layer(study, model.sae)),
        "heads, key heads, head width": (language.heads, language.key_value_heads, language.head_width),
        "V, vocabulary": (language.vocabulary,),
        "v, p, visual and text tokens of a prompt": (backbone.vision.tokens, backbone.prompt_text),
        "P, A, T, tokens of prompt, answer, both": (size.prompt, size.answer, size.length),
        "B, G, K, prompts a step, rollouts, slots": (size.prompts, size.group, model.slots),
        "F, a, q, concepts, active ones a token, query width": (
            dictionary_width(study, model.sae, language.width),
            active_concepts(study, model.sae),
            model.query_width,
        ),
        "g, C, side and channels of SAM's embedding": (segmenter.grid, segmenter.channels),
    }
    return Table(
        f"{study.study}: sizes", ["", "values"], [[name, ", ".join(f"{value:,}" for value in values)] for name, values in known.items()]
    )


def parameter_table(study: Study, backbone: Backbone) -> Table:
    """Parts of the joint model, and the image encoders of SAMs that other interfaces prompt."""
    parts = model_parts(study, backbone, study.joint)
    rows = [[part.name, f"{part.parameters:,}", "yes" if part.trained else "no", _bytes(part.parameters * part.bytes)] for part in parts]
    trained = trained_parameters(parts)
    rows.append(["trained", f"{trained:,}", "", _bytes(trained * SINGLE)])
    rows.append(["all", f"{sum(part.parameters for part in parts):,}", "", _bytes(sum(part.parameters * part.bytes for part in parts))])
    used, frozen = study.interface_variant(study.joint.interface).model.segmenter, {part.name: part.bytes for part in parts}
    for name, size in backbone.segmenters.items():
        if name != used:
            rows.append([f"in place of SAM: {name}", f"{size.encoder:,}", "no", _bytes(size.encoder * frozen["SAM image encoder"])])
    return Table(f"{study.study}: parameters", ["part", "parameters", "trained", "stored"], rows)


def memory_table(study: Study, backbone: Backbone, gpus: int) -> Table:
    """Memory of `train_joint`, the reference, on one GPU alone and on each of several."""
    counts = sorted({1, gpus})
    size = step_sequences(study, study.joint, backbone, gpus)
    kinds: list[tuple[str, Callable[[Study, Backbone, int], dict[str, int]]]] = [
        ("", state_bytes),
        ("sampling: ", sampling_bytes),
        ("update: ", update_bytes),
    ]
    rows = [
        [f"{prefix}{name}", *(_bytes(found(study, backbone, count)[name]) for count in counts)]
        for prefix, found in kinds
        for name in found(study, backbone, gpus)
    ]
    peaks = [_peak(study, backbone, count) for count in counts]
    rows += _fitting(peaks)
    batch = f"{study.joint.prompts} prompts x {size.group} rollouts of {size.prompt} + {size.answer} tokens"
    title = f"{study.study}: memory of train_joint a GPU; {batch}"
    return Table(title, ["", *_gpu_counts(counts)], rows)


def warm_start_table(study: Study, backbone: Backbone, warm_start: WarmStartSettings, gpus: int) -> Table:
    """Memory of `warm_start`, on one GPU alone and on each of several."""
    counts = sorted({1, gpus})
    found = [warm_start_bytes(study, backbone, warm_start, count) for count in counts]
    rows = [[name, *(_bytes(parts[name]) for parts in found)] for name in found[0]]
    rows += _fitting([sum(parts.values()) for parts in found])
    prompt, answer = answer_lengths(study, backbone)
    batch = f"{warm_start.prompts} answers of {prompt} + {answer} tokens"
    return Table(f"{study.study}: memory of warm_start a GPU; {batch}", ["", *_gpu_counts(counts)], rows)


def _gpu_counts(counts: list[int]) -> list[str]:
    return [f"{count} GPU{'s' if count > 1 else ''}" for count in counts]


def interface_table(study: Study, backbone: Backbone, root: Path) -> Table:
    """Memory of `train_interface`, which runs on one GPU: of the reference, and of the variant that needs most."""
    answers, experiment = answered_corpus(study, root).expressions, study.experiments.interface
    found = {name: interface_bytes(study, backbone, study.interface_variant(name), answers) for name in experiment.variants}
    greatest = max(found, key=lambda name: sum(found[name].values()))
    shown = list(dict.fromkeys([experiment.reference, greatest]))
    rows = [[part, *(_bytes(found[name][part]) for name in shown)] for part in found[greatest]]
    rows += _fitting([sum(found[name].values()) for name in shown])
    return Table(f"{study.study}: memory of train_interface; {answers:,} cached answers", ["", *shown], rows)


def _fitting(peaks: list[int]) -> list[list[str]]:
    return [["peak", *map(_bytes, peaks)], [f"fits {A100.name}", *("yes" if peak < A100.memory else "no" for peak in peaks)]]


def disk_table(study: Study, backbone: Backbone, root: Path) -> Table:
    """Caches, dictionaries, checkpoints and resume points, by stage."""
    corpus, jobs = training_corpus(study, root), all_jobs(study)
    tokens, each = corpus.tokens(backbone, study.answer.max_thought_tokens), token_bytes(backbone.language.width, study.activations)
    kind = "counted" if corpus.counted else "estimated"
    layers = [job for job in jobs if job.stage == "cache_activations"]
    rows = [
        ["activation caches", f"{len(layers)} layers of {kind} {tokens:,} tokens of {each:,} bytes", _bytes(len(layers) * tokens * each)]
    ]
    divided = [tokens * each for job in layers if number_of_shards(study, job) > 1]
    for job in jobs:
        if job.stage in ("cache_answers", "embed_images"):
            what, size = _shared(study, backbone, root, job)
            rows.append([*what, _bytes(size)])
            divided += [size] if number_of_shards(study, job) > 1 else []
    if study.warm_start:
        rows.insert(0, ["warm-started policy", "1", _bytes(policy_bytes(study, backbone))])
    saes = [dict(job.wildcards)["sae"] for job in jobs if job.stage == "train_sae"]
    rows.append(["dictionaries", f"{len(saes)}", _bytes(sum(dictionary_bytes(study, backbone, name) for name in saes))])
    interfaces = [study.interface_variant(name) for name, _ in study.experiments.interface.runs()]
    joints = [study.joint_variant(name) for name, _ in study.experiments.signals.runs()]
    held = {
        "interface checkpoints": [interface_checkpoint_bytes(study, backbone, interface) for interface in interfaces],
        "joint checkpoints": [joint_checkpoint_bytes(study, backbone, joint) for joint in joints],
    }
    rows += [[name, f"{len(sizes)} runs of at most {_bytes(max(sizes))}", _bytes(sum(sizes))] for name, sizes in held.items()]
    resumed = {
        "interface": max(interface_resume_bytes(study, backbone, interface) for interface in interfaces),
        "joint": max(joint_resume_bytes(study, backbone, joint) for joint in joints),
    }
    resumed |= {"warm start": warm_start_resume_bytes(study, backbone)} if study.warm_start else {}
    rows += [[f"resume point, {name}", "of the largest run under way", _bytes(size)] for name, size in resumed.items()]
    if divided:
        rows.append(["shards of a cache", "until the largest is gathered", _bytes(max(divided))])
    return Table(f"{study.study}: disk", ["", "of", "bytes"], rows)


def _shared(study: Study, backbone: Backbone, root: Path, job: Job) -> tuple[list[str], int]:
    """Name, contents and bytes of a cache that the runs share: answers of one part, or images of one part embedded by one SAM."""
    part = dict(job.wildcards)["part"]
    corpora = {"training": answered_corpus, "pairs": paired_corpus}
    corpus = corpora.get(part, evaluated_corpus)(study, root)
    kind = "counted" if corpus.counted else "estimated"
    if job.stage == "cache_answers":
        layers = answered_layers(study, part)
        each = cached_answer_bytes(study, backbone, len(layers))
        what = f"{kind} {corpus.expressions:,} of {each:,} bytes, layers {', '.join(map(str, layers))}"
        return [f"answers, {part}", what], corpus.expressions * each + corpus.images * token_box_bytes(backbone)
    name = dict(job.wildcards)["segmenter"]
    each = cached_image_bytes(study, backbone.segmenters[name])
    targets = corpus.expressions * cached_target_bytes(study, backbone.segmenters[name], 1) if part == "training" else 0
    what = f"{kind} {corpus.images:,} images of {each:,} bytes" + (", a mask an answer" if targets else "")
    return [f"embeddings, {name}, {part}", what], corpus.images * each + targets


def hours_table(study: Study, backbone: Backbone, root: Path, gpus: int) -> Table:
    """GPU hours of every stage that runs a model."""
    rows, total = [], 0.0
    for stage, works in stage_works(study, backbone, root, gpus).items():
        whole = sum(works, Work())
        hours = whole.hours(A100, UTILISATION)
        total += hours
        longest = max(work.hours(A100, UTILISATION) for work in works)
        rows.append(
            [stage, f"{len(works)}", _power(whole.half), _power(whole.single), _bytes(whole.read), f"{longest:,.1f}", f"{hours:,.0f}"]
        )
    rows.append(["all", "", "", "", "", "", f"{total:,.0f}"])
    header = ["stage", "jobs", "operations, half", "operations, single", "read while decoding", "hours, longest job", "hours, all jobs"]
    return Table(f"{study.study}: GPU hours ({A100.name}; {100 * UTILISATION:.0f} % of its peaks)", header, rows)


def cache_table(study: Study, root: Path) -> Table:
    """The activation cache beside the release's, whose samples are padded."""
    backbone, settings = backbone_sizes(study, root), study.activations
    width, corpus = backbone.language.width, training_corpus(study, root)
    each, thought = token_bytes(width, settings), study.answer.max_thought_tokens
    text = backbone.prompt_text + thought
    tokens, padded = corpus.tokens(backbone, thought), release_sample_bytes(width)
    kind = "counted" if corpus.counted else "estimated"
    rows = [
        ["bytes a token", f"{width} x {settings.dtype} + 9", f"{each:,}"],
        [
            "tokens of the corpus",
            f"{corpus.images:,} images x {backbone.vision.tokens} + {corpus.expressions:,} x {text}",
            f"{kind} {tokens:,}",
        ],
        ["cache", "", _bytes(tokens * each)],
        ["an expression of the cache", "its image's share included", _bytes(tokens * each / corpus.expressions)],
        ["release, a sample", f"{RELEASE_TOKENS:,} padded positions x {width} x {RELEASE_BYTES}", _bytes(padded)],
        ["release, its samples", f"{RELEASE_SAMPLES:,}", _bytes(RELEASE_SAMPLES * padded)],
        ["release, as many samples as ours", f"{corpus.expressions:,}", _bytes(corpus.expressions * padded)],
        ["ours / release", "", f"{tokens * each / (corpus.expressions * padded):.3f}"],
    ]
    return Table(f"{study.study}: activation cache", ["", "of", "size"], rows)


def _peak(study: Study, backbone: Backbone, gpus: int) -> int:
    phases = (sampling_bytes(study, backbone, gpus), update_bytes(study, backbone, gpus))
    return sum(state_bytes(study, backbone, gpus).values()) + max(sum(phase.values()) for phase in phases)


def _bytes(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 999.5 * size else f"{count / size:,.0f} {unit}"
    return f"{count:.0f} B"


def _power(count: float) -> str:
    return f"{count:.2e}" if count else "0"
