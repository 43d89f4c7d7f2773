"""The jobs that a study consists of, and the files by which each of them is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.cuts import kept_cut
from macrodyn.pipeline.planner import StudyPlan
from macrodyn.pipeline.stage import Stage, StageId

GATHER = "gather"
_SHARD = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class ExpectedJob:
    """One job of a study.

    Attributes:
        rule: Its rule.
        stage: The stage that it makes, or is a part of.
        folder: Folder of its outputs, below which are its log and its checkpoints.
        outputs: Names of its outputs.
        name: Name of its log, without the suffix.
    """

    rule: str
    stage: Stage
    folder: Path
    outputs: tuple[str, ...]
    name: str

    @property
    def id(self) -> StageId:
        """The id of its stage."""
        return self.stage.id

    @property
    def result(self) -> str:
        """The file that makes its own output dispensable: that of its stage's shards."""
        return self.stage.kind.result

    @property
    def wildcards(self) -> tuple[str, ...]:
        """Values of its rule's wildcards, in the order of the rule's."""
        if self.stage.kind.place == "study":
            return ()
        if self.rule == GATHER:
            return self.stage.id
        shard = _SHARD.fullmatch(self.name)
        return (self.stage.id[1], *(shard.groups() if shard else ()))

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
        if self.stage.kind.place == "study":
            return self.rule
        stage, subject = self.stage.id
        part = f" {self.name.replace('-', ' ')}" if self.name.startswith("shard-") else ""
        return f"{self.rule}{f' {stage}' if stage != self.rule else ''} {subject}{part}"


def rules(plans: StudyPlan) -> tuple[str, ...]:
    """List the rules of a study, in the order in which it needs them."""
    kinds = list(plans.kinds.values())
    names = [kind.name for kind in kinds]
    scattered = [place for place, kind in enumerate(kinds) if kind.scatter]
    if scattered:
        names.insert(scattered[-1] + 1, GATHER)
    return tuple(names)


def expected_jobs(folder: StrPath, plans: StudyPlan) -> list[ExpectedJob]:
    """List the jobs of a study, whether they have run or not.

    Args:
        folder: The study's folder.
        plans: Its runs.
    """
    folder = Path(folder)
    jobs = [job for stage in plans.stages.values() for job in _stage_jobs(folder, stage)]
    order = {rule: number for number, rule in enumerate(rules(plans))}
    return sorted(jobs, key=lambda job: order[job.rule])


def _stage_jobs(folder: Path, stage: Stage) -> Iterator[ExpectedJob]:
    here = folder / stage.folder
    if not stage.kind.scatter:
        yield ExpectedJob(stage.name, stage, here, tuple(stage.kind.outputs.values()), stage.name)
        return
    shards = kept_cut(here) or stage.shards
    for number in range(shards):
        name = f"shard-{number}-of-{shards}"
        yield ExpectedJob(stage.name, stage, here, (f"{name}.nc",), name)
    yield ExpectedJob(GATHER, stage, here, (stage.kind.result,), GATHER)
