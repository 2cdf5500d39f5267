# What the rules ask of the study: paths of artefacts, frozen keys, threads; and of the profile: how a stage is started.
sys.path.insert(0, workflow.basedir)

from functools import cache

from snakemake.exceptions import WorkflowError

from segcompass.errors import InputError
from segcompass.provenance.failures import failed_jobs
from segcompass.provenance.freeze import freeze
from segcompass.reporting.captions.read import caption_file, captioned
from segcompass.study.chosen import chosen_study
from segcompass.study.jobs import (
    ARTEFACTS,
    all_jobs,
    atlas_dictionaries,
    atlas_runs,
    atlas_sae,
    control_of,
    correlated_runs,
    exchanged_runs,
    intervened_runs,
    EVALUATE,
    EXCHANGE,
    INTERVENE,
    TRAIN,
    answer_parts,
    job_of,
    run_job,
    sae_layer,
    sae_like,
    scored_saes,
    start_job,
    swapped_variants,
    used_segmenters,
    wildcard_names,
)
from segcompass.study.load import load_study
from segcompass.study.shard_jobs import ShardJob, shard_pattern
from segcompass.study.policy import policy_stage


wildcard_constraints:
    study=r"[a-z0-9_]+",
    sae=r"[a-z0-9_]+",
    layer=r"\d+",
    part="training|evaluation|gold|pairs",
    segmenter=r"[a-z0-9_]+",
    variant=r"[a-z0-9_]+",
    seed=r"\d+",
    shard=r"\d+_of_\d+",


ENVIRONMENT = "../envs/segcompass.yaml"


def or_end(function, *arguments):
    """The function's value; a fault in the user's input ends the run before any job, with its one sentence."""
    try:
        return function(*arguments)
    except InputError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(2)


STUDY = or_end(
    chosen_study,
    workflow.config_settings.config,
    workflow.config_settings.configfiles,
)


onerror:
    # Last of all, where it is read: Snakemake has said a page about every failed job by now.
    for file in log:
        said = failed_jobs(Path(file).read_text(encoding="utf-8"), Path.cwd())
        print("", *said, "", sep="\n", file=sys.stderr, flush=True)


@cache
def study_named(name):
    """The study of params/<name>.yaml."""
    return or_end(load_study, Path("params", f"{name}.yaml"))


def artefact(stage, file=""):
    """Path pattern of a stage's artefact, or of a file in it."""
    return f"{ARTEFACTS[stage]}/{file}" if file else ARTEFACTS[stage]


@cache
def frozen_study(name):
    """Freezes every job of a study at once, before Snakemake looks into the folder: it lists a folder only once.

    Returns:
        Job -> path of its frozen file.
    """
    files = or_end(freeze, study_named(name), Path.cwd())
    return {job: str(path) for job, path in files.items()}


def named_job(stage, wildcards):
    """The job, or the shard of one, that the wildcards name."""
    job = job_of(stage, {key: wildcards[key] for key in wildcard_names(stage)})
    shard = wildcards.get("shard")
    return ShardJob(stage, (*job.wildcards, ("shard", shard))) if shard else job


def frozen(stage):
    """Input function: the job's frozen keys and code digest."""

    def path(wildcards):
        job = named_job(stage, wildcards)
        files = frozen_study(wildcards.study)
        if job not in files:
            raise WorkflowError(
                f"params/{wildcards.study}.yaml has no job {stage} {dict(job.wildcards)}; see its variants and saes."
            )
        return files[job]

    return path


def shards(stage):
    """Input function: the shards that a job's artefact is gathered from; nothing for a shard, and where the job does its work alone."""

    def paths(wildcards):
        job = named_job(stage, wildcards)
        return [
            str(one.artefact(wildcards.study))
            for one in frozen_study(wildcards.study)
            if isinstance(one, ShardJob) and one.whole == job
        ]

    return paths


def given_shards(wildcards, input):
    """The flag by which a stage is given the shards that it gathers."""
    return f"--shards {input.shards}" if input.shards else ""


def done(study, job):
    """run.json of a job."""
    return str(job.artefact(study.study) / "run.json")


def of_runs(stages, runs):
    """Input function: run.json of the jobs, in `TRAIN`, `EVALUATE`, `INTERVENE` or `EXCHANGE`, of the runs that `runs` picks from the study."""

    def paths(wildcards):
        study = study_named(wildcards.study)
        return [done(study, run_job(stages, run)) for run in runs(study)]

    return paths


def of_experiment(stages, experiment):
    """Input function: the same for every run of one experiment."""

    def paths(wildcards):
        study = study_named(wildcards.study)
        return [
            done(study, run_job(stages, run))
            for run in study.runs()
            if run[0] == experiment
        ]

    return paths


def study_threads(wildcards):
    """Threads of a model's job: a key of the study, never `--cores`, so that results do not depend on the machine's load."""
    return study_named(wildcards.study).threads


def launcher(stage):
    """What starts a stage's module: `python`, or what the profile's configuration names under `launch`, such as `accelerate launch`."""
    return config.get("launch", {}).get(stage, "python")


def trained_twin(wildcards):
    """The trained dictionary whose sparsity a random one copies; nothing for a trained one."""
    like = sae_like(study_named(wildcards.study), wildcards.sae)
    return (
        [artefact("train_sae", "run.json").format(study=wildcards.study, sae=like)]
        if like
        else []
    )


def sae_activations(wildcards):
    """The token cache of the layer that a dictionary reads; nothing where it is trained on the fly."""
    study = study_named(wildcards.study)
    if study.activations.on_the_fly:
        return []
    layer = sae_layer(study, wildcards.sae)
    return artefact("cache_activations", "run.json").format(
        study=wildcards.study, layer=layer
    )


