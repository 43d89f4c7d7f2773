"""Which analyses across runs are worth making, by their configurations alone."""

from __future__ import annotations

from collections.abc import Mapping

from macrodyn.methods.base import Proposal
from macrodyn.methods.partial_forces.config import PartialForcesRun

Runs = Mapping[str, PartialForcesRun]


def error_against_forces(runs: Runs) -> dict[str, Proposal]:
    """Errors against the forces that were read, where runs read different numbers of them."""
    read = {
        (run.size, run.forces.number, run.forces.runs, run.forces.configurations)
        for run in runs.values()
    }
    return {"error-against-forces": Proposal(runs=list(runs))} if len(read) > 2 else {}


def structures(runs: Runs) -> dict[str, Proposal]:
    """Errors by latent model and loss, where there are several runs."""
    return {"structures": Proposal(runs=list(runs))} if len(runs) > 1 else {}
