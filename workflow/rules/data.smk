rule prepare_data:
    input:
        params=frozen("prepare_data"),
    output:
        artefact("prepare_data", "run.json"),
    params:
        out=artefact("prepare_data"),
    log:
        "logs/{study}/prepare_data/prepare_data.log",
    benchmark:
        "logs/{study}/prepare_data/prepare_data.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        ENVIRONMENT
    shell:
        "python -m segcompass.stages.prepare_data --params {input.params} --out {params.out} > {log} 2>&1"
