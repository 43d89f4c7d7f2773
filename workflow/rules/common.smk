# The study, its stages, and how rules find them. A stage's folder is named by a digest of the part of
# the configuration it depends on: see src/macrodyn/pipeline/plan.py.
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from macrodyn.pipeline.plan import plan_study
from macrodyn.study import ConfigError, load_study
from macrodyn.systems import system_class

try:
    STUDY = load_study(config, where=", ".join(map(str, workflow.configfiles)))
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RUNS = plan_study(STUDY)
STAGES = {found: stage for run in RUNS.values() for found, stage in run.stages().items()}
RESULTS = f"results/{STUDY.name}"
AT = f"{RESULTS}/stages"
CUDA = {"cuda": 1}


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    stage="simulate|upsample|evolve|reference",
    key="[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",


def stage_config(name):
    """What a stage's result depends on."""
    return lambda wildcards: STAGES[name, wildcards.key].config


def memory(megabytes):
    """Memory of a job in MB: twice as much at each further attempt."""
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def minutes(number):
    """Time limit of a job: as much again at each further attempt."""
    return lambda wildcards, attempt: number * attempt


def stage_gpus(name):
    """GPUs that a rule asks for; its script takes the device from it, as a resource reruns nothing."""

    def gpus(wildcards):
        stage = STAGES[name, wildcards.key]
        device = stage.execution["device"]
        # Training runs on any device; sampling on those that the system knows.
        if "system" in stage.config and name in ("upsample", "evolve"):
            device = (
                device if device in system_class(stage.config["system"]["name"]).devices else "cpu"
            )
        return CUDA.get(device, 0)

    return gpus


def result(stage, file="data.nc"):
    """Path of a result of a stage."""
    return f"{AT}/{stage.folder}/{file}"


def parent(name, role, file="data.nc"):
    """Path of a result of the stage that a stage reads in a role."""
    return lambda wildcards: result(STAGES[name, wildcards.key].parents[role], file)


def shard_files(stage):
    """Paths of the shards of a sampling stage."""
    return [f"{AT}/{stage.folder}/shard-{i}-of-{stage.shards}.nc" for i in range(stage.shards)]


def every_prediction(wildcards):
    """Predictions by method and horizon."""
    return {
        method: {horizon: result(stage) for horizon, stage in horizons.items()}
        for method, horizons in RUNS[wildcards.run].predictions.items()
    }


def cost_files(wildcards):
    """The files that carry what our way costs, by stage, and what direct simulation costs."""
    run = RUNS[wildcards.run]
    ours = run.models["ours"].ancestors() | run.closure.ancestors()
    for stage in run.predictions["ours"].values():
        ours |= stage.ancestors()
    names = {"closure": "training.json", "dynamics": "training.json"}
    files = {}
    for stage in ours.values():
        files.setdefault(stage.name, []).append(result(stage, names.get(stage.name, "data.nc")))
    return {"ours": files, "direct": {"reference": [result(run.reference)]}}
