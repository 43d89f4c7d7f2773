"""What all configurations have, whatever the method: runs, and the study that they belong to."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from macrodyn.config.section import Name, PositiveFloat, PositiveInt, Section, Seed

METHOD = "partial-evolution"
Device = Literal["cpu", "cuda"]


class SystemConfig(Section):
    """Which microscopic system, and its physical parameters."""

    name: str = Field(description="Entry point in the group macrodyn.systems, or module:Class.")
    # As they stand in the file: what is a number is known to the system alone.
    parameters: dict[
        str, Annotated[float, Field(allow_inf_nan=False)] | int | str | bool | None
    ] = Field(default_factory=dict, description="The system's parameters; the system says which.")


class ExecutionConfig(Section):
    """How the work is cut and where it runs; never changes a result."""

    shards: dict[Name, PositiveInt] = Field(
        default_factory=dict,
        description="Jobs into which a stage is scattered, by its name; 2 for a stage left out.",
    )
    memory: dict[Name, PositiveInt] = Field(
        default_factory=dict,
        description="MB that a job of a stage asks the cluster for, by its name; what the stage "
        "usually needs where it is left out.",
    )
    minutes: dict[Name, PositiveInt] = Field(
        default_factory=dict,
        description="Minutes that the cluster gives a job of a stage, by its name; as for memory.",
    )
    device: Device = "cpu"
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0,
        description="Minutes between two checkpoints of a long job; the same for all runs.",
    )


class RunConfig(Section):
    """What a run of any method depends on; methods add their own sections."""

    method: str = Field(
        default=METHOD,
        description="How the dynamics is learned: an entry point in the group macrodyn.methods, or "
        "module:Class.",
    )
    seed: Seed = 2511
    system: SystemConfig
    execution: ExecutionConfig = ExecutionConfig()


class AnalysisConfig(Section):
    """An analysis across runs; its further keys are the options of its kind."""

    model_config = Section.model_config | {"extra": "allow"}

    kind: str = Field(description="Which analysis; the method says which there are.")
    runs: tuple[Name, ...] | None = Field(
        default=None, min_length=1, description="The runs it is of; all of its method if left out."
    )


class StudyKeys(Section):
    """A configuration file: a base, and named runs that override parts of it."""

    study: Name = Field(description="Name of the study's folder below results/.")
    title: str = ""
    runs: dict[Name, dict[str, Any] | None] = Field(
        min_length=1,
        description="Runs by name; each holds the keys in which it differs from the base.",
    )
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Values of keys, such as evolve.dt: each run is made for every combination of "
        "them.",
    )
    analyses: dict[Name, AnalysisConfig] | None = Field(
        default=None,
        description="Analyses across runs, by name; what the method proposes if left out.",
    )


def study_model(run: type[RunConfig]) -> type[Section]:
    """Make the model of a configuration file whose base is of a method.

    Args:
        run: The model of the method's runs.
    """
    bases: tuple[type[Section], ...] = (StudyKeys, run)
    return create_model("StudyConfig", __base__=bases, __doc__=StudyKeys.__doc__)


def json_schema(run: type[RunConfig]) -> str:
    """Return the JSON schema of a configuration file whose base is of a method."""
    schema = study_model(run).model_json_schema()
    return json.dumps(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2
    )
