rule cache_answers:
    input:
        params=frozen("cache_answers"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
    output:
        artefact("cache_answers", "run.json"),
    log:
        "logs/{study}/cache_answers/cache_answers.log",
    benchmark:
        "logs/{study}/cache_answers/cache_answers.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("cache_answers"),
    shell:
        "python -m segcompass.stages.cache_answers --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --out {params.out} > {log} 2>&1"


rule train_joint:
    input:
        params=frozen("train_joint"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
        sae=variant_sae,
        answers=artefact("cache_answers", "run.json"),
    output:
        artefact("train_joint", "run.json"),
    log:
        "logs/{study}/train_joint/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/train_joint/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        launch=launcher("train_joint"),
        out=artefact("train_joint"),
    shell:
        "{params.launch} -m segcompass.stages.train_joint --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --answers {input.answers}"
        " --out {params.out} > {log} 2>&1"


rule evaluate:
    input:
        params=frozen("evaluate"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
        sae=variant_sae,
        control_sae=control_sae,
        run=artefact("train_joint", "run.json"),
    output:
        artefact("evaluate", "run.json"),
    log:
        "logs/{study}/evaluate/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/evaluate/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("evaluate"),
    shell:
        "python -m segcompass.stages.evaluate --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --control-sae {input.control_sae} --run {input.run}"
        " --out {params.out} > {log} 2>&1"
