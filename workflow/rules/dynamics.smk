# Steps 5 and 6: drift and diffusion by the partial likelihood, and the trajectories they predict.


rule dynamics:
    input:
        latents=parent("dynamics", "latents"),
    output:
        model=f"{AT}/dynamics/{{key}}/model.safetensors",
        description=f"{AT}/dynamics/{{key}}/model.json",
        training=f"{AT}/dynamics/{{key}}/training.json",
    log:
        f"{AT}/dynamics/{{key}}/logs/dynamics.log",
    benchmark:
        f"{AT}/dynamics/{{key}}/logs/dynamics.benchmark.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
        gpu=stage_gpus("dynamics"),
        gres=stage_gres("dynamics"),
    params:
        config=stage_config("dynamics"),
    message:
        "Training drift and diffusion"
    script:
        "../../scripts/dynamics.py"


rule predict:
    input:
        ensemble=parent("predict", "model", "model.safetensors"),
        closure=parent("predict", "closure", "model.safetensors"),
    output:
        data=f"{AT}/predict/{{key}}/data.nc",
    log:
        f"{AT}/predict/{{key}}/logs/predict.log",
    benchmark:
        f"{AT}/predict/{{key}}/logs/predict.benchmark.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
        gpu=stage_gpus("predict"),
        gres=stage_gres("predict"),
    params:
        config=stage_config("predict"),
    message:
        "Predicting trajectories"
    script:
        "../../scripts/predict.py"
