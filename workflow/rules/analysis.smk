rule correlate:
    input:
        params=frozen("correlate"),
        evaluate=of_runs(EVALUATE, correlated_runs),
    output:
        artefact("correlate", "run.json"),
    log:
        "logs/{study}/correlate/correlate.log",
    benchmark:
        "logs/{study}/correlate/correlate.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        out=artefact("correlate"),
    shell:
        "python -m segcompass.stages.correlate --params {input.params} --evaluate {input.evaluate}"
        " --out {params.out} > {log} 2>&1"


rule intervene:
    input:
        params=frozen("intervene"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        sae=variant_sae("interface"),
        answers=artefact("cache_answers", "run.json").replace("{part}", "evaluation"),
        images=variant_images("interface", "evaluation"),
        run=artefact("train_interface", "run.json"),
    output:
        artefact("intervene", "run.json"),
    log:
        "logs/{study}/intervene/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/intervene/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("intervene"),
    shell:
        "python -m segcompass.stages.intervene --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --answers {input.answers} --images {input.images}"
        " --run {input.run} --out {params.out} > {log} 2>&1"


rule exchange:
    input:
        params=frozen("exchange"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        sae=variant_sae("interface"),
        answers=artefact("cache_answers", "run.json").replace("{part}", "evaluation"),
        images=variant_images("interface", "evaluation"),
        pair_answers=of_pairs("cache_answers"),
        pair_images=of_pairs("embed_images"),
        run=artefact("train_interface", "run.json"),
    output:
        artefact("exchange", "run.json"),
    log:
        "logs/{study}/exchange/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/exchange/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("exchange"),
        pairs=lambda wildcards, input: (
            f"--pair-answers {input.pair_answers} --pair-images {input.pair_images}"
            if input.pair_answers
            else ""
        ),
    shell:
        "python -m segcompass.stages.exchange --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --answers {input.answers} --images {input.images}"
        " {params.pairs} --run {input.run} --out {params.out} > {log} 2>&1"
