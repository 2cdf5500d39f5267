def every_run(study):
    """All (variant, seed) pairs of a study."""
    return study.runs()


def every_sae(wildcards):
    """run.json of every dictionary of the study."""
    names = study_named(wildcards.study).saes
    return [artefact("train_sae", "run.json").format(study=wildcards.study, sae=name) for name in names]


def every_artefact(wildcards):
    """run.json of every job of the study but the summary's own."""
    study = study_named(wildcards.study)
    return [str(job.artefact(study.study) / "run.json") for job in all_jobs(study) if job.stage != "write_summary"]


rule make_tables:
    input:
        params=frozen("make_tables"),
        evaluate=of_runs("evaluate", every_run),
        sae=every_sae,
    output:
        artefact("make_tables", "run.json"),
    params:
        out=artefact("make_tables"),
    log:
        "logs/{study}/make_tables/make_tables.log",
    benchmark:
        "logs/{study}/make_tables/make_tables.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.make_tables --params {input.params} --evaluate {input.evaluate}"
        " --sae {input.sae} --out {params.out} > {log} 2>&1"


rule make_figures:
    input:
        params=frozen("make_figures"),
        data=artefact("prepare_data", "run.json"),
        evaluate=of_runs("evaluate", every_run),
        joint=of_runs("train_joint", every_run),
        intervene=of_runs("intervene", intervened_runs),
        correlate=artefact("correlate", "run.json"),
    output:
        artefact("make_figures", "run.json"),
    params:
        out=artefact("make_figures"),
    log:
        "logs/{study}/make_figures/make_figures.log",
    benchmark:
        "logs/{study}/make_figures/make_figures.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.make_figures --params {input.params} --data {input.data}"
        " --evaluate {input.evaluate} --joint {input.joint} --intervene {input.intervene}"
        " --correlate {input.correlate} --out {params.out} > {log} 2>&1"


rule write_summary:
    input:
        params=frozen("write_summary"),
        artefacts=every_artefact,
    output:
        run=artefact("write_summary", "run.json"),
        numbers=artefact("write_summary", "numbers.json"),
        summary=report(artefact("write_summary", "summary.md"), category="Summary"),
    params:
        out=artefact("write_summary"),
    log:
        "logs/{study}/write_summary/write_summary.log",
    benchmark:
        "logs/{study}/write_summary/write_summary.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.write_summary --params {input.params} --artefacts {input.artefacts}"
        " --out {params.out} > {log} 2>&1"
