"""The jobs of a study: which stage makes which artefact, and which keys of the study it receives.

Snakemake's rules take their paths from `ARTEFACTS`, freezing takes the keys from `stage_params`, and the last
stage takes from `all_jobs` what must exist. Nothing else in the project states any of the three, but for DVC's
copy of the keys, which `segcompass.study.dvc_keys` writes and a test compares.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcompass.study.concepts import Neurons, RandomDictionary
from segcompass.study.described import control_variants, described_experiments
from segcompass.study.exchange import has_pairs
from segcompass.study.experiments import EXPERIMENTS, Experiment, Run
from segcompass.study.policy import policy_key
from segcompass.study.repeated import checkpoints, other_seeds
from segcompass.study.study import Study

ARTEFACTS = {
    "prepare_data": "results/{study}/data",
    "train_backbone": "results/{study}/backbone",
    "warm_start": "results/{study}/warm_start",
    "cache_activations": "results/{study}/activations/layer{layer}",
    "train_sae": "results/{study}/sae/{sae}",
    "label_tokens": "results/{study}/labelled",
    "score_concepts": "results/{study}/concepts/{sae}",
    "cache_answers": "results/{study}/answers/{part}",
    "embed_images": "results/{study}/embeddings/{segmenter}/{part}",
    "train_interface": "results/{study}/interface/{variant}/seed{seed}",
    "evaluate_interface": "results/{study}/evaluate/interface/{variant}/seed{seed}",
    "train_joint": "results/{study}/joint/{variant}/seed{seed}",
    "evaluate_joint": "results/{study}/evaluate/signals/{variant}/seed{seed}",
    "correlate": "results/{study}/correlate",
    "intervene": "results/{study}/intervene/{variant}/seed{seed}",
    "exchange": "results/{study}/exchange/{variant}/seed{seed}",
    "judge_claims": "reports/{study}/claims",
    "make_tables": "reports/{study}/tables",
    "make_figures": "reports/{study}/figures",
    "make_atlas": "reports/{study}/atlas",
    "write_summary": "reports/{study}",
}
"""Stage -> folder of its artefact."""

EVALUATE = {"interface": "evaluate_interface", "signals": "evaluate_joint"}
EMBEDDED_PARTS = ("training", "evaluation")
"""Parts of the study whose images are embedded: those of the training prompts that are answered, and those that are evaluated."""
TRAIN = {"interface": "train_interface", "signals": "train_joint"}
INTERVENE = {"interface": "intervene"}
EXCHANGE = {"interface": "exchange"}
"""Experiment -> the stage that trains its runs, the one that evaluates them, and those that edit them."""


@dataclass(frozen=True)
class Job:
    """One run of a stage; `wildcards` are those of its artefact's path, the study's name excepted."""

    stage: str
    wildcards: tuple[tuple[str, str], ...] = ()

    def artefact(self, study: str) -> Path:
        """Folder that the job fills, relative to the project's root."""
        return Path(ARTEFACTS[self.stage].format(study=study, **dict(self.wildcards)))


def sae_like(study: Study, sae: str) -> str | None:
    """The trained dictionary that a control copies its sparsity from; None for one that copies none."""
    dictionary = study.saes.get(sae)
    return dictionary.like if isinstance(dictionary, RandomDictionary | Neurons) else None


def untrained(study: Study, sae: str) -> bool:
    """Whether a dictionary is a random one, which stands beside trained ones in their scores and has none of its own."""
    return isinstance(study.saes.get(sae), RandomDictionary)


def sae_layer(study: Study, sae: str) -> int:
    """The layer whose hidden states a dictionary is trained on; a KeyError if the study has none of the name."""
    return study.activations.hook_layer if sae in study.saes else study.swept()[sae].hook_layer


def scored_saes(study: Study) -> list[str]:
    """Dictionaries that the concept study scores: those of `saes` that are not random, each beside its untrained control."""
    return [name for name in study.saes if not untrained(study, name)]


def control_of(study: Study, sae: str) -> str:
    """The untrained dictionary that copies a trained one's sparsity; `evaluation.control_sae` where the study lists none."""
    own = (name for name in study.saes if untrained(study, name) and sae_like(study, name) == sae)
    return next(own, study.evaluation.control_sae)


