# The study, its stages, and how rules find them. A stage's folder is named by a digest of the part of
# the configuration it depends on: see src/macrodyn/pipeline/planner.py.
import sys
from hashlib import sha256
from importlib import import_module

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, str(ROOT / "src"))

from macrodyn.config.file import ConfigFileError, check_file
from macrodyn.environment import EnvironmentFault
from macrodyn.methods.registry import UnknownMethodError
from macrodyn.pipeline.attempts import begin_run, growth
from macrodyn.pipeline.canonical import completed
from macrodyn.pipeline.identity import not_run, run_identities, unsummarised
from macrodyn.pipeline.cuts import kept_cut
from macrodyn.pipeline.report.page_labels import page_label
from macrodyn.pipeline.planner import PlanError, plan_study
from macrodyn.pipeline.record import run_command, write_record
from macrodyn.pipeline.slurm import gpu_problem, read_gpus, read_settings, status_problem
from macrodyn.pipeline.monitor.slurm_logs import FOLDER, find_slurm_log, unsaid_reasons
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


try:
    RUNS = plan_study(STUDY)
    STAGES = Stages(RUNS.stages)
except (PlanError, UnknownMethodError) as error:
    raise WorkflowError(str(error)) from None
KINDS = RUNS.kinds
RESULTS = f"results/{STUDY.name}"
# By them the results of runs, which stand at places of their own, are told from those of another
# configuration.
IDENTITIES = run_identities(RUNS)


def subjects(kind):
    """What the stages of a kind are about, as the constraint of a wildcard."""
    # Of digests there may be thousands, and this is read again in each job on a cluster.
    names = {} if kind.place == "digest" else STAGES
    found = [subject for name, subject in names if name == kind.name]
    return "|".join(map(re.escape, found)) or "(?!)"


wildcard_constraints:
    stage="|".join(name for name, kind in KINDS.items() if kind.scatter) or "(?!)",
    key="[0-9a-f]{12}",
    shard=r"\d+",
    shards=r"\d+",


def keep_record():
    """Write down what is run, for `macrodyn status`; dry runs and jobs on nodes do not come here."""
    # With all parameters: where the system is not installed, nobody else knows its defaults.
    configs = {name: run.config for name, run in RUNS.items()}
    try:
        analyses = {name: stage.config["runs"] for name, stage in RUNS.analyses.items()}
        content = completed(config, configs, analyses)
        write_record(Path(RESULTS), content, sys.argv[1:], IDENTITIES)
    except OSError as error:
        raise WorkflowError(str(error)) from None


def summarise_finished():
    """Where a run failed, summarise the others, and name the one that is missing."""
    try:
        # Takes a second to load.
        from macrodyn.pipeline.report import partial

        done = partial.summarise_finished(RESULTS, RUNS, ROOT / "workflow" / "report")
    except Exception as error:  # the failure of the run is what has to be told
        done = f"The finished runs could not be summarised ({error})"
    if done:
        print(done, file=sys.stderr)


def check_report():
    """Refuse to show the results of another configuration under the name of this one."""
    words = {argument.split("=")[0] for argument in sys.argv[1:]}
    if not FIRST_READING or not words & {"--report", "--reporter"}:
        return
    wrong = unsummarised(RESULTS, IDENTITIES, STUDY.title, RUNS.analyses)
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
        job.rule.name in KINDS and wants_gpu(job.rule.name, job.wildcards) for job in jobs
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


def stage_of(name, wildcards):
    """The stage that a job makes, or is a part of."""
    kind = KINDS[name]
    return STAGES[name, STUDY.name if kind.place == "study" else wildcards[SUBJECTS[kind.place]]]


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


def stage_memory(name):
    """Memory of a stage's job, which the study may say."""
    return lambda wildcards, attempt, rulename: memory(stage_of(name, wildcards).memory)(
        wildcards, attempt, rulename
    )


def stage_minutes(name):
    """Time limit of a stage's job, which the study may say."""
    return lambda wildcards, attempt, rulename: minutes(stage_of(name, wildcards).minutes)(
        wildcards, attempt, rulename
    )


