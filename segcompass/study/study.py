"""The study file as one typed, frozen value, with the checks that span sections."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from segcompass.datasets.splits import COUNTERFACTUALS, EVALUATION_SPLITS
from segcompass.study.analysis import AnalysisSettings, EvaluationSettings, ReportSettings
from segcompass.study.backbone import AnswerSettings, BackboneSettings, EmbeddedBackbone, RuntimeSettings, backbone_contradictions
from segcompass.study.claims import ClaimsSettings, claims_contradictions
from segcompass.study.concepts import (
    ActivationSettings,
    Dictionary,
    Neurons,
    Pca,
    RandomDictionary,
    SaeTrainingSettings,
    Trained,
)
from segcompass.study.data import DataSettings, RootSettings, WorldSettings, counterfactual_contradictions
from segcompass.study.exchange import exchange_contradictions
from segcompass.study.experiments import EXPERIMENTS, Experiment, ExperimentSettings, ExperimentsSettings, Run, changed
from segcompass.study.interface import AnswersSettings, InterfaceSettings
from segcompass.study.joint import JointSettings
from segcompass.study.scoring import ConceptSettings, SweepSettings, SweptDictionary, sweep_contradictions, swept_dictionaries
from segcompass.study.section import Section
from segcompass.study.shards import UNDIVIDED, ShardSettings
from segcompass.study.warm_start import WarmStartSettings


class Study(Section):
    """A whole study: `params/<study>.yaml`."""

    study: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Name of the study; it must be the file's name, and is part of every path."""
    threads: PositiveInt
    """Threads of every job that runs a model; results are reproducible for a given number."""
    shards: ShardSettings = UNDIVIDED
    data: DataSettings
    runtime: RuntimeSettings
    answer: AnswerSettings
    backbone: BackboneSettings
    warm_start: WarmStartSettings | None = None
    """Supervised answers that teach the policy the form, before anything reads it; null, or left out, where it knows the form."""
    activations: ActivationSettings
    saes: dict[str, Dictionary]
    """Dictionaries by name."""
    sae_training: SaeTrainingSettings
    concepts: ConceptSettings
    sweep: SweepSettings
    answers: AnswersSettings
    interface: InterfaceSettings
    joint: JointSettings
    experiments: ExperimentsSettings
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    claims: ClaimsSettings
    report: ReportSettings

    def experiment(self, name: str) -> ExperimentSettings:
        """One of the two experiments."""
        return {"interface": self.experiments.interface, "signals": self.experiments.signals}[name]

    def interface_variant(self, name: str) -> InterfaceSettings:
        """The section `interface` with a variant's declared changes."""
        return InterfaceSettings.model_validate(self.interface_keys(name))

    def interface_keys(self, name: str) -> dict[str, Any]:
        """The same as it stands in the file, unchecked."""
        return changed(self.interface.model_dump(mode="json"), self.experiments.interface.variants[name].changes)

    def joint_variant(self, name: str) -> JointSettings:
        """The section `joint` with a variant's declared changes."""
        changes = self.experiments.signals.variants[name].changes
        return JointSettings.model_validate(changed(self.joint.model_dump(mode="json"), changes))

    def interface_of(self, run: Run) -> InterfaceSettings:
        """The interface that a run of either experiment reads concepts with."""
        experiment, variant, _ = run
        return self.interface_variant(variant if experiment == "interface" else self.joint_variant(variant).interface)

    def evaluated_splits(self, experiment: Experiment, variant: str) -> dict[str, list[str]]:
        """Benchmark -> the splits that a variant's runs are evaluated on."""
        return self.evaluation.splits if variant in self.evaluation.on_val.get(experiment, []) else self.tested_splits()

    def tested_splits(self) -> dict[str, list[str]]:
        """Benchmark -> its evaluated splits but val; val where it has no other."""
        return {benchmark: [name for name in names if name != "val"] or names for benchmark, names in self.evaluation.splits.items()}

    def runs(self) -> list[Run]:
        """Every (experiment, variant, seed) of the study, in the file's order."""
        return [(name, *run) for name in EXPERIMENTS for run in self.experiment(name).runs()]

    def swept(self) -> dict[str, SweptDictionary]:
        """The dictionaries of the sweep, by name."""
        return swept_dictionaries(self.sweep, self.saes)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        for problem in self._contradictions():
            raise ValueError(problem)
        return self

    def _contradictions(self) -> list[str]:
        found = backbone_contradictions(self.backbone)
        for name, dictionary in self.saes.items():
            if isinstance(dictionary, RandomDictionary | Neurons):
                if not isinstance(self.saes.get(dictionary.like), Trained):
                    found.append(f"saes.{name}.like: `{dictionary.like}` is not a trained, sparse dictionary of `saes`")
            elif dictionary.architecture in ("topk", "batchtopk") and dictionary.k >= dictionary.width:
                found.append(f"saes.{name}.k: must be smaller than width")
            if isinstance(dictionary, Trained) and (dictionary.stop_after or 0) > self.sae_training.steps:
                steps = self.sae_training.steps
                found.append(f"saes.{name}.stop_after: is {dictionary.stop_after}, beyond sae_training.steps ({steps}); lower it")
        found += sweep_contradictions(self.sweep, self.saes)
        if self.activations.corpus and self.activations.on_the_fly:
            found.append("activations.on_the_fly: a corpus is read as a stream, from beginning to end, and so is cached; set it to false")
        if self.shards.cache_activations > 1 and self.activations.on_the_fly:
            found.append("shards.cache_activations: nothing is cached where dictionaries are trained on the fly; set it to 1")
        trainable = [benchmark for benchmark in EVALUATION_SPLITS if benchmark != "reasonseg"]
        if untrained := [benchmark for benchmark in self.answers.benchmarks if benchmark not in trainable]:
            found.append(f"answers.benchmarks holds `{untrained[0]}`; train on {', '.join(trainable)} only")
        if self.answers.thoughts == "gold" and not isinstance(self.data, WorldSettings):
            found.append("answers.thoughts: photographs have no gold thoughts; take `policy`")
        for name in EXPERIMENTS:
            found += self._experiment_contradictions(name)
        if not found:  # every variant can be made
            readouts = ((name, self.interface_variant(name).model.readout) for name in self.experiments.interface.variants)
            found += exchange_contradictions(self.analysis.exchange, readouts)
            shown = self.interface_variant(self.experiments.interface.reference).model
            if shown.readout != "concepts" or isinstance(self.saes.get(shown.sae), RandomDictionary | None):
                found.append("interface.model: the atlas shows what the reference reads: concepts of a trained dictionary of `saes`")
        control = self.saes.get(self.evaluation.control_sae)
        if not isinstance(control, RandomDictionary):
            found.append("evaluation.control_sae: name a dictionary of architecture `random`")
        places = {"evaluation.splits": self.evaluation.splits, "analysis.intervention.splits": self.analysis.intervention.splits}
        places["analysis.exchange.splits"] = self.analysis.exchange.splits
        for place, splits in places.items():
            for benchmark, names in splits.items():
                if benchmark not in EVALUATION_SPLITS:
                    found.append(f"{place}.{benchmark}: no such benchmark; choose from {', '.join(EVALUATION_SPLITS)}")
                elif unknown := [name for name in names if name not in EVALUATION_SPLITS[benchmark]]:
                    found.append(f"{place}.{benchmark}: no split `{unknown[0]}`; choose from {', '.join(EVALUATION_SPLITS[benchmark])}")
                elif missing := [name for name in names if name not in self.evaluation.splits.get(benchmark, [])]:
                    found.append(f"{place}.{benchmark}: `{missing[0]}` is not evaluated; add it to evaluation.splits")
        for benchmark in self.analysis.intervention.splits:
            if "val" not in self.evaluation.splits.get(benchmark, []):
                found.append(f"analysis.intervention.splits.{benchmark}: edits take from `val`; add it to evaluation.splits.{benchmark}")
        listed_variants: dict[str, Mapping[Experiment, list[str]]] = {
            "evaluation.on_val": self.evaluation.on_val,
            "evaluation.controls": self.evaluation.controls,
            "evaluation.oracle_thoughts": self.evaluation.oracle_thoughts,
            "analysis.correlation.variants": self.analysis.correlation.variants,
            "analysis.intervention.variants": {"interface": self.analysis.intervention.variants},
        }
        for intervention, variants in self.analysis.exchange.variants.items():
            listed_variants[f"analysis.exchange.variants.{intervention}"] = {"interface": variants}
        for place, listed in listed_variants.items():
            for name in EXPERIMENTS:
                if missing := [variant for variant in listed.get(name, []) if variant not in self.experiment(name).variants]:
                    found.append(f"{place}.{name}: `{missing[0]}` is not in experiments.{name}.variants")
        for name, correlated in self.analysis.correlation.variants.items():
            if missing := [variant for variant in correlated if variant not in self.evaluation.controls.get(name, [])]:
                found.append(f"analysis.correlation.variants.{name}: `{missing[0]}` has no controls; add it to evaluation.controls.{name}")
        correlated = [variant for variants in self.analysis.correlation.variants.values() for variant in variants]
        for index, across in enumerate(self.analysis.correlation.across):
            place = f"analysis.correlation.across.{index}.variants"
            if missing := [variant for variant in across.variants if variant not in correlated]:
                found.append(f"{place}: `{missing[0]}` is not in analysis.correlation.variants; add it there")
            elif len(set(across.variants)) < len(across.variants):
                found.append(f"{place}: list each variant once")
        both = set(self.experiments.interface.variants) & set(self.experiments.signals.variants)
        if both:
            found.append(f"experiments: `{min(both)}` is a variant of both; reports tell variants apart by their names, so rename one")
        known = {*self.experiments.interface.variants, *self.experiments.signals.variants}
        differences = {f"analysis.families.{name}.tests": family.tests for name, family in self.analysis.families.items()}
        for place, tests in (differences | {"analysis.reinforcement": self.analysis.reinforcement}).items():
            if unknown := [name for test in tests for name in test.split(" - ") if name not in known]:
                found.append(f"{place}: `{unknown[0]}` is a variant of neither experiment")
        by_experiment = {str(name): self.experiment(name).variants for name in EXPERIMENTS}
        scored = [name for name, dictionary in self.saes.items() if not isinstance(dictionary, RandomDictionary)]
        pairs = COUNTERFACTUALS.values() if isinstance(self.data, WorldSettings) and self.data.counterfactuals.pairs else ()
        golden = [variant for variants in self.evaluation.oracle_thoughts.values() for variant in variants]
        found += claims_contradictions(self.claims, by_experiment, scored, [*self.evaluation.splits, *pairs], golden)
        for benchmark, split in self.report.qualitative_splits:
            if split not in self.evaluation.splits.get(benchmark, []):
                found.append(f"report.qualitative_splits: `{benchmark}`, `{split}` is not in evaluation.splits")
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
        if isinstance(self.data, WorldSettings):
            if self.data.objects[0] > self.data.objects[1]:
                found.append("data.objects: the least number is above the greatest")
            found += counterfactual_contradictions(self.data)
        else:
            found += self._root_contradictions(self.data)
        return found

    def _root_contradictions(self, data: RootSettings) -> list[str]:
        found = []
        for benchmark in data.partitions:
            if benchmark not in EVALUATION_SPLITS:
                found.append(f"data.partitions.{benchmark}: no such benchmark; choose from {', '.join(EVALUATION_SPLITS)}")
        for benchmark in [*self.evaluation.splits, *self.answers.benchmarks]:
            if benchmark not in data.partitions:
                found.append(f"data.partitions: `{benchmark}` is trained on or evaluated, but not read; add it")
        if isinstance(self.backbone, EmbeddedBackbone) and self.backbone.source == "build":
            found.append("backbone.source: the embedded backbone is built from the embedded world; take it `shipped` or `pretrained`")
        return found

    def _experiment_contradictions(self, name: str) -> list[str]:
        experiment, place = self.experiment(name), f"experiments.{name}"
        if experiment.reference not in experiment.variants:
            return [f"{place}.reference: `{experiment.reference}` is not in {place}.variants; every other variant is compared with it"]
        if experiment.variants[experiment.reference].changes:
            return [f"{place}.variants.{experiment.reference}.changes: the reference changes nothing"]
        check = self._interface_contradictions if name == "interface" else self._joint_contradictions
        found = []
        for variant, settings in experiment.variants.items():
            where = f"{place}.variants.{variant}"
            if len(set(settings.seeds)) != len(settings.seeds) or not settings.seeds:
                found.append(f"{where}.seeds: list at least one seed, each once")
                continue
            try:
                found += [f"{where}{problem}" for problem in check(variant, settings.seeds)]
            except KeyError as missing:
                section = "interface" if name == "interface" else "joint"
                found.append(f"{where}.changes: `{section}` has no key `{missing.args[0]}`")
            except ValueError as error:
                found.append(f"{where}.changes: {str(error).splitlines()[2].strip()}")
        return found

    def _interface_contradictions(self, variant: str, seeds: list[int]) -> list[str]:
        del seeds
        model = self.interface_variant(variant).model
        if model.sae not in self.saes and model.sae not in self.swept():
            return [f": model.sae `{model.sae}` is neither in `saes` nor swept"]
        if model.slots > self.answer.slots:
            return [f": model.slots {model.slots} is above answer.slots {self.answer.slots}, the reference tokens of an answer"]
        if model.segmenter not in self.backbone.segmenters:
            return [f": model.segmenter `{model.segmenter}` is not of the backbone; choose from {', '.join(self.backbone.segmenters)}"]
        return []

    def _joint_contradictions(self, variant: str, seeds: list[int]) -> list[str]:
        settings, known = self.joint_variant(variant), self.experiments.interface.variants
        if settings.interface not in known:
            return [f": interface `{settings.interface}` is not in experiments.interface.variants"]
        if lacking := [seed for seed in seeds if seed not in known[settings.interface].seeds]:
            return [f".seeds: {lacking[0]} is not a seed of the interface `{settings.interface}` that the run starts from; add it there"]
        return []
