rule correlate:
    input:
        params=frozen("correlate"),
        evaluate=of_runs("evaluate", correlated_runs),
    output:
        artefact("correlate", "run.json"),
    params:
        out=artefact("correlate"),
    log:
        "logs/{study}/correlate/correlate.log",
    benchmark:
        "logs/{study}/correlate/correlate.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.correlate --params {input.params} --evaluate {input.evaluate}"
        " --out {params.out} > {log} 2>&1"


rule intervene:
    input:
        params=frozen("intervene"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
        sae=variant_sae,
        run=artefact("train_joint", "run.json"),
    output:
        artefact("intervene", "run.json"),
    params:
        out=artefact("intervene"),
    log:
        "logs/{study}/intervene/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/intervene/{variant}_seed{seed}.tsv"
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.intervene --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --run {input.run} --out {params.out} > {log} 2>&1"
