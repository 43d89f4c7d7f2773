# Step 4: closure variables of patches; and z = (z*, zhat) of all pairs.


rule closure:
    input:
        data=parent("closure", "data"),
    output:
        model=f"{AT}/closure/{{key}}/model.safetensors",
        description=f"{AT}/closure/{{key}}/model.json",
        training=f"{AT}/closure/{{key}}/training.json",
    log:
        f"{AT}/closure/{{key}}/logs/closure.log",
    benchmark:
        f"{AT}/closure/{{key}}/logs/closure.benchmark.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(120),
        gpu=stage_gpus("closure"),
        gres=stage_gres("closure"),
    params:
        config=stage_config("closure"),
    message:
        "Training the closure"
    script:
        "../../scripts/closure.py"


rule encode:
    input:
        pairs=parent("encode", "pairs"),
        states=lambda wildcards: result(
            STAGES["encode", wildcards.key].parents["pairs"].parents["states"]
        ),
        model=parent("encode", "closure", "model.safetensors"),
    output:
        data=f"{AT}/encode/{{key}}/data.nc",
    log:
        f"{AT}/encode/{{key}}/logs/encode.log",
    benchmark:
        f"{AT}/encode/{{key}}/logs/encode.benchmark.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        config=stage_config("encode"),
        evolve=lambda wildcards: STAGES["encode", wildcards.key].parents["pairs"].config,
    message:
        "Encoding pairs of states"
    script:
        "../../scripts/encode.py"
