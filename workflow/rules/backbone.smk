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
