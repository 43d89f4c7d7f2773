# The shards of a sampling stage become one file, which the stages after it read.


rule gather:
    input:
        shards=lambda wildcards: shard_files(STAGES[wildcards.stage, wildcards.key]),
    output:
        data=f"{AT}/{{stage}}/{{key}}/data.nc",
    log:
        f"{AT}/{{stage}}/{{key}}/logs/gather.log",
    benchmark:
        f"{AT}/{{stage}}/{{key}}/logs/gather.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(30),
    params:
        config=lambda wildcards: STAGES[wildcards.stage, wildcards.key].config,
    message:
        "Gathering the shards of {wildcards.stage}"
    script:
        "../../scripts/gather.py"
