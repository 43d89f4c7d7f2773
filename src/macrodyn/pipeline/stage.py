"""One node of a run's graph: a kind of stage, with what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from macrodyn.pipeline.kind import StageKind

# A stage's kind, and the digest or the name of its folder.
StageId = tuple[str, str]


@dataclass(frozen=True)
class Stage:
    """One stage of one or more runs.

    Attributes:
        kind: What it is.
        config: What its result depends on, apart from its inputs.
        parents: The stages whose results it reads, by role.
        execution: How it is cut and where it runs; not part of its key.
        beside: Stages from which its parents were made and that it reads as well, by role; what
            they were made from is in the parents' keys already.
        subject: What it is about, for a kind whose stages stand in a folder of their subject.
    """

    kind: StageKind
    config: dict[str, Any]
    parents: dict[str, Stage] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Stage] = field(default_factory=dict)
    subject: str = ""

    def __post_init__(self) -> None:
        """Sort the keys of the configuration."""
        # Snakemake runs a rule again when its params come in another order; results depend on their
        # values alone.
        object.__setattr__(self, "config", _in_order(self.config))

    @property
    def name(self) -> str:
        """Name of its kind."""
        return self.kind.name

    @cached_property
    def key(self) -> str:
        """Digest of the configuration of this stage and of all it reads."""
        content = {
            "stage": self.name,
            "version": self.kind.version,
            "config": self.config,
            "parents": {role: parent.key for role, parent in sorted(self.parents.items())},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def id(self) -> StageId:
        """Name of its kind, and what its folder is named by: its key, or its subject."""
        return self.name, self.subject or self.key

    @property
    def folder(self) -> str:
        """Its folder below the study's."""
        if self.kind.place == "digest":
            return f"stages/{self.name}/{self.key}"
        return {"run": self.subject, "analysis": f"analyses/{self.subject}", "study": "."}[
            self.kind.place
        ]

    @property
    def inputs(self) -> dict[str, Stage]:
        """The stages whose files it reads, by role."""
        return {**self.parents, **self.beside}

    @property
    def shards(self) -> int:
        """Jobs into which it is scattered."""
        return int(self.execution.get("shards", 1))

    @property
    def memory(self) -> int:
        """Memory that a job asks for, in MB."""
        return int(self.execution.get("memory", self.kind.memory))

    @property
    def minutes(self) -> int:
        """Time limit of a job."""
        return int(self.execution.get("minutes", self.kind.minutes))

    @property
    def device(self) -> str:
        """Where the study wants it to compute."""
        return str(self.execution.get("device", "cpu"))

    def ancestors(self) -> dict[StageId, Stage]:
        """Return this stage and all that it reads, by their ids."""
        return dict(self._ancestors)

    @cached_property
    def _ancestors(self) -> dict[StageId, Stage]:
        found: dict[StageId, Stage] = {}
        for parent in self.parents.values():
            found.update(parent._ancestors)
        return {**found, self.id: self}


def _in_order(value: Any) -> Any:
    """Return plain values with the keys of all mappings sorted."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value
