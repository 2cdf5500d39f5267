"""The study file as one typed, frozen value, with the checks that span sections."""

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from segcompass.datasets.splits import EVALUATION_SPLITS
from segcompass.study.analysis import AnalysisSettings, EvaluationSettings, ReportSettings
from segcompass.study.backbone import AnswerSettings, BackboneSettings, EmbeddedBackbone, RuntimeSettings
from segcompass.study.concepts import ActivationSettings, Dictionary, Neurons, Pca, RandomDictionary, SaeTrainingSettings, Trained
from segcompass.study.data import DataSettings, RootSettings, WorldSettings
from segcompass.study.joint import JointSettings
from segcompass.study.scoring import ConceptSettings, SweepSettings, SweptDictionary, sweep_contradictions, swept_dictionaries
from segcompass.study.section import Section


class VariantSettings(Section):
    """One row of the variants: which keys of `joint` differ from `full`, and which seeds are trained."""

    seeds: list[Annotated[int, Field(ge=0)]]
    changes: dict[str, Any]
    """Dotted key below `joint` -> value; empty for `full`."""


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping in which each dotted key of `changes` has its new value.

    Raises:
        KeyError: with the dotted key, if it does not exist in `base`.
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for dotted, value in changes.items():
        head, _, rest = dotted.partition(".")
        if head not in result or (rest and not isinstance(result[head], dict)):
            raise KeyError(dotted)
        if rest:
            try:
                result[head] = changed(result[head], {rest: value})
            except KeyError:
                raise KeyError(dotted) from None
        else:
            result[head] = value
    return result