def gpu_name():
    """How the cluster calls a GPU, where its profile wants --gres rather than --gpus."""
    given = (workflow.resource_settings.default_resources or {}).get("gpu_gres")
    return str(getattr(given, "raw", given) or "").strip("'\"")


def wants_gpu(name, wildcards):
    """Whether a job computes on a GPU."""
    devices, device = KINDS[name].devices, stage_of(name, wildcards).device
    # Training runs on any device; sampling on those that the system knows.
    if devices == "system" and device != "cpu":
        system = stage_of(name, wildcards).config["system"]["name"]
        return device in system_class(system).devices
    return devices == "any" and device != "cpu"


def stage_gpus(name):
    """GPUs that a rule asks for; its job takes the device from it, as a resource reruns nothing."""
    return lambda wildcards: int(wants_gpu(name, wildcards) and not gpu_name())


def stage_gres(name):
    """The same GPU by its name on the cluster, where that is how one asks for it."""
    return lambda wildcards: gpu_name() if wants_gpu(name, wildcards) else ""


# The wildcard that names the folder of a stage.
SUBJECTS = {"digest": "key", "run": "run", "analysis": "analysis", "study": "study"}
FOLDERS = {
    "digest": f"{RESULTS}/stages/{{name}}/{{{{key}}}}",
    "run": f"{RESULTS}/{{{{run}}}}",
    "analysis": f"{RESULTS}/analyses/{{{{analysis}}}}",
    "study": RESULTS,
}


def folder_of(kind):
    """The folder of a kind's stages, with its wildcard."""
    return FOLDERS[kind.place].format(name=kind.name)


def job_name(kind):
    """What a job's log is called, with the wildcards of a shard."""
    return "shard-{shard}-of-{shards}" if kind.scatter else kind.name


def kind_outputs(kind):
    """A rule's outputs: folders are such that have no suffix."""
    if kind.scatter:
        return {"data": f"{folder_of(kind)}/{job_name(kind)}.nc"}
    paths = {name: f"{folder_of(kind)}/{file}" for name, file in kind.outputs.items()}
    return {name: path if Path(path).suffix else directory(path) for name, path in paths.items()}


def describe(kind):
    """What a job of a kind does, for the line that Snakemake prints."""
    shard = ", shard {wildcards.shard} of {wildcards.shards}" if kind.scatter else ""
    subject = "" if kind.place == "digest" else f": {{wildcards.{SUBJECTS[kind.place]}}}"
    return f"{kind.doing or kind.name}{shard}{subject}"


def result(stage, file=None):
    """Path of a result of a stage."""
    return f"{RESULTS}/{stage.folder}/{file or stage.kind.result}"


def stage_files(name):
    """The files that a job reads: what the stages before it have written."""
    return lambda wildcards: [
        path
        for files in stage_paths(stage_of(name, wildcards)).values()
        for path in files.values()
        if Path(path).suffix
    ]


def stage_paths(stage):
    """Paths of what the stages before a stage have written: by role, then by output."""
    return {
        role: {name: result(parent, file) for name, file in parent.kind.outputs.items()}
        for role, parent in stage.inputs.items()
    }


def stage_params(name, what):
    """What a job is told of its stage."""
    return lambda wildcards: {
        "config": lambda stage: stage.config,
        "inputs": stage_paths,
        "key": lambda stage: stage.key,
        "subject": lambda stage: stage.subject,
    }[what](stage_of(name, wildcards))


def shard_files(stage):
    """Paths of a scattered stage's shards; of one that is gathered, those it was gathered from."""
    shards = kept_cut(Path(RESULTS) / stage.folder) or stage.shards
    return [f"{RESULTS}/{stage.folder}/shard-{i}-of-{shards}.nc" for i in range(shards)]


def captions_digest():
    """Changes with the captions, which the pages show."""
    folder = ROOT / "workflow" / "report"
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.rst")))
    return sha256(content).hexdigest()[:12]


check_report()
