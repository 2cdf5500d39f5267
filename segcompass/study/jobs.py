"""The jobs of a study: which stage makes which artefact, and which keys of the study it receives.

Snakemake's rules take their paths from `ARTEFACTS`, freezing takes the keys from `stage_params`, and the last
stage takes from `all_jobs` what must exist. Nothing else in the project states any of the three.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcompass.study.concepts import Neurons, RandomDictionary
from segcompass.study.study import Study

ARTEFACTS = {
    "prepare_data": "results/{study}/data",
    "train_backbone": "results/{study}/backbone",
    "cache_activations": "results/{study}/activations/layer{layer}",
    "train_sae": "results/{study}/sae/{sae}",
    "label_tokens": "results/{study}/labelled",
    "score_concepts": "results/{study}/concepts/{sae}",
    "cache_answers": "results/{study}/answers",
    "train_joint": "results/{study}/joint/{variant}/seed{seed}",
    "evaluate": "results/{study}/evaluate/{variant}/seed{seed}",
    "correlate": "results/{study}/correlate",
    "intervene": "results/{study}/intervene/{variant}/seed{seed}",
    "make_tables": "reports/{study}/tables",
    "make_figures": "reports/{study}/figures",
    "write_summary": "reports/{study}",
}
"""Stage -> folder of its artefact."""


@dataclass(frozen=True)
class Job:
    """One run of a stage; `wildcards` are those of its artefact's path, the study's name excepted."""

    stage: str
    wildcards: tuple[tuple[str, str], ...] = ()

    def artefact(self, study: str) -> Path:
        """Folder that the job fills, relative to the project's root."""
        return Path(ARTEFACTS[self.stage].format(study=study, **dict(self.wildcards)))

    def outputs(self, study: str) -> list[Path]:
        """Files by which Snakemake knows the artefact."""
        names = ("run.json", "numbers.json", "summary.md") if self.stage == "write_summary" else ("run.json",)
        return [self.artefact(study) / name for name in names]


def sae_like(study: Study, sae: str) -> str | None:
    """The trained dictionary that a control copies its sparsity from; None for one that copies none."""
    dictionary = study.saes.get(sae)
    return dictionary.like if isinstance(dictionary, RandomDictionary | Neurons) else None


def untrained(study: Study, sae: str) -> bool:
    """Whether a dictionary is a random one, which stands beside trained ones in their scores and has none of its own."""
    return isinstance(study.saes.get(sae), RandomDictionary)


def sae_layer(study: Study, sae: str) -> int:
    """The layer whose hidden states a dictionary is trained on."""
    swept = study.swept()
    return swept[sae].hook_layer if sae in swept else study.activations.hook_layer


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


def intervened_runs(study: Study) -> list[tuple[str, int]]:
    """Every (variant, seed) that the causal battery edits."""
    return [(v, seed) for v in study.analysis.intervention.variants for seed in study.variants[v].seeds]


def correlated_runs(study: Study) -> list[tuple[str, int]]:
    """Every (variant, seed) that the correlation reads."""
    return [(v, seed) for v in study.analysis.correlation.variants for seed in study.variants[v].seeds]


def all_jobs(study: Study) -> list[Job]:
    """Every job of the study, each behind those whose artefacts it reads."""
    saes = [*sorted(study.saes, key=lambda name: sae_like(study, name) is not None), *study.swept()]
    jobs = [Job("prepare_data"), Job("train_backbone")]
    if not study.activations.on_the_fly:
        jobs += [Job("cache_activations", (("layer", str(layer)),)) for layer in sorted({sae_layer(study, name) for name in saes})]
    jobs += [Job("train_sae", (("sae", name),)) for name in saes]
    jobs += [Job("label_tokens"), *(Job("score_concepts", (("sae", name),)) for name in scored_saes(study))]
    jobs += [Job("cache_answers")]
    for stage, runs in (("train_joint", study.runs()), ("evaluate", study.runs()), ("intervene", intervened_runs(study))):
        jobs += [Job(stage, (("variant", variant), ("seed", str(seed)))) for variant, seed in runs]
    return [*jobs, Job("correlate"), Job("make_tables"), Job("make_figures"), Job("write_summary")]


