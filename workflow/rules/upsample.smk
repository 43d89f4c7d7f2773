# Step 2: from small snapshots to large ones, level by level, each level relaxed patch by patch.


rule upsample:
    input:
        small=parent("upsample", "small"),
    output:
        data=f"{AT}/upsample/{{key}}/shard-{{shard}}-of-{{shards}}.nc",
    log:
        f"{AT}/upsample/{{key}}/logs/shard-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{AT}/upsample/{{key}}/logs/shard-{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(120),
        gpu=stage_gpus("upsample"),
        gres=stage_gres("upsample"),
    params:
        config=stage_config("upsample"),
    message:
        "Upsampling and relaxing, shard {wildcards.shard} of {wildcards.shards}"
    script:
        "../../scripts/upsample.py"
