rule cache_activations:
    input:
        params=frozen("cache_activations"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
    output:
        artefact("cache_activations", "run.json"),
    log:
        "logs/{study}/cache_activations/cache_activations.log",
    benchmark:
        "logs/{study}/cache_activations/cache_activations.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("cache_activations"),
    shell:
        "python -m segcompass.stages.cache_activations --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --out {params.out} > {log} 2>&1"


rule train_sae:
    input:
        params=frozen("train_sae"),
        activations=artefact("cache_activations", "run.json"),
        like=trained_twin,
    output:
        artefact("train_sae", "run.json"),
    log:
        "logs/{study}/train_sae/{sae}.log",
    benchmark:
        "logs/{study}/train_sae/{sae}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        launch=launcher("train_sae"),
        out=artefact("train_sae"),
        like=lambda wildcards, input: f"--like {input.like}" if input.like else "",
    shell:
        "{params.launch} -m segcompass.stages.train_sae --params {input.params} --activations {input.activations}"
        " {params.like} --out {params.out} > {log} 2>&1"
