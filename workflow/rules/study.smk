# What the rules ask of the study: paths of artefacts, frozen keys, threads; and of the profile: how a stage is started.
sys.path.insert(0, workflow.basedir)

from functools import cache

from snakemake.exceptions import WorkflowError

from segcompass.errors import InputError
from segcompass.provenance.failures import failed_jobs
from segcompass.provenance.freeze import freeze
from segcompass.study.chosen import chosen_study
from segcompass.study.jobs import (
    ARTEFACTS,
    all_jobs,
    control_of,
    correlated_runs,
    intervened_runs,
    job_of,
    sae_layer,
    sae_like,
    scored_saes,
    wildcard_names,
)
from segcompass.study.load import load_study


wildcard_constraints:
    study=r"[a-z0-9_]+",
    sae=r"[a-z0-9_]+",
    layer=r"\d+",
    variant=r"[a-z0-9_]+",
    seed=r"\d+",


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


def frozen(stage):
    """Input function: the job's frozen keys and code digest."""

    def path(wildcards):
        job = job_of(stage, {key: wildcards[key] for key in wildcard_names(stage)})
        files = frozen_study(wildcards.study)
        if job not in files:
            raise WorkflowError(
                f"params/{wildcards.study}.yaml has no job {stage} {dict(job.wildcards)}; see its variants and saes."
            )
        return files[job]

    return path


def of_runs(stage, runs):
    """Input function: run.json of a stage for the (variant, seed) pairs that `runs` picks from the study."""

    def paths(wildcards):
        pairs = runs(study_named(wildcards.study))
        return [
            artefact(stage, "run.json").format(study=wildcards.study, variant=v, seed=s)
            for v, s in pairs
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


def on_the_fly(stage):
    """Input function: what a dictionary needs to be trained without a cache; nothing where there is one."""

    def path(wildcards):
        if not study_named(wildcards.study).activations.on_the_fly:
            return []
        return artefact(stage, "run.json").format(study=wildcards.study)

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


def variant_sae(wildcards):
    """The dictionary that a variant reads."""
    sae = study_named(wildcards.study).variant(wildcards.variant).interface.sae
    return artefact("train_sae", "run.json").format(study=wildcards.study, sae=sae)


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


def every_artefact(wildcards):
    """run.json of every job of the study but the summary's own."""
    study = study_named(wildcards.study)
    return [
        str(job.artefact(study.study) / "run.json")
        for job in all_jobs(study)
        if job.stage != "write_summary"
    ]
