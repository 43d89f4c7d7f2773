"""Analyses across runs: those that a study asks for, or that its methods propose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from macrodyn.config.errors import problems
from macrodyn.config.models import RunConfig, StudyKeys
from macrodyn.config.sweep import swept
from macrodyn.methods.base import Analysis
from macrodyn.methods.registry import find_method


@dataclass(frozen=True)
class AskedAnalysis:
    """An analysis across runs of a study.

    Attributes:
        kind: What it is.
        runs: Names of the runs that it is of.
        options: Its options, as its section reads them.
    """

    kind: Analysis
    runs: tuple[str, ...]
    options: dict[str, Any]


def asked_analyses(
    keys: StudyKeys, runs: dict[str, RunConfig], wrong: dict[str, str]
) -> Iterator[tuple[str, AskedAnalysis]]:
    """Yield the analyses that a study asks for, or those that its methods propose.

    Args:
        keys: The study's keys.
        runs: Its runs by name.
        wrong: Takes what is wrong, by the path of the key.

    Yields:
        Name of an analysis, and what it is.
    """
    origins = {name: origin for name, _, origin in swept(keys.runs, keys.sweep)}
    by_method: dict[str, dict[str, RunConfig]] = {}
    for name, run in runs.items():
        by_method.setdefault(run.method, {})[name] = run
    kinds: dict[str, tuple[Analysis, dict[str, RunConfig]]] = {}
    for method, of in by_method.items():
        for kind in find_method(method).analyses:
            if kind.stage.name in kinds:
                wrong["method"] = (
                    f"two methods of the study have an analysis called {kind.stage.name}: give "
                    "their runs studies of their own"
                )
            kinds[kind.stage.name] = kind, of
    if keys.analyses is None:
        for kind, of in kinds.values():
            for name, proposal in kind.propose(of).items():
                options = kind.options.model_validate(dict(proposal.options))
                yield (
                    name,
                    AskedAnalysis(kind, tuple(proposal.runs), options.model_dump(mode="json")),
                )
        return
    for name, asked in keys.analyses.items():
        path = f"analyses.{name}"
        if asked.kind not in kinds:
            wrong[f"{path}.kind"] = (
                f"there is no analysis {asked.kind!r}; there are: {', '.join(sorted(kinds))}"
            )
            continue
        kind, of = kinds[asked.kind]
        # A run that was swept stands for all that were made of it.
        chosen = {given: [r for r in of if given in (r, origins[r])] for given in asked.runs or of}
        if unknown := [given for given, found in chosen.items() if not found]:
            wrong[f"{path}.runs"] = (
                f"{', '.join(unknown)}: no such run of the method; there are: {', '.join(of)}"
            )
            continue
        try:
            options = kind.options.model_validate(asked.model_extra or {})
        except ValidationError as error:
            told = problems(error, asked.model_extra or {}, kind.options)
            wrong.update({f"{path}.{key}": said for key, said in told.items()})
            continue
        found = tuple(dict.fromkeys(run for group in chosen.values() for run in group))
        yield name, AskedAnalysis(kind, found, options.model_dump(mode="json"))