def described_saes(study: Study) -> dict[str, dict[str, Any]]:
    """What a report says of each dictionary, its line of the frontier included.

    Random ones have the width of their trained twin; hidden units have that of the hidden states, which no study states: null.
    """
    found: dict[str, dict[str, Any]] = {}
    swept = study.swept()
    for name, dictionary in {**study.saes, **{name: one.dictionary for name, one in swept.items()}}.items():
        layer = sae_layer(study, name)
        wide = study.saes[dictionary.like] if isinstance(dictionary, RandomDictionary) else dictionary
        width = getattr(wide, "width", None)
        line = f"{dictionary.architecture}, layer {layer}, {width} wide" if name in swept else None
        found[name] = {"architecture": dictionary.architecture, "hook_layer": layer, "width": width, "line": line}
    return found


def answer_parts(study: Study) -> list[str]:
    """What is answered: training prompts, every sample that is evaluated, these with the gold thought where it is asked for, and the
    samples of counterfactual pairs where these are exchanged."""
    gold = ["gold"] if study.evaluation.oracle_thoughts.get("interface") else []
    return [*EMBEDDED_PARTS, *gold, *(["pairs"] if swapped_variants(study) else [])]


def swapped_variants(study: Study) -> list[str]:
    """Variants whose concepts are exchanged between counterfactual pairs; none where the data have no pairs."""
    return study.analysis.exchange.variants.get("swap", []) if has_pairs(study.data) else []


def answered_layers(study: Study, part: str) -> list[int]:
    """The layers whose hidden states cached answers hold: those of the dictionaries that any interface reads, ascending."""
    chosen = {"gold": study.evaluation.oracle_thoughts.get("interface", []), "pairs": swapped_variants(study)}
    variants = chosen.get(part, list(study.experiments.interface.variants))
    return sorted({sae_layer(study, study.interface_keys(name)["model"]["sae"]) for name in variants})


def used_segmenters(study: Study) -> list[str]:
    """SAMs that some interface prompts, in the backbone's order."""
    used = {study.interface_keys(name)["model"]["segmenter"] for name in study.experiments.interface.variants}
    return [name for name in study.backbone.segmenters if name in used]


def embedded_parts(study: Study) -> list[tuple[str, str]]:
    """(SAM, part) of every cache of image embeddings: pairs by the SAMs of the variants that are swapped, the other parts by all."""
    swapped = {study.interface_keys(name)["model"]["segmenter"] for name in swapped_variants(study)}
    return [(name, part) for name in used_segmenters(study) for part in (*EMBEDDED_PARTS, *(["pairs"] if name in swapped else []))]


def listed_runs(study: Study, variants: Mapping[Experiment, list[str]]) -> list[Run]:
    """Every run of the variants that a section of the study lists by experiment."""
    return [
        (name, variant, seed)
        for name in EXPERIMENTS
        for variant in variants.get(name, [])
        for seed in study.experiment(name).variants[variant].seeds
    ]


def intervened_runs(study: Study) -> list[Run]:
    """Every run whose own codes the causal battery edits."""
    return _edited(study, study.analysis.intervention.variants)


def edited_readouts(study: Study) -> list[tuple[str, str]]:
    """The first variant of each read-out whose codes, words or states the causal battery edits, and what it reads."""
    readouts = {name: study.interface_variant(name).model.readout for name in study.analysis.intervention.variants}
    return [(next(name for name in readouts if readouts[name] == readout), readout) for readout in dict.fromkeys(readouts.values())]


def exchanged_runs(study: Study) -> list[Run]:
    """Every run that takes part in an exchange of codes, in the order of the experiment."""
    asked = {name for variants in study.analysis.exchange.variants.values() for name in variants}
    return _edited(study, [name for name in study.experiments.interface.variants if name in asked])


def _edited(study: Study, variants: Sequence[str]) -> list[Run]:
    seeds = {name: variant.seeds[: study.analysis.edited_seeds] for name, variant in study.experiments.interface.variants.items()}
    return [("interface", name, seed) for name in variants for seed in seeds[name]]


