# A rule for each kind of stage, from its declaration; and one that gathers the shards of those that
# are scattered. A helper that a rule calls later takes the kind's name as an argument: the loop's
# variable is by then another's.
for kind in KINDS.values():
    if kind.place == "study":
        continue

    rule:
        name:
            kind.name
        input:
            stage_files(kind.name),
        output:
            **kind_outputs(kind),
        log:
            f"{folder_of(kind)}/logs/{job_name(kind)}.log",
        benchmark:
            f"{folder_of(kind)}/logs/{job_name(kind)}.benchmark.tsv"
        wildcard_constraints:
            run=subjects(kind),
            analysis=subjects(kind),
        conda:
            kind.environment_file
        threads: 1
        resources:
            mem_mb=stage_memory(kind.name),
            runtime=stage_minutes(kind.name),
            gpu=stage_gpus(kind.name),
            gres=stage_gres(kind.name),
        params:
            work=kind.work,
            config=stage_params(kind.name, "config"),
            inputs=stage_params(kind.name, "inputs"),
            key=stage_params(kind.name, "key"),
            subject=stage_params(kind.name, "subject"),
        message:
            describe(kind)
        script:
            "../../scripts/stage.py"


rule gather:
    input:
        lambda wildcards: shard_files(STAGES[wildcards.stage, wildcards.key]),
    output:
        data=f"{RESULTS}/stages/{{stage}}/{{key}}/data.nc",
    log:
        f"{RESULTS}/stages/{{stage}}/{{key}}/logs/gather.log",
    benchmark:
        f"{RESULTS}/stages/{{stage}}/{{key}}/logs/gather.benchmark.tsv"
    conda:
        "../../envs/simulate.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(30),
    params:
        work="macrodyn.pipeline.gathering:gather",
        stage=lambda wildcards: wildcards.stage,
        config=lambda wildcards: STAGES[wildcards.stage, wildcards.key].config,
        scatter=lambda wildcards: vars(KINDS[wildcards.stage].scatter),
        inputs=lambda wildcards, input: {"shards": dict(enumerate(map(str, input)))},
    message:
        "Gathering the shards of {wildcards.stage}"
    script:
        "../../scripts/stage.py"