def stage_params(study: Study, job: Job) -> dict[str, Any]:
    """The keys of the study that a job may read, and no other."""
    raw = study.model_dump(mode="json")
    analysis = raw["analysis"]
    wildcards = dict(job.wildcards)
    model = {key: raw[key] for key in ("runtime", "answer", "threads")}
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
        case "cache_activations":
            return {"activations": raw["activations"] | {"hook_layer": int(wildcards["layer"])}} | model
        case "train_sae":
            swept = study.swept().get(wildcards["sae"])
            dictionary = swept.dictionary.model_dump(mode="json") if swept else raw["saes"][wildcards["sae"]]
            training = raw["sae_training"] | ({"steps": raw["sweep"]["steps"]} if swept else {})
            layer = sae_layer(study, wildcards["sae"])
            activations = raw["activations"] | {"hook_layer": layer}
            passes = {"activations": activations, "runtime": raw["runtime"], "answer": raw["answer"]}
            keys = {"dictionary": dictionary, "training": training, "threads": raw["threads"], "hook_layer": layer}
            return keys | {"on_the_fly": passes if study.activations.on_the_fly else None}
        case "label_tokens":
            return {"tokens": raw["concepts"]["tokens"], "hook_layer": raw["activations"]["hook_layer"]} | model
        case "score_concepts":
            return {"scores": raw["concepts"]["scores"], "bootstrap": analysis["bootstrap"], "threads": raw["threads"]}
        case "cache_answers":
            return study.joint.answered() | {"activations": {key: raw["activations"][key] for key in ("hook_layer", "dtype")}} | model
        case "train_joint":
            joint = study.variant(wildcards["variant"]).model_dump(mode="json")
            threshold = raw["evaluation"]["confidence_threshold"]
            return {"joint": joint, "seed": int(wildcards["seed"]), "confidence_threshold": threshold} | model
        case "evaluate":
            own = [name for name in study.evaluation.oracle_thoughts if name == wildcards["variant"]]
            return {"evaluation": raw["evaluation"] | {"oracle_thoughts": own}} | model
        case "intervene":
            return {
                "intervention": {key: value for key, value in analysis["intervention"].items() if key != "variants"},
                "bootstrap": analysis["bootstrap"],
                "confidence_threshold": raw["evaluation"]["confidence_threshold"],
                "batch": raw["evaluation"]["batch"],
            } | model
        case "correlate":
            correlation = {key: value for key, value in analysis["correlation"].items() if key != "variants"}
            return {
                "correlation": correlation,
                "bootstrap": analysis["bootstrap"],
                "splits": raw["evaluation"]["splits"],
                "runs": correlated_runs(study),
            }
        case "make_tables":
            return {"runs": runs, "splits": raw["evaluation"]["splits"], "bootstrap": analysis["bootstrap"]}
        case "make_figures":
            return {"report": raw["report"], "runs": runs, "saes": described_saes(study)}
        case "write_summary":
            return {"study": study.study, "runs": runs, "splits": raw["evaluation"]["splits"]}
    raise AssertionError(f"no such stage: {job.stage}")


def wildcard_names(stage: str) -> list[str]:
    """Wildcards of a stage's artefact in the order of its path, the study's name excepted."""
    return [name for name in re.findall(r"{(\w+)}", ARTEFACTS[stage]) if name != "study"]


def job_of(stage: str, wildcards: Mapping[str, str]) -> Job:
    """The job that a stage's wildcards name; the wildcard `study` is left out."""
    return Job(stage, tuple((key, str(value)) for key, value in wildcards.items() if key != "study"))
