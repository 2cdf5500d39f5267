rule cache_answers:
    input:
        params=frozen("cache_answers"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        shards=shards("cache_answers"),
    output:
        artefact("cache_answers", "run.json"),
    log:
        "logs/{study}/cache_answers/{part}.log",
    benchmark:
        "logs/{study}/cache_answers/{part}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("cache_answers"),
        shards=given_shards,
    shell:
        "python -m segcompass.stages.cache_answers --params {input.params} --data {input.data}"
        " --backbone {input.backbone} {params.shards} --out {params.out} > {log} 2>&1"


use rule cache_answers as cache_answers_shard with:
    output:
        temp(directory(shard_pattern("cache_answers"))),
    log:
        "logs/{study}/cache_answers/{part}_{shard}.log",
    benchmark:
        "logs/{study}/cache_answers/{part}_{shard}.tsv"
    params:
        out=shard_pattern("cache_answers"),


rule embed_images:
    input:
        params=frozen("embed_images"),
        data=artefact("prepare_data", "run.json"),
        backbone=artefact("train_backbone", "run.json"),
    output:
        artefact("embed_images", "run.json"),
    log:
        "logs/{study}/embed_images/{segmenter}_{part}.log",
    benchmark:
        "logs/{study}/embed_images/{segmenter}_{part}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        out=artefact("embed_images"),
    shell:
        "python -m segcompass.stages.embed_images --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --out {params.out} > {log} 2>&1"


rule train_interface:
    input:
        params=frozen("train_interface"),
        backbone=policy,
        sae=variant_sae("interface"),
        answers=artefact("cache_answers", "run.json").replace("{part}", "training"),
        images=variant_images("interface", "training"),
    output:
        artefact("train_interface", "run.json"),
    log:
        "logs/{study}/train_interface/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/train_interface/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("train_interface"),
    shell:
        "python -m segcompass.stages.train_interface --params {input.params} --backbone {input.backbone}"
        " --sae {input.sae} --answers {input.answers} --images {input.images}"
        " --out {params.out} > {log} 2>&1"


rule evaluate_interface:
    input:
        params=frozen("evaluate_interface"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        sae=variant_sae("interface"),
        control_sae=control_sae,
        answers=artefact("cache_answers", "run.json").replace("{part}", "evaluation"),
        gold=gold_answers,
        images=variant_images("interface", "evaluation"),
        run=artefact("train_interface", "run.json"),
        shards=shards("evaluate_interface"),
    output:
        artefact("evaluate_interface", "run.json"),
    log:
        "logs/{study}/evaluate_interface/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/evaluate_interface/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("evaluate_interface"),
        shards=given_shards,
        gold=lambda wildcards, input: f"--gold {input.gold}" if input.gold else "",
    shell:
        "python -m segcompass.stages.evaluate_interface --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --control-sae {input.control_sae}"
        " --answers {input.answers} {params.gold} --images {input.images} --run {input.run}"
        " {params.shards} --out {params.out} > {log} 2>&1"


use rule evaluate_interface as evaluate_interface_shard with:
    output:
        temp(directory(shard_pattern("evaluate_interface"))),
    log:
        "logs/{study}/evaluate_interface/{variant}_seed{seed}_{shard}.log",
    benchmark:
        "logs/{study}/evaluate_interface/{variant}_seed{seed}_{shard}.tsv"
    params:
        out=shard_pattern("evaluate_interface"),


rule train_joint:
    input:
        params=frozen("train_joint"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        sae=variant_sae("signals"),
        images=variant_images("signals", "training"),
        interface=start,
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
        " --backbone {input.backbone} --sae {input.sae} --images {input.images} --interface {input.interface}"
        " --out {params.out} > {log} 2>&1"


rule evaluate_joint:
    input:
        params=frozen("evaluate_joint"),
        data=artefact("prepare_data", "run.json"),
        backbone=policy,
        sae=variant_sae("signals"),
        control_sae=control_sae,
        run=artefact("train_joint", "run.json"),
        shards=shards("evaluate_joint"),
    output:
        artefact("evaluate_joint", "run.json"),
    log:
        "logs/{study}/evaluate_joint/{variant}_seed{seed}.log",
    benchmark:
        "logs/{study}/evaluate_joint/{variant}_seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: study_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=artefact("evaluate_joint"),
        shards=given_shards,
    shell:
        "python -m segcompass.stages.evaluate_joint --params {input.params} --data {input.data}"
        " --backbone {input.backbone} --sae {input.sae} --control-sae {input.control_sae} --run {input.run}"
        " {params.shards} --out {params.out} > {log} 2>&1"


use rule evaluate_joint as evaluate_joint_shard with:
    output:
        temp(directory(shard_pattern("evaluate_joint"))),
    log:
        "logs/{study}/evaluate_joint/{variant}_seed{seed}_{shard}.log",
    benchmark:
        "logs/{study}/evaluate_joint/{variant}_seed{seed}_{shard}.tsv"
    params:
        out=shard_pattern("evaluate_joint"),
