# The study, its stages, and how rules find them. A stage's folder is named by a digest of the part of
# the configuration it depends on: see src/macrodyn/pipeline/plan.py.
import sys
from hashlib import sha256
from importlib import import_module

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from macrodyn.config.file import ConfigFileError, check_file
from macrodyn.environment import EnvironmentFault
from macrodyn.pipeline.attempts import begin_run, growth
from macrodyn.pipeline.canonical import completed
from macrodyn.pipeline.figure_titles import page_label
from macrodyn.pipeline.identity import not_run, run_identities, unsummarised
from macrodyn.pipeline.plan import plan_study, study_stages
from macrodyn.pipeline.record import run_command, write_record
from macrodyn.pipeline.slurm import gpu_problem, read_gpus, read_settings, status_problem
from macrodyn.pipeline.slurm_logs import FOLDER, find_slurm_log, unsaid_reasons
from macrodyn.pipeline.slurm_patch import survive_outages
from macrodyn.config.load import ConfigError, load_study
from macrodyn.systems import system_class

# The workflow is read again in every job on a cluster: what has been checked is not checked again.
FIRST_READING = workflow.is_main_process
try:
    # Of a key that stands twice in a file, Snakemake has kept the last.
    documents = [check_file(Path(file)) for file in workflow.configfiles if FIRST_READING]
    STUDY = load_study(
        config,
        where=", ".join(map(str, workflow.configfiles)),
        check_systems=FIRST_READING,
        documents=list(filter(None, documents)),
    )
except (ConfigError, ConfigFileError, EnvironmentFault) as error:
    raise WorkflowError(str(error)) from None
if FIRST_READING:
    begin_run()

for warning in STUDY.warnings:
    logger.warning(f"{STUDY.name}: {warning}")


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
# By them the results of runs, which stand at places of their own, are told from those of another
# configuration.
IDENTITIES = run_identities(RUNS)


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    stage="simulate|upsample|evolve|reference",
    key="[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",


def keep_record():
    """Write down what is run, for `macrodyn status`; dry runs and jobs on nodes do not come here."""
    # With all parameters: where the system is not installed, nobody else knows its defaults.
    configs = {name: run.config for name, run in RUNS.items()}
    try:
        write_record(Path(RESULTS), completed(config, configs), sys.argv[1:], IDENTITIES)
    except OSError as error:
        raise WorkflowError(str(error)) from None


def summarise_finished():
    """Where a run failed, summarise the others, and name the one that is missing."""
    try:
        # Takes a second to load.
        from macrodyn.pipeline import partial

        done = partial.summarise_finished(
            RESULTS,
            IDENTITIES,
            dict(rules.summarise.output),
            dict(rules.summarise.params),
            Path(workflow.basedir) / "workflow" / "report",
        )
    except Exception as error:  # the failure of the run is what has to be told
        done = f"The finished runs could not be summarised ({error})"
    if done:
        print(done, file=sys.stderr)


def check_report():
    """Refuse to show the results of another configuration under the name of this one."""
    words = {argument.split("=")[0] for argument in sys.argv[1:]}
    if not FIRST_READING or not words & {"--report", "--reporter"}:
        return
    wrong = unsummarised(RESULTS, IDENTITIES, STUDY.title)
    if wrong and "--report-after-run" not in words:
        files = list(map(str, workflow.configfiles))
        command = run_command(*files if workflow.overwrite_configfiles else ())
        raise WorkflowError(not_run(RESULTS, ", ".join(files), wrong, command))


def check_cluster():
    """Stop before any job if the cluster cannot do them, or Snakemake not learn how they end."""
    if not on_slurm():
        return
    settings = workflow.executor_settings
    problem = status_problem(
        read_settings(), settings.status_command, settings.init_seconds_before_status_checks
    )
    jobs = workflow.dag.needrun_jobs()
    if not problem and any(
        job.rule.name in ON_GPUS and wants_gpu(job.rule.name, job.wildcards) for job in jobs
    ):
        problem = gpu_problem(read_gpus())
    if problem:
        raise WorkflowError(problem)
    survive_outages(import_module("snakemake_executor_plugin_slurm"), logger)


def on_slurm():
    """Whether jobs go to a SLURM cluster."""
    return hasattr(workflow.executor_settings, "status_command")


def slurm_logs():
    """Where the executor plugin keeps what SLURM prints of each job."""
    given = getattr(workflow.executor_settings, "logdir", None)
    return Path(workflow.workdir_init) / (given or FOLDER)


def tell_reasons():
    """Say why jobs failed whose own log does not, as on a full disk."""
    if on_slurm():
        failed = [
            (job.rule.name, tuple(job.wildcards), Path(job.log[0]) if job.log else None)
            for job in workflow.scheduler.failed
            if not job.is_group()
        ]
        for text in unsaid_reasons(slurm_logs(), failed):
            logger.error(text)


def stage_config(name):
    """What a stage's result depends on."""
    return lambda wildcards: STAGES[name, wildcards.key].config


def further(attempt, rulename, wildcards):
    """How many times what the first attempt got a further one needs."""
    # On a node that is settled.
    if attempt == 1 or not FIRST_READING:
        return attempt
    log = Path(workflow.get_rule(rulename).log[0].apply_wildcards(wildcards))
    found = find_slurm_log(rulename, tuple(wildcards), slurm_logs()) if on_slurm() else None
    return growth(attempt, log, "\n".join(found.lines) if found else "")


def memory(megabytes):
    """Memory of a job in MB: twice as much at each further attempt after one that was killed."""
    return lambda wildcards, attempt, rulename: (
        megabytes * 2 ** (further(attempt, rulename, wildcards) - 1)
    )


def minutes(number):
    """Time limit of a job: as much again at each further attempt after one that was killed."""
    return lambda wildcards, attempt, rulename: number * further(attempt, rulename, wildcards)


def gpu_name():
    """How the cluster calls a GPU, where its profile wants --gres rather than --gpus."""
    given = (workflow.resource_settings.default_resources or {}).get("gpu_gres")
    return str(getattr(given, "raw", given) or "").strip("'\"")


ON_GPUS = {"closure", "dynamics", "predict", "upsample", "evolve"}


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


check_report()
