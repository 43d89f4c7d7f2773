"""The jobs that a study consists of, and the files by which each of them is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.plan import RunPlan, Stage, study_stages

# In the order in which a study needs them. The reference waits for nothing and nothing but the
# evaluation waits for it.
RULES = (
    "simulate",
    "upsample",
    "evolve",
    "reference",
    "gather",
    "closure",
    "encode",
    "dynamics",
    "predict",
    "evaluate",
    "summarise",
)
_SHARD = re.compile(r"shard-(\d+)-of-(\d+)")
_SAMPLED = ("simulate", "upsample", "evolve", "reference")
_MODEL = ("model.safetensors", "model.json", "training.json")
_OUTPUTS = {
    "closure": _MODEL,
    "encode": ("data.nc",),
    "dynamics": _MODEL,
    "predict": ("data.nc",),
    "evaluate": ("metrics.json", "figures"),
    "summarise": (
        "summary.csv",
        "overview.html",
        "configuration.html",
        "provenance.html",
        "figures",
        "pages",
        "summary.json",
    ),
}


@dataclass(frozen=True)
class ExpectedJob:
    """One job of a study.

    Attributes:
        rule: Its rule.
        folder: Folder of its outputs, below which are its log and its checkpoints.
        outputs: Names of its outputs.
        name: Name of its log, without the suffix.
        stage: Name and key of its stage; None for the jobs of whole runs.
        result: The file that makes its own output dispensable: that of its stage's shards.
    """

    rule: str
    folder: Path
    outputs: tuple[str, ...]
    name: str
    stage: tuple[str, str] | None
    result: str

    @property
    def wildcards(self) -> tuple[str, ...]:
        """Values of its rule's wildcards, in the order of the rule's."""
        if self.stage is None:
            return () if self.rule == "summarise" else (self.folder.name,)
        if self.rule == "gather":
            return self.stage
        shard = _SHARD.fullmatch(self.name)
        return (self.stage[1], *(shard.groups() if shard else ()))

    @property
    def log(self) -> Path:
        """Its log."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def checkpoints(self) -> Path:
        """Folder of its checkpoints, while it is unfinished."""
        return self.folder / "checkpoint" / Path(self.outputs[0]).stem

    @property
    def label(self) -> str:
        """What it is, on one line."""
        if self.stage is None:
            return self.rule if self.rule == "summarise" else f"{self.rule} {self.folder.name}"
        stage, key = self.stage
        part = f" {self.name.replace('-', ' ')}" if self.name.startswith("shard-") else ""
        return f"{self.rule}{f' {stage}' if stage != self.rule else ''} {key}{part}"


def expected_jobs(folder: StrPath, plans: dict[str, RunPlan]) -> list[ExpectedJob]:
    """List the jobs of a study, whether they have run or not.

    Args:
        folder: The study's folder.
        plans: Its runs.
    """
    folder = Path(folder)
    stages = study_stages(plans).values()
    jobs = [job for stage in stages for job in _stage_jobs(folder / "stages", stage)]
    for run in plans:
        jobs.append(_job("evaluate", folder / run))
    jobs.append(_job("summarise", folder))
    order = {rule: number for number, rule in enumerate(RULES)}
    return sorted(jobs, key=lambda job: order[job.rule])


def _job(rule: str, folder: Path, stage: Stage | None = None) -> ExpectedJob:
    outputs = _OUTPUTS[rule]
    found = (stage.name, stage.key) if stage else None
    return ExpectedJob(rule, folder, outputs, rule, found, outputs[0])


def _stage_jobs(folder: Path, stage: Stage) -> Iterator[ExpectedJob]:
    here = folder / stage.folder
    if stage.name not in _SAMPLED:
        yield _job(stage.name, here, stage)
        return
    found = (stage.name, stage.key)
    for number in range(stage.shards):
        name = f"shard-{number}-of-{stage.shards}"
        yield ExpectedJob(stage.name, here, (f"{name}.nc",), name, found, "data.nc")
    yield ExpectedJob("gather", here, ("data.nc",), "gather", found, "data.nc")
