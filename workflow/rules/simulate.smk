# Step 1: many small systems; and large ones directly, to compare with.


rule simulate:
    output:
        data=f"{AT}/simulate/{{key}}/shard-{{shard}}-of-{{shards}}.nc",
    log:
        f"{AT}/simulate/{{key}}/logs/shard-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{AT}/simulate/{{key}}/logs/shard-{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        config=stage_config("simulate"),
    message:
        "Simulating small systems, shard {wildcards.shard} of {wildcards.shards}"
    script:
        "../../scripts/simulate.py"


rule reference:
    output:
        data=f"{AT}/reference/{{key}}/shard-{{shard}}-of-{{shards}}.nc",
    log:
        f"{AT}/reference/{{key}}/logs/shard-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{AT}/reference/{{key}}/logs/shard-{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        config=stage_config("reference"),
    message:
        "Simulating the large system directly, shard {wildcards.shard} of {wildcards.shards}"
    script:
        "../../scripts/reference.py"
