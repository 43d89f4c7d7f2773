"""A study as it was configured and checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from macrodyn.config.analyses import AskedAnalysis
from macrodyn.config.models import RunConfig


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        name: Its name, that of its folder.
        title: A line that says what it is.
        runs: The runs by name, each with the base merged in.
        warnings: What is allowed but hardly meant, a line each; only of systems that were checked.
        analyses: The analyses across runs, by name.
    """

    name: str
    title: str
    runs: dict[str, RunConfig]
    warnings: tuple[str, ...] = ()
    analyses: dict[str, AskedAnalysis] = field(default_factory=dict)
