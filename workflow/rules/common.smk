# The study, its stages, and how rules find them. A stage's folder is named by a digest of the part of
# the configuration it depends on: see src/macrodyn/pipeline/plan.py.
import sys
from hashlib import sha256

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from macrodyn.config_file import ConfigFileError, check_keys
from macrodyn.pipeline.figure_titles import page_label
from macrodyn.pipeline.plan import plan_study, study_stages
from macrodyn.pipeline.record import write_record
from macrodyn.pipeline.slurm import read_settings, status_problem
from macrodyn.study import ConfigError, load_study
from macrodyn.systems import system_class

# The workflow is read again in every job on a cluster: what has been checked is not checked again.
FIRST_READING = workflow.is_main_process
try:
    # Of a key that stands twice in a file, Snakemake has kept the last.
    for file in workflow.configfiles if FIRST_READING else ():
        check_keys(Path(file))
    STUDY = load_study(
        config,
        where=", ".join(map(str, workflow.configfiles)),
        check_systems=FIRST_READING,
    )
except (ConfigError, ConfigFileError) as error:
    raise WorkflowError(str(error)) from None


class Stages(dict):
    """The study's stages by name and key."""

    def __missing__(self, found):
        raise WorkflowError(
            f"study {STUDY.name} has no stage {'/'.join(found)}: the configuration was changed; "
            "run snakemake again with the one you want"
        )


RUNS = plan_study(STUDY)
STAGES = Stages(study_stages(RUNS))
RESULTS = f"results/{STUDY.name}"
AT = f"{RESULTS}/stages"


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    stage="simulate|upsample|evolve|reference",
    key="[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",


def keep_record():
    """Write down what is run, for `macrodyn status`; dry runs and jobs on nodes do not come here."""
    try:
        write_record(Path(RESULTS), config, sys.argv[1:])
    except OSError as error:
        raise WorkflowError(str(error)) from None


def check_cluster():
    """Stop before any job if Snakemake could not learn how jobs on the cluster end."""
    settings = workflow.executor_settings
    if hasattr(settings, "status_command"):
        problem = status_problem(
            read_settings(), settings.status_command, settings.init_seconds_before_status_checks
        )
        if problem:
            raise WorkflowError(problem)


def stage_config(name):
    """What a stage's result depends on."""
    return lambda wildcards: STAGES[name, wildcards.key].config


def memory(megabytes):
    """Memory of a job in MB: twice as much at each further attempt."""
    return lambda wildcards, attempt: megabytes * 2 ** (attempt - 1)


def minutes(number):
    """Time limit of a job: as much again at each further attempt."""
    return lambda wildcards, attempt: number * attempt


def gpu_name():
    """How the cluster calls a GPU, where its profile wants --gres rather than --gpus."""
    given = (workflow.resource_settings.default_resources or {}).get("gpu_gres")
    return str(getattr(given, "raw", given) or "").strip("'\"")


def wants_gpu(name, wildcards):
    """Whether a job computes on a GPU."""
    stage = STAGES[name, wildcards.key]
    device = stage.execution["device"]
    # Training runs on any device; sampling on those that the system knows.
    if device != "cpu" and name in ("upsample", "evolve"):
        return device in system_class(stage.config["system"]["name"]).devices
    return device != "cpu"


def stage_gpus(name):
    """GPUs that a rule asks for; its script takes the device from it, as a resource reruns nothing."""
    return lambda wildcards: int(wants_gpu(name, wildcards) and not gpu_name())


def stage_gres(name):
    """The same GPU by its name on the cluster, where that is how one asks for it."""
    return lambda wildcards: gpu_name() if wants_gpu(name, wildcards) else ""


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
    names = {"closure": "training.json", "dynamics": "training.json"}
    ours = {
        name: [result(stage, names.get(name, "data.nc")) for stage in stages]
        for name, stages in run.costs().items()
    }
    return {"ours": ours, "direct": {"reference": [result(run.reference)]}}


def captions_digest():
    """Changes with the captions, which the pages show."""
    folder = Path(workflow.basedir) / "workflow" / "report"
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.rst")))
    return sha256(content).hexdigest()[:12]