def correlated_runs(study: Study) -> list[Run]:
    """Every run that the correlation reads."""
    return listed_runs(study, study.analysis.correlation.variants)


def atlas_runs(study: Study) -> list[Run]:
    """The one run that the atlas shows: the first seed of the interface experiment's reference."""
    return listed_runs(study, {"interface": [study.experiments.interface.reference]})[:1]


def atlas_sae(study: Study) -> str:
    """The dictionary that the atlas shows: the one that its run reads."""
    return str(study.interface_keys(study.experiments.interface.reference)["model"]["sae"])


def atlas_dictionaries(study: Study) -> dict[str, str]:
    """The other dictionaries of that one's layer, and what kind each is."""
    trained = study.saes | {name: swept.dictionary for name, swept in study.swept().items()}
    alike = [name for name in trained if name != atlas_sae(study) and sae_layer(study, name) == sae_layer(study, atlas_sae(study))]
    decoders = {name: getattr(trained[name], "decoder", "trained") for name in alike}
    held = {name: f"{decoder} decoder" if isinstance(decoder, str) else "soft-frozen decoder" for name, decoder in decoders.items()}
    return {name: "untrained" if untrained(study, name) else f"{trained[name].architecture}, {held[name]}" for name in alike}


def split_lists(study: Study, runs: Sequence[Run]) -> dict[str, dict[str, dict[str, list[str]]]]:
    """What some runs are evaluated on: experiment -> variant -> benchmark -> splits."""
    variants = {name: dict.fromkeys(variant for experiment, variant, _ in runs if experiment == name) for name in EXPERIMENTS}
    return {name: {variant: study.evaluated_splits(name, variant) for variant in of_it} for name, of_it in variants.items()}


def run_job(stages: Mapping[str, str], run: Run) -> Job:
    """The job of a run in the stage of its experiment: `TRAIN`, `EVALUATE`, `INTERVENE` or `EXCHANGE`."""
    experiment, variant, seed = run
    return Job(stages[experiment], (("variant", variant), ("seed", str(seed))))


def start_job(study: Study, run: Run) -> Job:
    """The interface that a run of the training-signal experiment begins with."""
    _, variant, seed = run
    return run_job(TRAIN, ("interface", study.joint_variant(variant).interface, seed))


def all_jobs(study: Study) -> list[Job]:
    """Every job of the study, each behind those whose artefacts it reads."""
    saes = [*sorted(study.saes, key=lambda name: sae_like(study, name) is not None), *study.swept()]
    jobs = [Job("prepare_data"), Job("train_backbone"), *([Job("warm_start")] if study.warm_start else [])]
    if not study.activations.on_the_fly:
        jobs += [Job("cache_activations", (("layer", str(layer)),)) for layer in sorted({sae_layer(study, name) for name in saes})]
    jobs += [Job("train_sae", (("sae", name),)) for name in saes]
    jobs += [Job("label_tokens"), *(Job("score_concepts", (("sae", name),)) for name in scored_saes(study))]
    jobs += [Job("cache_answers", (("part", part),)) for part in answer_parts(study)]
    jobs += [Job("embed_images", (("segmenter", name), ("part", part))) for name, part in embedded_parts(study)]
    jobs += [run_job(stages, run) for stages in (TRAIN, EVALUATE) for run in study.runs()]
    jobs += [run_job(INTERVENE, run) for run in intervened_runs(study)]
    jobs += [run_job(EXCHANGE, run) for run in exchanged_runs(study)]
    return [*jobs, Job("correlate"), Job("judge_claims"), Job("make_tables"), Job("make_figures"), Job("make_atlas"), Job("write_summary")]


