"""What a study needs, as tables: parameters, memory a GPU, disk, GPU hours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segcompass.footprint.architecture import Backbone
from segcompass.footprint.corpus import (
    RELEASE_BYTES,
    RELEASE_SAMPLES,
    RELEASE_TOKENS,
    evaluated_expressions,
    release_sample_bytes,
    token_bytes,
    training_corpus,
)
from segcompass.footprint.memory import (
    SINGLE,
    dictionary_parameters,
    dictionary_width,
    model_parts,
    sampling_bytes,
    state_bytes,
    step_sequences,
    update_bytes,
)
from segcompass.footprint.sizes import backbone_sizes
from segcompass.footprint.work import (
    A100,
    UTILISATION,
    Work,
    cache_work,
    cached_answers_work,
    dictionary_work,
    evaluation_work,
    intervention_work,
    joint_work,
    on_the_fly_work,
)
from segcompass.study.jobs import intervened_runs
from segcompass.study.study import Study

ADAMW_STATES = 3
"""A resume point holds the trained weights and AdamW's two moments."""


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
    """The five tables of a study; the paths that it names are relative to `root`.

    Raises:
        InputError: sizes of a checkpoint or counts of a benchmark are not known.
    """
    backbone = backbone_sizes(study, root)
    return [
        size_table(study, backbone),
        parameter_table(study, backbone),
        memory_table(study, backbone, gpus),
        disk_table(study, backbone, root),
        hours_table(study, backbone, root, gpus),
    ]


def size_table(study: Study, backbone: Backbone) -> Table:
    """The numbers from which the other tables follow."""
    language, segmenter, size = backbone.language, backbone.segmenter, step_sequences(study, study.joint, backbone, 1)
    features = dictionary_width(study, study.joint.interface.sae, language.width)
    known = {
        "d, f, width of hidden states and feed-forward layers": (language.width, language.mlp_width),
        "L, l, blocks and hook": (language.layers, study.activations.hook_layer),
        "heads, key heads, head width": (language.heads, language.key_value_heads, language.head_width),
        "V, vocabulary": (language.vocabulary,),
        "v, p, visual and text tokens of a prompt": (backbone.vision.tokens, backbone.prompt_text),
        "P, A, T, tokens of prompt, answer, both": (size.prompt, size.answer, size.length),
        "B, G, K, prompts a step, rollouts, slots": (size.prompts, size.group, study.answer.slots),
        "F, q, concepts and query width": (features, study.joint.interface.query_width),
        "g, C, side and channels of SAM's embedding": (segmenter.grid, segmenter.channels),
    }
    return Table(
        f"{study.study}: sizes", ["", "values"], [[name, ", ".join(f"{value:,}" for value in values)] for name, values in known.items()]
    )


def parameter_table(study: Study, backbone: Backbone) -> Table:
    """Parts of the joint model."""
    parts = model_parts(study, backbone)
    rows = [[part.name, f"{part.parameters:,}", "yes" if part.trained else "no", _bytes(part.parameters * part.bytes)] for part in parts]
    trained = sum(part.parameters for part in parts if part.trained)
    rows.append(["trained", f"{trained:,}", "", _bytes(trained * SINGLE)])
    rows.append(["all", f"{sum(part.parameters for part in parts):,}", "", _bytes(sum(part.parameters * part.bytes for part in parts))])
    return Table(f"{study.study}: parameters", ["part", "parameters", "trained", "stored"], rows)


def memory_table(study: Study, backbone: Backbone, gpus: int) -> Table:
    """Memory of `train_joint`, variant `full`, on one GPU alone and on each of several."""
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
    rows.append(["peak", *map(_bytes, peaks)])
    rows.append([f"fits {A100.name}", *("yes" if peak < A100.memory else "no" for peak in peaks)])
    batch = f"{study.joint.prompts} prompts x {size.group} rollouts of {size.prompt} + {size.answer} tokens"
    title = f"{study.study}: memory of train_joint a GPU; {batch}"
    return Table(title, ["", *(f"{count} GPU{'s' if count > 1 else ''}" for count in counts)], rows)


def cached_answer_bytes(study: Study, backbone: Backbone) -> int:
    """Bytes of a cached answer with one object: hidden states and types of its tokens, reference states, embedding, mask and its frame."""
    width, segmenter, value = backbone.language.width, backbone.segmenter, 4 if study.activations.dtype == "float32" else 2
    tokens = backbone.vision.tokens + backbone.prompt_text + study.answer.longest
    side = 4 * segmenter.grid
    numbers = tokens * width + study.answer.slots * width + segmenter.channels * segmenter.grid**2 + side**2
    return tokens + side**2 + value * numbers


def disk_table(study: Study, backbone: Backbone, root: Path) -> Table:
    """Caches, checkpoints and resume points."""
    width, corpus = backbone.language.width, training_corpus(study, root)
    tokens, each = corpus.tokens(backbone, study.answer.max_thought_tokens), token_bytes(width, study.activations)
    trained = sum(part.parameters for part in model_parts(study, backbone) if part.trained) * SINGLE
    runs = len(study.runs())
    dictionaries = sum(dictionary_parameters(width, dictionary_width(study, name, width)) for name in study.saes) * SINGLE
    kind = "counted" if corpus.counted else "estimated"
    prompts, answer = study.joint.warm_up.prompts, cached_answer_bytes(study, backbone)
    rows = [
        ["activation cache", f"{kind} {tokens:,} tokens of {each:,} bytes", _bytes(0 if study.activations.on_the_fly else tokens * each)],
        ["cached answers", f"{prompts:,} answers of {answer:,} bytes, each with an image of its own", _bytes(prompts * answer)],
        ["dictionaries", f"{len(study.saes)}", _bytes(dictionaries)],
        ["joint checkpoints", f"{runs} runs of {_bytes(trained)}", _bytes(runs * trained)],
        ["resume point", "of a run under way", _bytes(ADAMW_STATES * trained)],
    ]
    return Table(f"{study.study}: disk", ["", "of", "bytes"], rows)


def stage_works(study: Study, backbone: Backbone, root: Path, gpus: int) -> dict[str, list[Work]]:
    """Stage that runs a model -> work of each of its jobs."""
    corpus, expressions = training_corpus(study, root), evaluated_expressions(study, root)
    variants = {name: study.variant(name) for name in study.variants}
    tokens = corpus.tokens(backbone, study.answer.max_thought_tokens)
    if study.activations.on_the_fly:
        dictionaries = {"train_sae": [on_the_fly_work(study, backbone, name, corpus.expressions, tokens) for name in study.saes]}
    else:
        dictionaries = {"cache_activations": [cache_work(study, backbone, corpus.expressions)]}
        dictionaries["train_sae"] = [dictionary_work(study, backbone, name, tokens) for name in study.saes]
    return dictionaries | {
        "cache_answers": [cached_answers_work(study, backbone)],
        "train_joint": [joint_work(study, variants[name], backbone, gpus) for name, _ in study.runs()],
        "evaluate": [evaluation_work(study, variants[name], backbone, expressions) for name, _ in study.runs()],
        "intervene": [intervention_work(study, variants[name], backbone) for name, _ in intervened_runs(study)],
    }


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