def policy(wildcards):
    """The backbone with the policy that all stages read: warm-started where the study has a warm start."""
    stage = policy_stage(study_named(wildcards.study))
    return artefact(stage, "run.json").format(study=wildcards.study)


def on_the_fly(found):
    """Input function: what a dictionary needs to be trained without a cache; nothing where there is one.

    `found` is the input's path, or a function of the wildcards that says it.
    """

    def path(wildcards):
        if not study_named(wildcards.study).activations.on_the_fly:
            return []
        if callable(found):
            return found(wildcards)
        return found.format(study=wildcards.study)

    return path


def untrained_twin(wildcards):
    """The untrained dictionary that a trained one is scored beside."""
    sae = control_of(study_named(wildcards.study), wildcards.sae)
    return artefact("train_sae", "run.json").format(study=wildcards.study, sae=sae)


def every_score(wildcards):
    """run.json of every scored dictionary."""
    return [
        artefact("score_concepts", "run.json").format(study=wildcards.study, sae=name)
        for name in scored_saes(study_named(wildcards.study))
    ]


def interface_model(experiment, wildcards):
    """Keys of the interface that a run reads with."""
    run = (experiment, wildcards.variant, wildcards.seed)
    return study_named(wildcards.study).interface_of(run).model


def variant_sae(experiment):
    """Input function: the dictionary that a run reads."""

    def path(wildcards):
        sae = interface_model(experiment, wildcards).sae
        return artefact("train_sae", "run.json").format(study=wildcards.study, sae=sae)

    return path


def variant_images(experiment, part):
    """Input function: embeddings, by the SAM that a run prompts, of one part's images."""

    def path(wildcards):
        return artefact("embed_images", "run.json").format(
            study=wildcards.study,
            segmenter=interface_model(experiment, wildcards).segmenter,
            part=part,
        )

    return path


def gold_answers(wildcards):
    """Answers with gold thoughts where the study asks for them of this variant; nothing elsewhere."""
    study = study_named(wildcards.study)
    if wildcards.variant not in study.evaluation.oracle_thoughts.get("interface", []):
        return []
    return artefact("cache_answers", "run.json").format(
        study=wildcards.study, part="gold"
    )


def of_pairs(stage):
    """Input function: the cache of counterfactual pairs where they are exchanged in a variant's runs; nothing elsewhere."""

    def path(wildcards):
        study = study_named(wildcards.study)
        if wildcards.variant not in swapped_variants(study):
            return []
        segmenter = interface_model("interface", wildcards).segmenter
        return artefact(stage, "run.json").format(
            study=wildcards.study, segmenter=segmenter, part="pairs"
        )

    return path


def start(wildcards):
    """The interface that a run of joint training begins with."""
    study = study_named(wildcards.study)
    run = ("signals", wildcards.variant, wildcards.seed)
    return done(study, start_job(study, run))


def control_sae(wildcards):
    """The untrained dictionary that concept quality is compared with."""
    sae = study_named(wildcards.study).evaluation.control_sae
    return artefact("train_sae", "run.json").format(study=wildcards.study, sae=sae)


def every_run(study):
    """All (variant, seed) pairs of a study."""
    return study.runs()


def every_sae(wildcards):
    """run.json of every dictionary of the study."""
    names = study_named(wildcards.study).saes
    return [
        artefact("train_sae", "run.json").format(study=wildcards.study, sae=name)
        for name in names
    ]


def every_sae_and_swept(wildcards):
    """run.json of every dictionary of the study and of its sweep."""
    swept = study_named(wildcards.study).swept()
    return every_sae(wildcards) + [
        artefact("train_sae", "run.json").format(study=wildcards.study, sae=name)
        for name in swept
    ]


def shown_dictionary(stage):
    """Input function: what a stage made of the dictionary that the atlas shows."""

    def path(wildcards):
        sae = atlas_sae(study_named(wildcards.study))
        return artefact(stage, "run.json").format(study=wildcards.study, sae=sae)

    return path


def others_of_the_layer(wildcards):
    """The dictionaries that the atlas compares its own with."""
    return [
        artefact("train_sae", "run.json").format(study=wildcards.study, sae=name)
        for name in atlas_dictionaries(study_named(wildcards.study))
    ]


def shown_run(stages, wildcards):
    """What a stage made of the run that the atlas shows."""
    return of_runs(stages, atlas_runs)(wildcards)


def shown_images(wildcards):
    """Embeddings of the evaluated images by the SAM of the run that the atlas shows."""
    study = study_named(wildcards.study)
    segmenter = study.interface_variant(
        study.experiments.interface.reference
    ).model.segmenter
    return artefact("embed_images", "run.json").format(
        study=wildcards.study, segmenter=segmenter, part="evaluation"
    )


def battery_of_shown_run(wildcards):
    """What the causal battery measured on the run that the atlas shows; nothing where it has no part in it."""
    study = study_named(wildcards.study)
    stages = [(INTERVENE, intervened_runs), (EXCHANGE, exchanged_runs)]
    return [
        path
        for stage, runs in stages
        if set(atlas_runs(study)) <= set(runs(study))
        for path in shown_run(stage, wildcards)
    ]


def every_artefact(wildcards):
    """run.json of every job of the study but the summary's own."""
    study = study_named(wildcards.study)
    return [
        str(job.artefact(study.study) / "run.json")
        for job in all_jobs(study)
        if job.stage != "write_summary"
    ]


def shown(stage, kind, ending, category):
    """Every figure or table that has a caption, for `snakemake --report`."""
    on_page = report  # a line that begins with the word itself is a directive
    return [
        on_page(
            artefact(stage, f"{name}.{ending}"),
            caption=str(caption_file(kind, name)),
            category=category,
            labels={kind: name.replace("_", " ")},
        )
        for name in captioned(kind)
    ]
