"""Which analyses across runs are worth making, by their configurations alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from macrodyn.lattice import Tiling
from macrodyn.methods.base import Proposal
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun

Runs = Mapping[str, PartialEvolutionRun]
# Different covariance factors that make a curve.
FEWEST_FACTORS = 3


def error_against_size(runs: Runs) -> dict[str, Proposal]:
    """Errors against the size of the small system: the first run of each size, by case."""
    found = {}
    for case, having in _by_case(runs).items():
        first: dict[tuple[int, ...], str] = {}
        for name in having:
            first.setdefault(runs[name].sizes.small, name)
        found[f"error-against-patch-size-{case}"] = Proposal(
            runs=list(first.values()), options={"horizon": case}
        )
    return found


def all_runs(runs: Runs) -> dict[str, Proposal]:
    """Errors of all runs that have any, where there are more than two."""
    compared = [n for n, run in runs.items() if any(c.reference for c in evaluated_cases(run))]
    return {"all-runs": Proposal(runs=compared)} if len(compared) > 2 else {}


def mmd_against_factor(runs: Runs) -> dict[str, Proposal]:
    """Runs that are the first one but for the covariance factor and the patches evolved."""
    found = {}
    for case, having in _by_case(runs).items():
        first = but_for_the_factor(runs[having[0]].model_dump(mode="json"))
        alike = [n for n in having if but_for_the_factor(runs[n].model_dump(mode="json")) == first]
        factors = {(runs[n].dynamics.covariance_factor, runs[n].evolve.patches) for n in alike}
        if len(factors) >= FEWEST_FACTORS:
            found[f"mmd-against-covariance-factor-{case}"] = Proposal(
                runs=alike, options={"horizon": case}
            )
    return found


def covariance_factors(runs: Runs) -> dict[str, Proposal]:
    """Estimated factors of runs that have more than one patch."""
    several = [n for n, run in runs.items() if Tiling(run.trained[0], run.patch).number > 1]
    return {"covariance-factor": Proposal(runs=several)} if several else {}


def costs(runs: Runs) -> dict[str, Proposal]:
    """What all runs cost."""
    return {"costs": Proposal(runs=list(runs))}


def but_for_the_factor(config: dict[str, Any]) -> str:
    """The configuration without what a trial of covariance factors changes or only shows."""
    rest = {k: v for k, v in config.items() if k not in ("baselines", "published", "execution")}
    for section, key in (("dynamics", "covariance_factor"), ("evolve", "patches")):
        rest[section] = {k: v for k, v in rest[section].items() if k != key}
    return json.dumps(rest, sort_keys=True)


def _by_case(runs: Runs) -> dict[str, list[str]]:
    """Names of the runs that have a case, of those that are compared with direct simulation."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        for case in evaluated_cases(run):
            if case.reference:
                found.setdefault(case.name, []).append(name)
    return found
