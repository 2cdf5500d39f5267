rule cache_activations:
    input:
        params=frozen("cache_activations"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        shards=shards("cache_activations"),
    output:
        artefact("cache_activations", "run.json"),
    log:
        "logs/{study}/cache_activations/layer{layer}.log",
    benchmark:
        "logs/{study}/cache_activations/layer{layer}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("cache_activations"),
        shards=given_shards,
    shell:
        "python -m segcompass.stages.cache_activations --params {input.params} --data {input.data}"
        " --backbone {input.backbone} {params.shards} --out {params.out} > {log} 2>&1"


use rule cache_activations as cache_activations_shard with:
    output:
        temp(directory(shard_pattern("cache_activations"))),
    log:
        "logs/{study}/cache_activations/layer{layer}_{shard}.log",
    benchmark:
        "logs/{study}/cache_activations/layer{layer}_{shard}.tsv"
    params:
        out=shard_pattern("cache_activations"),


rule train_sae:
    input:
        params=frozen("train_sae"),
        activations=sae_activations,
        data=on_the_fly(artefact("prepare_data", "run.json")),
        backbone=on_the_fly(policy),
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
        given=lambda wildcards, input: " ".join(
            f"--{flag} {input[flag]}"
            for flag in ("activations", "data", "backbone", "like")
            if input[flag]
        ),
    shell:
        "{params.launch} -m segcompass.stages.train_sae --params {input.params} {params.given}"
        " --out {params.out} > {log} 2>&1"


rule label_tokens:
    input:
        params=frozen("label_tokens"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
    output:
        artefact("label_tokens", "run.json"),
    log:
        "logs/{study}/label_tokens/label_tokens.log",
    benchmark:
        "logs/{study}/label_tokens/label_tokens.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        out=artefact("label_tokens"),
    shell:
        "python -m segcompass.stages.label_tokens --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --out {params.out} > {log} 2>&1"


rule score_concepts:
    input:
        params=frozen("score_concepts"),
        tokens=artefact("label_tokens", "run.json"),
        sae=artefact("train_sae", "run.json"),
        control_sae=untrained_twin,
    output:
        artefact("score_concepts", "run.json"),
    log:
        "logs/{study}/score_concepts/{sae}.log",
    benchmark:
        "logs/{study}/score_concepts/{sae}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        out=artefact("score_concepts"),
    shell:
        "python -m segcompass.stages.score_concepts --params {input.params} --tokens {input.tokens}"
        " --sae {input.sae} --control-sae {input.control_sae} --out {params.out} > {log} 2>&1"
