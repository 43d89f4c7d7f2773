"""What a stage is, whatever the run: one declaration, which rules, jobs, status and report read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Where a stage's folder is: named by a digest of all that it depends on, or by what it is about.
Place = Literal["digest", "run", "analysis", "study"]
Devices = Literal["cpu", "any", "system"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Names of Snakemake's own, and of the rules that are no stages.
_TAKEN = {"all", "gather"}


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """How a stage is cut into shards, each a job, and put together again.

    Attributes:
        dimension: Dimension along which the shards' data sets are joined.
        order: Variable that numbers the entries along it; they are put in its order, so that the
            result does not depend on the number of shards.
        finish: ``module:function`` that is given the joined data set and the stage's configuration
            and returns what is written; nothing if the joined data set is.
    """

    dimension: str
    order: str
    finish: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, or figures of one sort, that a stage draws.

    Attributes:
        pattern: Their files below the stage's ``figures``; ``*`` stands for what the user named.
            Pictures are ``.png``; ``.json`` are data that a page draws itself, as
            `macrodyn.evaluation.explorer.trajectory_data` returns them, sealed.
        title: What they show, in words.
        caption: reStructuredText with Jinja, below ``workflow/report`` or anywhere; '' for none.
    """

    pattern: str
    title: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class StageKind:
    """A kind of stage.

    Attributes:
        name: Its name, that of its rule and of the folder of its stages.
        work: ``module:function`` that does it, imported in the job alone. It is given the `Job`. A
            data set that it returns is written to the output ``data``, with its cost and origin.
        doing: What it does, for the line that Snakemake prints.
        outputs: Its files by name, the one that says its cost first: as attributes of a data set,
            or as ``cost`` in a JSON file. A name without a suffix is a folder.
        carries_cost: The output that says its cost; the first if left out, '' if none does.
        counts_updates: Whether its cost is counted in site updates too.
        scatter: How it is cut into shards; None if it is one job.
        memory: Memory of a job, in MB, where the study does not say.
        minutes: Time limit of a job, likewise.
        environment: Name of a conda environment in ``envs``, or the path of one.
        devices: Where its jobs can compute: ``cpu``; ``any`` device; or those that the ``system``
            has kernels for.
        version: Raised when its result changes for the same configuration: old results are then
            not used again.
        place: Where its stages stand: in a folder named by a ``digest``, or in that of the ``run``,
            the ``analysis`` or the ``study`` they belong to.
        figures: The figures it draws into its output ``figures``, in the order of the report.
    """

    name: str
    work: str
    doing: str = ""
    outputs: Mapping[str, str] = field(default_factory=lambda: {"data": "data.nc"})
    carries_cost: str | None = None
    counts_updates: bool = False
    scatter: Scatter | None = None
    memory: int = 8000
    minutes: int = 60
    environment: str = "simulate"
    devices: Devices = "cpu"
    version: int = 1
    place: Place = "digest"
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what makes no rule.

        Raises:
            ValueError: If the name or the work has another form, there are no outputs, or a
                scattered stage has others than ``data``.
        """
        if not _NAME.fullmatch(self.name) or self.name in _TAKEN:
            raise ValueError(
                f"a stage cannot be called {self.name!r}: use lower-case letters, digits and _"
            )
        if self.work.count(":") != 1:
            raise ValueError(f"{self.name}.work must be module:function, not {self.work!r}")
        if not self.outputs:
            raise ValueError(f"{self.name} has no outputs")
        if self.scatter and dict(self.outputs) != {"data": "data.nc"}:
            raise ValueError(f"{self.name} is scattered: its only output is data, data.nc")

    @property
    def result(self) -> str:
        """File name of its first output."""
        return next(iter(self.outputs.values()))

    @property
    def environment_file(self) -> str:
        """Its conda environment, as a rule in ``workflow/rules`` names it."""
        if self.environment.endswith((".yaml", ".yml")):
            return str(Path(self.environment).absolute())
        return f"../../envs/{self.environment}.yaml"


def analysis_kind(name: str, work: str, doing: str, figure: Figure) -> StageKind:
    """Declare an analysis across runs that makes findings and one sort of figure.

    Args:
        name: Its name, which a configuration says as ``kind``.
        work: ``module:function``.
        doing: What its jobs do, in words.
        figure: Its figures.
    """
    return StageKind(
        name=name,
        work=work,
        doing=doing,
        outputs={"findings": "findings.json", "figures": "figures"},
        carries_cost="",
        memory=2000,
        minutes=10,
        environment="report",
        place="analysis",
        figures=(figure,),
    )
