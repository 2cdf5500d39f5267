rule prepare_data:
    input:
        params=frozen("prepare_data"),
    output:
        artefact("prepare_data", "run.json"),
    log:
        "logs/{study}/prepare_data/prepare_data.log",
    benchmark:
        "logs/{study}/prepare_data/prepare_data.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        out=artefact("prepare_data"),
    shell:
        "python -m segcompass.stages.prepare_data --params {input.params} --out {params.out} > {log} 2>&1"
