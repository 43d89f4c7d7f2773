# Step 3: pairs of states a short time apart, of patches or of whole systems.


rule evolve:
    input:
        states=parent("evolve", "states"),
    output:
        data=f"{AT}/evolve/{{key}}/shard-{{shard}}-of-{{shards}}.nc",
    log:
        f"{AT}/evolve/{{key}}/logs/shard-{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{AT}/evolve/{{key}}/logs/shard-{{shard}}-of-{{shards}}.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
        gpu=stage_gpus("evolve"),
        gres=stage_gres("evolve"),
    params:
        config=stage_config("evolve"),
    message:
        "Evolving pairs, shard {wildcards.shard} of {wildcards.shards}"
    script:
        "../../scripts/evolve.py"
