# What a run is worth: its metrics and figures, against direct simulation. The figures come into the
# report by their pages, which summarise writes.


rule evaluate:
    input:
        reference=lambda wildcards: result(RUNS[wildcards.run].reference),
        predictions=lambda wildcards: [
            path for paths in every_prediction(wildcards).values() for path in paths.values()
        ],
        latents=lambda wildcards: result(RUNS[wildcards.run].latents["ours"]),
        model=lambda wildcards: result(RUNS[wildcards.run].models["ours"], "model.safetensors"),
        trainings=lambda wildcards: [
            result(stage, "training.json") for stage in RUNS[wildcards.run].models.values()
        ],
        closure=lambda wildcards: result(RUNS[wildcards.run].closure, "training.json"),
        small=lambda wildcards: result(RUNS[wildcards.run].data.parents["small"]),
        large=lambda wildcards: result(RUNS[wildcards.run].data),
        costs=lambda wildcards: [
            path
            for stages in cost_files(wildcards).values()
            for paths in stages.values()
            for path in paths
        ],
    output:
        metrics=f"{RESULTS}/{{run}}/metrics.json",
        trajectories=directory(f"{RESULTS}/{{run}}/figures/trajectories"),
        equilibrium=directory(f"{RESULTS}/{{run}}/figures/equilibrium"),
        drift_diffusion=f"{RESULTS}/{{run}}/figures/drift-diffusion.png",
        residual_by_age=f"{RESULTS}/{{run}}/figures/residual-by-age.png",
        markov=f"{RESULTS}/{{run}}/figures/markov.png",
        snapshots=f"{RESULTS}/{{run}}/figures/snapshots.png",
        training=f"{RESULTS}/{{run}}/figures/training.png",
    log:
        f"{RESULTS}/{{run}}/logs/evaluate.log",
    benchmark:
        f"{RESULTS}/{{run}}/logs/evaluate.benchmark.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(30),
    params:
        config=lambda wildcards: RUNS[wildcards.run].config.model_dump(
            mode="json", exclude={"execution"}
        ),
        predictions=every_prediction,
        trainings=lambda wildcards: {
            method: result(stage, "training.json")
            for method, stage in RUNS[wildcards.run].models.items()
        },
        costs=cost_files,
    message:
        "Evaluating run {wildcards.run}"
    script:
        "../../scripts/evaluate.py"
