"""The interface of a method: its configuration, its checks, its stages, and what it reports.

A method's class is loaded wherever a study is planned, in each of its jobs: what takes long to
import belongs into the modules that its stages name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from macrodyn.config.models import RunConfig
from macrodyn.config.section import Section
from macrodyn.pipeline.kind import StageKind
from macrodyn.pipeline.stage import Stage
from macrodyn.systems import System

# Path of a key, and what is wrong with it.
Problem = tuple[str, str]
AnyRun = TypeVar("AnyRun", bound=RunConfig)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The stages of one run, as its method asks for them.

    Attributes:
        roles: Stages by what they are to the run, such as ``model/ours``.
        evaluated: The roles of those that the evaluation reads; all of them if left out.
        costs: For each way of getting at the result, such as ``direct``, the roles of the stages
            that it pays for, with all that these were made from.
        order: What the user named and whose order shows in the results, such as horizons.
        trained: The roles of those that the trained model is written from, where the method
            writes one; it reads the evaluation besides, as ``evaluation``.
    """

    roles: Mapping[str, Stage]
    evaluated: tuple[str, ...] | None = None
    costs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An analysis that is made where the study does not say which are.

    Attributes:
        runs: Names of the runs that it is of.
        options: Its options.
    """

    runs: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)


def _nothing(_: Mapping[str, Any]) -> Mapping[str, Proposal]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A kind of analysis across runs.

    Attributes:
        stage: Its stage, of the place ``analysis``; its work reads the metrics of each run as the
            input of the run's name, and its options as its configuration.
        options: The section of its options.
        propose: Given runs by name, returns which analyses to make, by name.
    """

    stage: StageKind
    options: type[Section] = Section
    propose: Callable[[Mapping[str, Any]], Mapping[str, Proposal]] = _nothing


class Method(ABC):
    """A method.

    Attributes:
        Run: The model of a run's configuration.
        System: What its systems must be, such as `macrodyn.systems.PatchSystem`.
        kinds: The kinds of its stages, in the order in which a run needs them.
        evaluation: The stage that compares and draws what a run has found, of the place ``run``;
            its outputs ``metrics`` and ``figures`` are ``metrics.json`` and ``figures``.
        trained: The stage that writes the trained model of a run, for its users, of the place
            ``run``; its output is ``model``, a folder. None if the method writes none.
        model: Module that knows its trained models, see `macrodyn.model_files`; '' if none does.
        analyses: Analyses across its runs.
        report: ``module:Class`` of the `Report` that tells its results.
    """

    Run: ClassVar[type[RunConfig]]
    System: ClassVar[type[System]] = System  # type: ignore[type-abstract]
    kinds: ClassVar[tuple[StageKind, ...]]
    evaluation: ClassVar[StageKind]
    trained: ClassVar[StageKind | None] = None
    model: ClassVar[str] = ""
    analyses: ClassVar[tuple[Analysis, ...]] = ()
    report: ClassVar[str] = "macrodyn.methods.report:Report"

    def check_alone(self, run: Any) -> Iterator[Problem]:
        """Check what is wrong across the keys of one run, whatever its system.

        Args:
            run: The run, an instance of ``Run``.

        Yields:
            Path of a key, and a message that says what to do.
        """
        yield from ()

    def check(self, run: Any, system: Any) -> Iterator[Problem]:
        """Check a run against its system; arguments and results as of `check_alone`.

        Args:
            run: The run.
            system: The system with its own parameters; not prepared, if it must be.
        """
        yield from ()

    def warnings(self, run: Any, system: Any) -> Iterator[str]:
        """Yield what is allowed but hardly meant, a line each."""
        yield from ()

    def canonical(self, run: Any) -> Any:
        """Return a run in the one form of all that mean the same: what has no order is sorted."""
        return run

    @abstractmethod
    def plan(self, run: Any, planner: Any) -> Graph:
        """Derive the stages of one run.

        Args:
            run: The run in canonical form.
            planner: Makes the stages; see `macrodyn.pipeline.planner.Planner`.
        """


def in_order(section: Any, name: str) -> Any:
    """Return a section with one of its mappings sorted; a value that is none is left as it is."""
    value = getattr(section, name)
    if not isinstance(value, Mapping):
        return section
    return section.model_copy(update={name: dict(sorted(value.items()))})


def run_of(model: type[AnyRun], config: Mapping[str, Any]) -> AnyRun:
    """Read a run from the configuration of its evaluation, to which the planner adds versions."""
    system = {key: config["system"][key] for key in ("name", "parameters")}
    return model.model_validate({**config, "system": system})