def stage_params(study: Study, job: Job, raw: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys of the study that a job may read, and no other; every job computes under the study's instruction set.

    `raw` is the study as `model_dump(mode="json")` writes it, where the caller has it already.
    """
    keys = _own_keys(study, job, study.model_dump(mode="json") if raw is None else raw)
    runtime = keys.get("runtime", {}) | {"instruction_set": study.runtime.instruction_set}
    return keys | {"runtime": runtime} | policy_key(study, job.stage)


def _own_keys(study: Study, job: Job, raw: Mapping[str, Any]) -> dict[str, Any]:
    analysis = raw["analysis"]
    wildcards = dict(job.wildcards)
    machine = {key: raw[key] for key in ("runtime", "threads")}
    model = machine | {"answer": raw["answer"]}
    runs = study.runs()
    match job.stage:
        case "prepare_data":
            return {"data": raw["data"]}
        case "train_backbone":
            if raw["backbone"]["source"] == "shipped":
                return {"backbone": {key: raw["backbone"][key] for key in ("source", "folder")}}
            if raw["backbone"]["source"] == "pretrained":
                return {"backbone": raw["backbone"]}
            return {key: raw[key] for key in ("backbone", "answer", "threads", "data")}
        case "warm_start":
            keys = {"warm_start": raw["warm_start"], "benchmarks": raw["answers"]["benchmarks"]}
            return keys | {"hook_layer": raw["activations"]["hook_layer"]} | model
        case "cache_activations":
            return {"activations": raw["activations"] | {"hook_layer": int(wildcards["layer"])}} | model
        case "train_sae":
            swept = study.swept().get(wildcards["sae"])
            dictionary = swept.dictionary.model_dump(mode="json") if swept else raw["saes"][wildcards["sae"]]
            training = raw["sae_training"] | ({"steps": raw["sweep"]["steps"]} if swept else {})
            layer = sae_layer(study, wildcards["sae"])
            passes = {"activations": raw["activations"] | {"hook_layer": layer}, "runtime": raw["runtime"], "answer": raw["answer"]}
            keys = {"dictionary": dictionary, "training": training, "threads": raw["threads"], "hook_layer": layer}
            keys |= {"runtime": {"device": raw["runtime"]["device"]}}
            return keys | {"on_the_fly": passes if study.activations.on_the_fly else None}
        case "label_tokens":
            return {"tokens": raw["concepts"]["tokens"], "hook_layer": raw["activations"]["hook_layer"]} | model
        case "score_concepts":
            scoring = {"scores": raw["concepts"]["scores"], "bootstrap": analysis["bootstrap"], "threads": raw["threads"]}
            return scoring | {"control_sae": control_of(study, wildcards["sae"])}
        case "cache_answers":
            part = wildcards["part"]
            keys = {"part": part, "layers": answered_layers(study, part), "dtype": raw["activations"]["dtype"]} | model
            if part == "training":
                return keys | {"answers": raw["answers"]}
            if part == "pairs":
                return keys | {"pairs": analysis["exchange"]["pairs"], "answers": {"batch": raw["answers"]["batch"]}}
            return keys | {"splits": raw["evaluation"]["splits"], "answers": {"batch": raw["answers"]["batch"]}}
        case "embed_images":
            keys = {"segmenter": wildcards["segmenter"], "part": wildcards["part"], "dtype": raw["activations"]["dtype"]}
            keys |= machine
            if wildcards["part"] == "training":
                return keys | {"answers": {key: raw["answers"][key] for key in ("benchmarks", "prompts", "seed")}}
            if wildcards["part"] == "pairs":
                return keys | {"pairs": analysis["exchange"]["pairs"]}
            return keys | {"splits": raw["evaluation"]["splits"]}
        case "train_interface":
            interface = study.interface_variant(wildcards["variant"]).model_dump(mode="json")
            return {"interface": interface, "seed": int(wildcards["seed"])} | machine
        case "evaluate_interface":
            return {"evaluation": _evaluation(study, "interface", wildcards["variant"])} | machine
        case "train_joint":
            joint = study.joint_variant(wildcards["variant"]).model_dump(mode="json")
            keys = {"joint": joint, "seed": int(wildcards["seed"]), "benchmarks": raw["answers"]["benchmarks"]}
            return keys | {"confidence_threshold": raw["evaluation"]["confidence_threshold"]} | model
        case "evaluate_joint":
            return {"evaluation": _evaluation(study, "signals", wildcards["variant"])} | model
        case "intervene":
            return {
                "intervention": {key: value for key, value in analysis["intervention"].items() if key != "variants"},
                "confidence_threshold": raw["evaluation"]["confidence_threshold"],
                "batch": raw["evaluation"]["batch"],
            } | machine
        case "exchange":
            return {
                "exchange": _exchange(study, wildcards["variant"]),
                "confidence_threshold": raw["evaluation"]["confidence_threshold"],
                "batch": raw["evaluation"]["batch"],
            } | machine
        case "correlate":
            correlation = {key: value for key, value in analysis["correlation"].items() if key != "variants"}
            return {
                "correlation": correlation,
                "bootstrap": {key: analysis["bootstrap"][key] for key in ("level", "seed")},
                "splits": split_lists(study, correlated_runs(study)),
                "runs": correlated_runs(study),
            }
        case "judge_claims":
            keys = {"claims": raw["claims"], "runs": runs, "splits": split_lists(study, runs), "controls": control_variants(study)}
            keys |= {"order": [*study.claims.stated, *study.claims.untested]}  # frozen sections are sorted
            repeats = {"seeds": other_seeds(study), "checkpoints": checkpoints(study)}
            keys |= {"repeats": {name: found for name, found in repeats.items() if len(found["saes"]) > 1}}
            return keys | {"permutations": analysis["correlation"]["permutations"], "seed": analysis["bootstrap"]["seed"]}
        case "make_tables":
            keys = {"runs": runs, "splits": split_lists(study, runs), "bootstrap": {"level": analysis["bootstrap"]["level"]}}
            return keys | {"experiments": described_experiments(study)} | {key: analysis[key] for key in ("families", "reinforcement")}
        case "make_figures":
            references = {name: study.experiment(name).reference for name in EXPERIMENTS}
            report = {key: raw["report"][key] for key in ("qualitative_samples", "qualitative_splits", "calibration")}
            drawn = {"report": report, "runs": runs, "saes": described_saes(study), "references": references}
            drawn |= {"dictionary": atlas_sae(study), "readouts": edited_readouts(study)}
            return drawn | {"bootstrap": {"level": analysis["bootstrap"]["level"]}}
        case "make_atlas":
            return {
                "study": study.study,
                "atlas": raw["report"]["atlas"],
                "runs": atlas_runs(study),
                "dictionaries": atlas_dictionaries(study),
                "splits": study.tested_splits(),
                "edited": analysis["intervention"]["splits"],
                "bootstrap": analysis["bootstrap"],
                "confidence_threshold": raw["evaluation"]["confidence_threshold"],
                "batch": raw["evaluation"]["batch"],
            } | machine
        case "write_summary":
            return {"study": study.study, "runs": runs, "splits": split_lists(study, runs)}
    raise AssertionError(f"no such stage: {job.stage}")


def _evaluation(study: Study, experiment: Experiment, variant: str) -> dict[str, Any]:
    """The keys of `evaluation` that one variant's runs read: of what is asked of some variants, whether it is asked of this one."""
    raw = study.evaluation.model_dump(mode="json")
    own = {name: {experiment: [variant]} if variant in raw[name].get(experiment, []) else {} for name in ("controls", "oracle_thoughts")}
    return raw | own | {"splits": study.evaluated_splits(experiment, variant), "on_val": {}}


def _exchange(study: Study, variant: str) -> dict[str, Any]:
    """The keys of `analysis.exchange` that one variant's runs read: which interventions, in place of which variants."""
    raw = study.analysis.exchange.model_dump(mode="json")
    variants = raw.pop("variants")
    return raw | {"interventions": [name for name, listed in variants.items() if variant in listed], "paired": has_pairs(study.data)}


def wildcard_names(stage: str) -> list[str]:
    """Wildcards of a stage's artefact in the order of its path, the study's name excepted."""
    return [name for name in re.findall(r"{(\w+)}", ARTEFACTS[stage]) if name != "study"]


def job_of(stage: str, wildcards: Mapping[str, str]) -> Job:
    """The job that a stage's wildcards name; the wildcard `study` is left out."""
    return Job(stage, tuple((key, str(value)) for key, value in wildcards.items() if key != "study"))
