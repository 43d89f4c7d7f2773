"""What surrounds every job: its work, log, progress, threads, checkpoints, and how it ends."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr

from macrodyn.config.models import ExecutionConfig
from macrodyn.paths import StrPath
from macrodyn.pipeline.attempts import forget, refuse_repetition, remember
from macrodyn.pipeline.interrupt import StopSignal, heartbeat, leave, listen
from macrodyn.sampling.work import Work
from macrodyn.storage.checkpoints import Checkpoints, fingerprint
from macrodyn.storage.errors import Interrupted
from macrodyn.storage.files import remove_temporaries
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.provenance import provenance
from macrodyn.targets import load_target

_LOGGER = logging.getLogger("macrodyn")
# Seconds between two lines of progress.
_EVERY = 5.0

# Of variables that several stages have; what a stage says itself goes first. Names have no unit.
_DESCRIPTIONS = {
    "component": {"long_name": "name of the component of a macrostate"},
    "condition": {"long_name": "name of the condition"},
    "condition_values": {"long_name": "value of the condition", "units": "1"},
    "control": {"long_name": "name of the control variate"},
    "example_number": {
        "long_name": "number of the group or trajectory of the example",
        "units": "1",
    },
    "group": {"long_name": "group of small systems, one initial macrostate each", "units": "1"},
    "initial_values": {"long_name": "initial macrostate", "units": "1"},
    "lag": {"long_name": "time of a pair in multiples of dt", "units": "1"},
    "macrostate": {"long_name": "initial macrostate", "units": "1"},
    "number": {"long_name": "number of the sample or trajectory", "units": "1"},
    "observable": {"long_name": "name of the observable"},
    "time": {"long_name": "physical time"},
    "variable": {"long_name": "name of the macroscopic variable"},
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the work of a stage is given.

    Attributes:
        stage: Name of the stage's kind.
        config: The stage's configuration.
        inputs: Files of the stages that it reads: by role, then by the name of the output.
        outputs: Its own files, by the name of the output.
        key: Digest of all that the stage depends on.
        subject: What the stage is about, such as its run, if its folder is named by that.
        shard: Number of the shard that the job makes.
        shards: Number of shards of the stage.
        params: What else its rule hands it.
        threads: Cores that the job may use.
        device: ``cuda`` if the rule asked for a GPU, else ``cpu``.
        log: The job's log file.
        started: When the job began, by the monotonic clock.
        checkpoints: Where its long loop keeps checkpoints; None keeps none.
        captions: Folder of the captions of figures.
    """

    stage: str
    config: dict[str, Any]
    inputs: Mapping[str, Mapping[str, StrPath]]
    outputs: dict[str, Path]
    key: str = ""
    subject: str = ""
    shard: int = 0
    shards: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    device: str = "cpu"
    log: Path | None = None
    started: float = field(default_factory=time.monotonic)
    checkpoints: Checkpoints | None = None
    captions: Path = Path("workflow/report")
    _steps: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    def input(self, role: str, output: str | None = None) -> Path:
        """Return a file of a stage that this one reads.

        Args:
            role: The role of the stage.
            output: Name of the output; the stage's first if left out.
        """
        files = self.inputs[role]
        return Path(files[output] if output else next(iter(files.values())))

    def roles(self, below: str) -> list[str]:
        """Return the rest of those roles that begin so, such as ``model``, in order."""
        head = f"{below}/"
        return [role.removeprefix(head) for role in self.inputs if role.startswith(head)]

    @property
    def core_seconds(self) -> float:
        """Core seconds that the job has used so far, those before an interruption included."""
        before = self.checkpoints.spent if self.checkpoints else 0.0
        return (before + time.monotonic() - self.started) * self.threads

    def work(self, label: str, *data: Any) -> Work:
        """Go through a sampling loop with progress, checkpoints and a count of its cost.

        Args:
            label: What the progress is called.
            data: Arrays from the job's inputs that the loop's result depends on.
        """
        identity = {"config": self.config, "key": self.key, "shard": [self.shard, self.shards]}
        return Work(
            progress=lambda done, total: self.step(label, done, total),
            checkpoints=self.checkpoints,
            fingerprint=fingerprint(identity, *data) if self.checkpoints else "",
        )

    def step(self, label: str, done: int, total: int, note: str = "") -> None:
        """Log the progress of an iteration every few seconds, with rate and remaining time."""
        now = time.monotonic()
        # What was done before an interruption must not count for the rate.
        first, since, _ = self._steps.setdefault(label, (done, now, now))
        if done < total and now - self._steps[label][2] < _EVERY:
            return
        self._steps[label] = (first, since, now)
        rate = (done - first) / max(now - since, 1e-9)
        left = (total - done) / rate if rate else float("inf")
        _LOGGER.info("%s: %d of %d, %.3g/s, %.0f s left %s", label, done, total, rate, left, note)

    def info(self, message: str) -> None:
        """Write a line to the job's log."""
        _LOGGER.info(message)

    def warning(self, message: str) -> None:
        """Write a warning to the job's log."""
        _LOGGER.warning(message)


