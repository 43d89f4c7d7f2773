"""What the figure of trajectories that readers choose from holds of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from macrodyn.evaluation import style
from macrodyn.evaluation.explorer import ExplorerCase, pooled_curves, trajectory_data
from macrodyn.methods.partial_evolution.compare import Comparison
from macrodyn.paths import StrPath
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems import PatchSystem

_TRUTH = "direct"


@dataclass(frozen=True, kw_only=True)
class ExploredCase:
    """One comparison with direct simulation, or predictions where there is none.

    Attributes:
        case: Its trajectories.
        variables: Names of the variables, the observables first.
    """

    case: ExplorerCase
    variables: tuple[str, ...]


def explored_case(
    name: str, comparison: Comparison, predictions: Mapping[str, StrPath], system: PatchSystem
) -> ExploredCase:
    """Take means and spreads of direct simulation and of each scheme, closure variables included.

    Args:
        name: Name of the case.
        comparison: Direct simulation, if there is one.
        predictions: Prediction file of each scheme.
        system: The system.
    """
    direct = comparison.reference
    curves = {} if direct is None else {_TRUTH: pooled_curves(direct[None], ddof=1)}
    variables: tuple[str, ...] = ()
    for scheme in sorted(predictions, key="ours".__ne__):
        z = read_dataset(predictions[scheme], ["z"])["z"]
        z = z.transpose("member", "initial", "replica", "time", "variable")
        curves[scheme] = pooled_curves(z.values)
        names = tuple(str(one) for one in z["variable"].values)
        variables = max(variables, names, key=len)
    components = [style.label(one, system.labels) for one in comparison.components]
    return ExploredCase(
        case=ExplorerCase(
            name=name,
            time=comparison.time,
            states=[style.state_label(values, components) for values in comparison.initial],
            curves=curves,
            replicas=1 if direct is None else direct.shape[1],
        ),
        variables=variables,
    )


def explored_trajectories(cases: Sequence[ExploredCase], system: PatchSystem) -> dict[str, Any]:
    """Return the data of the figure.

    Args:
        cases: All cases of the run.
        system: The system.
    """
    variables = max((one.variables for one in cases), key=len)
    schemes = dict.fromkeys(scheme for one in cases for scheme in one.case.curves)
    return trajectory_data(
        [one.case for one in cases],
        [style.label(name, system.labels) for name in variables],
        truth=_TRUTH,
        schemes={name: "direct simulation" if name == _TRUTH else name for name in schemes},
        time_unit=system.time_unit,
        state="initial macrostate",
    )
