rule train_backbone:
    input:
        params=frozen("train_backbone"),
        data=artefact("prepare_data", "run.json"),
    output:
        artefact("train_backbone", "run.json"),
    log:
        "logs/{study}/train_backbone/train_backbone.log",
    benchmark:
        "logs/{study}/train_backbone/train_backbone.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=6000,
        runtime=180,
    params:
        out=artefact("train_backbone"),
    shell:
        "python -m segcompass.stages.train_backbone --params {input.params} --data {input.data}"
        " --out {params.out} > {log} 2>&1"


rule warm_start:
    input:
        params=frozen("warm_start"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
    output:
        artefact("warm_start", "run.json"),
    log:
        "logs/{study}/warm_start/warm_start.log",
    benchmark:
        "logs/{study}/warm_start/warm_start.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        launch=launcher("warm_start"),
        out=artefact("warm_start"),
    shell:
        "{params.launch} -m segcompass.stages.warm_start --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --out {params.out} > {log} 2>&1"