def save_stage(job: Job, data: xr.Dataset) -> None:
    """Write a stage's data set to the output ``data``, with its provenance and its cost.

    Args:
        job: The job.
        data: The data set; the cost it already carries (of its shards) is added to.
    """
    spent = float(data.attrs.get("core_seconds", 0.0)) + job.core_seconds
    data = data.assign_attrs(core_seconds=spent)
    for name in _DESCRIPTIONS.keys() & data.variables.keys():
        data[name].attrs = {**_DESCRIPTIONS[str(name)], **data[name].attrs}
    write_dataset(data, job.outputs["data"], provenance(job.stage, job.config))


def do(job: Job) -> None:
    """Do the work that a job's rule names, and save the data set that it returns, if it does."""
    made = load_target(str(job.params["work"]))(job)
    if isinstance(made, xr.Dataset):
        save_stage(job, made)


@contextmanager
def job(snakemake: Any, signal: StopSignal | None = None) -> Iterator[Job]:
    """Set up a job from a script's ``snakemake`` object, and log what happens in it.

    Threads of numba and torch are set to the rule's; messages and, on failure, the traceback go to
    the rule's log; the error's last line goes to standard error as well.

    Args:
        snakemake: The object that Snakemake puts into a script.
        signal: What `listen` returned at the script's beginning; None if that is here.

    Yields:
        The job.
    """
    log = Path(str(snakemake.log[0])) if snakemake.log else None
    signal = signal or listen(snakemake)
    _set_up_log(log)
    _set_threads(int(snakemake.threads))
    started, began = time.monotonic(), time.time()
    params = dict(snakemake.params.items())
    outputs = {k: Path(v) for k, v in snakemake.output.items()}
    first = next(iter(outputs.values()))
    checkpoints = Checkpoints(
        first.parent / "checkpoint" / first.stem,
        every=60 * _checkpoint_minutes(snakemake.config),
        stop=signal.received,
    )
    try:
        with signal.handled(checkpoints), heartbeat(log):
            refuse_repetition(log)
            wildcards = dict(snakemake.wildcards.items())
            yield Job(
                stage=params.pop("stage", snakemake.rule),
                config=params.pop("config", {}),
                inputs=params.pop("inputs", {}),
                outputs=outputs,
                key=params.pop("key", ""),
                subject=params.pop("subject", ""),
                shard=int(wildcards.get("shard", 0)),
                shards=int(wildcards.get("shards", 1)),
                params=params,
                threads=int(snakemake.threads),
                device=_device(_has_gpu(snakemake.resources)),
                log=log,
                started=started,
                checkpoints=checkpoints,
                captions=Path(snakemake.scriptdir).parent / "workflow" / "report",
            )
    except Interrupted as reason:
        leave(f"stopped by {signal.name} after {time.monotonic() - started:.1f} s: {reason}")
    except Exception as error:
        _LOGGER.error("failed after %.1f s\n%s", time.monotonic() - started, traceback.format_exc())
        print(f"rule {snakemake.rule}: {error} (log: {log})", file=sys.stderr)
        remember(log, error)
        raise
    checkpoints.remove()
    forget(log)
    for path in outputs.values():
        remove_temporaries(path, before=began)
    _LOGGER.info("done in %.1f s", time.monotonic() - started)


def _checkpoint_minutes(config: dict[str, Any]) -> float:
    """Return the study's setting: it changes no result, so that no rule has it as a param."""
    execution = config.get("execution") or {}
    return ExecutionConfig.model_validate(execution).checkpoint_minutes


def _has_gpu(resources: Any) -> bool:
    """Whether the rule asked for a GPU, by number or by the name that the cluster gives it."""
    return bool(resources.get("gpu", 0)) or "gpu" in str(resources.get("gres", ""))


def _device(gpu: bool) -> str:
    """Where to compute: on the GPU that the rule asked for, if there is one."""
    if not gpu:
        return "cpu"
    # Sampling jobs have an environment without torch.
    if find_spec("torch"):
        cuda = import_module("torch").cuda
    else:
        cuda = import_module("numba.cuda")
    if cuda.is_available():
        return "cuda"
    _LOGGER.warning("the job got a GPU, but %s sees none: computing on the CPU", cuda.__name__)
    return "cpu"


def _set_up_log(log: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers = [logging.FileHandler(log, encoding="utf-8")]
    logging.basicConfig(
        handlers=handlers, level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    logging.captureWarnings(True)


def _set_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import numba

    numba.set_num_threads(min(threads, numba.get_num_threads()))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
