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
        intervene=of_runs(INTERVENE, intervened_runs),
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
        " --interface {input.interface} --joint {input.joint} --intervene {input.intervene} --sae {input.sae}"
        " --concepts {input.concepts} --out {params.out} > {log} 2>&1"


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


rule make_atlas:
    input:
        params=frozen("make_atlas"),
        data=artefact("prepare_data", "run.json"),
        tokens=artefact("label_tokens", "run.json"),
        sae=shown_dictionary("train_sae"),
        saes=others_of_the_layer,
        scores=shown_dictionary("score_concepts"),
        backbone=policy,
        answers=artefact("cache_answers", "run.json").replace("{part}", "evaluation"),
        images=shown_images,
        run=lambda wildcards: shown_run(TRAIN, wildcards),
        battery=battery_of_shown_run,
    output:
        run=artefact("make_atlas", "run.json"),
        page=report(
            artefact("make_atlas", "atlas.html"),
            caption="../report/atlas.rst",
            category="Concept atlas",
        ),
    log:
        "logs/{study}/make_atlas/make_atlas.log",
    benchmark:
        "logs/{study}/make_atlas/make_atlas.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("make_atlas"),
        battery=lambda wildcards, input: (
            f"--battery {input.battery}" if input.battery else ""
        ),
    shell:
        "python -m segcompass.stages.make_atlas --params {input.params} --data {input.data} --tokens {input.tokens}"
        " --sae {input.sae} --saes {input.saes} --scores {input.scores} --backbone {input.backbone}"
        " --answers {input.answers} --images {input.images} --run {input.run} {params.battery} --out {params.out} > {log} 2>&1"


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
