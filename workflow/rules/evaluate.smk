# What a run is worth: its metrics and figures, against direct simulation.


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
        trajectories=report(
            directory(f"{RESULTS}/{{run}}/figures/trajectories"),
            patterns=["{horizon}-{method}.png"],
            caption="../report/trajectories.rst",
            category="Run {run}",
            labels={"figure": "Trajectories", "horizon": "{horizon}", "method": "{method}"},
        ),
        equilibrium=report(
            directory(f"{RESULTS}/{{run}}/figures/equilibrium"),
            patterns=["{horizon}.png"],
            caption="../report/equilibrium.rst",
            category="Run {run}",
            labels={"figure": "Equilibrium", "horizon": "{horizon}", "method": "all"},
        ),
        drift_diffusion=report(
            f"{RESULTS}/{{run}}/figures/drift-diffusion.png",
            caption="../report/drift_diffusion.rst",
            category="Run {run}",
            labels={"figure": "Drift and diffusion", "horizon": "", "method": "ours"},
        ),
        markov=report(
            f"{RESULTS}/{{run}}/figures/markov.png",
            caption="../report/markov.rst",
            category="Run {run}",
            labels={"figure": "Markov diagnostic", "horizon": "", "method": "ours"},
        ),
        snapshots=report(
            f"{RESULTS}/{{run}}/figures/snapshots.png",
            caption="../report/snapshots.rst",
            category="Run {run}",
            labels={"figure": "Snapshots", "horizon": "", "method": "ours"},
        ),
        training=report(
            f"{RESULTS}/{{run}}/figures/training.png",
            caption="../report/training.rst",
            category="Run {run}",
            labels={"figure": "Training", "horizon": "", "method": "all"},
        ),
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
        identity=lambda wildcards: IDENTITIES[wildcards.run],
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
