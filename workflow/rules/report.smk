rule judge_claims:
    input:
        params=frozen("judge_claims"),
        evaluate=of_runs(EVALUATE, every_run),
        intervene=of_runs(INTERVENE, intervened_runs),
        exchange=of_runs(EXCHANGE, exchanged_runs),
        concepts=every_score,
    output:
        run=artefact("judge_claims", "run.json"),
        pages=shown("judge_claims", "ledger", "html", "Claims"),
    log:
        "logs/{study}/judge_claims/judge_claims.log",
    benchmark:
        "logs/{study}/judge_claims/judge_claims.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        out=artefact("judge_claims"),
    shell:
        "python -m segcompass.stages.judge_claims --params {input.params} --evaluate {input.evaluate}"
        " --battery {input.intervene} {input.exchange} --concepts {input.concepts} --out {params.out} > {log} 2>&1"


rule make_tables:
    input:
        params=frozen("make_tables"),
        evaluate=of_runs(EVALUATE, every_run),
        interface=of_experiment(TRAIN, "interface"),
        joint=of_experiment(TRAIN, "signals"),
        sae=every_sae,
        concepts=every_score,
    output:
        run=artefact("make_tables", "run.json"),
        pages=shown("make_tables", "table", "html", "Tables"),
    log:
        "logs/{study}/make_tables/make_tables.log",
    benchmark:
        "logs/{study}/make_tables/make_tables.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        out=artefact("make_tables"),
    shell:
        "python -m segcompass.stages.make_tables --params {input.params} --evaluate {input.evaluate}"
        " --interface {input.interface} --joint {input.joint} --sae {input.sae} --concepts {input.concepts} --out {params.out} > {log} 2>&1"


rule make_figures:
    input:
        params=frozen("make_figures"),
        data=artefact("prepare_data", "run.json"),
        evaluate=of_runs(EVALUATE, every_run),
        interface=of_experiment(TRAIN, "interface"),
        joint=of_experiment(TRAIN, "signals"),
        intervene=of_runs(INTERVENE, intervened_runs),
        exchange=of_runs(EXCHANGE, exchanged_runs),
        correlate=artefact("correlate", "run.json"),
        claims=artefact("judge_claims", "run.json"),
        sae=every_sae_and_swept,
        concepts=every_score,
    output:
        run=artefact("make_figures", "run.json"),
        pictures=shown("make_figures", "figure", "png", "Figures"),
    log:
        "logs/{study}/make_figures/make_figures.log",
    benchmark:
        "logs/{study}/make_figures/make_figures.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        out=artefact("make_figures"),
    shell:
        "python -m segcompass.stages.make_figures --params {input.params} --data {input.data}"
        " --evaluate {input.evaluate} --interface {input.interface} --joint {input.joint} --intervene {input.intervene}"
        " --exchange {input.exchange} --correlate {input.correlate} --claims {input.claims} --sae {input.sae} --concepts {input.concepts} --out {params.out} > {log} 2>&1"


rule write_summary:
    input:
        params=frozen("write_summary"),
        artefacts=every_artefact,
    output:
        run=artefact("write_summary", "run.json"),
        numbers=artefact("write_summary", "numbers.json"),
        metrics=artefact("write_summary", "metrics.json"),
        details=artefact("write_summary", "details.md"),
        summary=report(
            artefact("write_summary", "summary.md"),
            caption="../report/summary.rst",
            category="Summary",
        ),
    log:
        "logs/{study}/write_summary/write_summary.log",
    benchmark:
        "logs/{study}/write_summary/write_summary.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        out=artefact("write_summary"),
    shell:
        "python -m segcompass.stages.write_summary --params {input.params} --artefacts {input.artefacts}"
        " --out {params.out} > {log} 2>&1"