class Study(Section):
    """A whole study: `params/<study>.yaml`."""

    study: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Name of the study; it must be the file's name, and is part of every path."""
    threads: PositiveInt
    """Threads of every job that runs a model; results are reproducible for a given number."""
    data: DataSettings
    runtime: RuntimeSettings
    answer: AnswerSettings
    backbone: BackboneSettings
    activations: ActivationSettings
    saes: dict[str, Dictionary]
    """Dictionaries by name."""
    sae_training: SaeTrainingSettings
    concepts: ConceptSettings
    sweep: SweepSettings
    joint: JointSettings
    variants: dict[str, VariantSettings]
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    report: ReportSettings

    def variant(self, name: str) -> JointSettings:
        """The joint settings of a variant: those of `joint` with the variant's declared changes."""
        raw = self.joint.model_dump(mode="json")
        return JointSettings.model_validate(changed(raw, self.variants[name].changes))

    def runs(self) -> list[tuple[str, int]]:
        """Every (variant, seed) of the study, in the file's order."""
        return [(name, seed) for name, variant in self.variants.items() for seed in variant.seeds]

    def swept(self) -> dict[str, SweptDictionary]:
        """The dictionaries of the sweep, by name."""
        return swept_dictionaries(self.sweep, self.saes)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> list[str]:
        found = []
        if "full" not in self.variants:
            found.append("variants: the variant `full` is missing; every other one is compared with it")
        if not self.joint.steps:
            found.append("joint.steps: 0 trains nothing; only a variant may change it to 0")
        for name, dictionary in self.saes.items():
            if isinstance(dictionary, RandomDictionary | Neurons):
                if not isinstance(self.saes.get(dictionary.like), Trained):
                    found.append(f"saes.{name}.like: `{dictionary.like}` is not a trained, sparse dictionary of `saes`")
            elif dictionary.architecture in ("topk", "batchtopk") and dictionary.k >= dictionary.width:
                found.append(f"saes.{name}.k: must be smaller than width")
        found += sweep_contradictions(self.sweep, self.saes)
        for name, variant in self.variants.items():
            found += self._variant_contradictions(name, variant)
        control = self.saes.get(self.evaluation.control_sae)
        if not isinstance(control, RandomDictionary):
            found.append("evaluation.control_sae: name a dictionary of architecture `random`")
        places = {"evaluation.splits": self.evaluation.splits, "analysis.intervention.splits": self.analysis.intervention.splits}
        for place, splits in places.items():
            for benchmark, names in splits.items():
                if benchmark not in EVALUATION_SPLITS:
                    found.append(f"{place}.{benchmark}: no such benchmark; choose from {', '.join(EVALUATION_SPLITS)}")
                elif unknown := [name for name in names if name not in EVALUATION_SPLITS[benchmark]]:
                    found.append(f"{place}.{benchmark}: no split `{unknown[0]}`; choose from {', '.join(EVALUATION_SPLITS[benchmark])}")
                elif missing := [name for name in names if name not in self.evaluation.splits.get(benchmark, [])]:
                    found.append(f"{place}.{benchmark}: `{missing[0]}` is not evaluated; add it to evaluation.splits")
        for place, names in {
            "evaluation.oracle_thoughts": self.evaluation.oracle_thoughts,
            "analysis.correlation.variants": self.analysis.correlation.variants,
            "analysis.intervention.variants": self.analysis.intervention.variants,
        }.items():
            if missing := [name for name in names if name not in self.variants]:
                found.append(f"{place}: `{missing[0]}` is not in `variants`")
        benchmark, split = self.report.qualitative_split
        if split not in self.evaluation.splits.get(benchmark, []):
            found.append("report.qualitative_split: must be one of evaluation.splits")
        if isinstance(self.backbone, EmbeddedBackbone):
            hooks = {"activations": self.activations.hook_layer}
            hooks |= {f"sweep.lines.{index}": line.hook_layer for index, line in enumerate(self.sweep.lines)}
            for place, layer in hooks.items():
                if layer > self.backbone.vlm.language.layers:
                    found.append(f"{place}.hook_layer: deeper than backbone.vlm.language.layers")
            width = self.backbone.vlm.language.width
            for name, dictionary in self.saes.items():
                if isinstance(dictionary, Pca) and dictionary.width > width:
                    found.append(
                        f"saes.{name}.width: hidden states have {width} dimensions (backbone.vlm.language.width), no more components"
                    )
            for part in (self.backbone.vlm, self.backbone.sam):
                if part.image_size % part.patch_size:
                    found.append("backbone: image_size must be a multiple of patch_size")
        if isinstance(self.data, WorldSettings):
            if self.data.objects[0] > self.data.objects[1]:
                found.append("data.objects: the least number is above the greatest")
        else:
            found += self._root_contradictions(self.data)
        return found

    def _root_contradictions(self, data: RootSettings) -> list[str]:
        found = []
        for benchmark in data.partitions:
            if benchmark not in EVALUATION_SPLITS:
                found.append(f"data.partitions.{benchmark}: no such benchmark; choose from {', '.join(EVALUATION_SPLITS)}")
        for benchmark in [*self.evaluation.splits, *self.joint.benchmarks]:
            if benchmark not in data.partitions:
                found.append(f"data.partitions: `{benchmark}` is trained on or evaluated, but not read; add it")
        if isinstance(self.backbone, EmbeddedBackbone) and self.backbone.source == "build":
            found.append("backbone.source: the embedded backbone is built from the embedded world; take it `shipped` or `pretrained`")
        return found

    def _variant_contradictions(self, name: str, variant: VariantSettings) -> list[str]:
        if name == "full" and variant.changes:
            return ["variants.full.changes: `full` is the reference and changes nothing"]
        if len(set(variant.seeds)) != len(variant.seeds) or not variant.seeds:
            return [f"variants.{name}.seeds: list at least one seed, each once"]
        try:
            settings = self.variant(name)
        except KeyError as missing:
            return [f"variants.{name}.changes: `joint` has no key `{missing.args[0]}`"]
        except ValueError as error:
            return [f"variants.{name}.changes: {str(error).splitlines()[2].strip()}"]
        if settings.interface.sae not in self.saes:
            return [f"variants.{name}: interface.sae `{settings.interface.sae}` is not in `saes`"]
        trainable = [benchmark for benchmark in EVALUATION_SPLITS if benchmark != "reasonseg"]
        if unknown := [benchmark for benchmark in settings.benchmarks if benchmark not in trainable]:
            return [f"variants.{name}: benchmarks holds `{unknown[0]}`; train on {', '.join(trainable)} only"]
        if settings.answered() != self.joint.answered():
            shared = "benchmarks, warm_up.prompts, warm_up.answer_batch and warm_up.seed"
            return [f"variants.{name}.changes: every variant reads the same cached answers; change {shared} in `joint` instead"]
        return []
