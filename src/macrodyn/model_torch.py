"""A trained model as modules of torch, and as a program that needs torch alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.paths import StrPath
from macrodyn.storage.files import atomic_path

if TYPE_CHECKING:
    from macrodyn.model import MacroModel

# What stands beside the program in its file.
FACTS = "macrodyn.json"


class MeanModel(nn.Module):
    """Drift and noise of the mean model alone."""

    def __init__(self, model: WithMean) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, conditions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Drift [batch, d] and factor [batch, d, d] at z [batch, d]."""
        drift, factor = self.model(z.expand(self.model.members, -1, -1), conditions)
        return drift[-1], None if factor is None else factor[-1]


class _OneByOne(Ensemble):
    """An ensemble whose members are evaluated one after the other.

    `vmap` fixes the number of states of some models where a program is made of them.
    """

    def evaluate(
        self, parameters: dict[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        constants = self.constants_by_name()
        drifts, noises = [], []
        for member in range(self.members):
            own = tuple(
                {name: value[member] for name, value in values.items()}
                for values in (parameters, constants)
            )
            drift, noise = functional_call(self.template, own, (inputs[member],))
            drifts.append(drift)
            noises.append(noise)
        return torch.stack(drifts), torch.stack(noises) if self.noisy else None


def export(model: MacroModel, path: StrPath) -> Path:
    """See `MacroModel.export`."""
    from macrodyn.model import ModelError

    path = Path(path)
    if path.suffix != ".pt2":
        raise ModelError(f"a program of torch ends in .pt2, not {path.name}")
    # What was learned stays as it is: in the copy all is computed in double precision.
    mean = copy.deepcopy(model.to_torch()).double().eval().requires_grad_(False)
    assert isinstance(mean, MeanModel)
    mean.model.ensemble.__class__ = _OneByOne
    given = [torch.zeros(3, len(model.variables), dtype=torch.float64)]
    if model.conditions:
        given.append(torch.zeros(3, len(model.conditions), dtype=torch.float64))
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        mean, tuple(given), dynamic_shapes=tuple({0: batch} for _ in given)
    )
    facts = {
        "variables": list(model.variables),
        "conditions": list(model.conditions),
        "step": model.step,
        "time_unit": model.system.time_unit,
        "sites": model.ensemble.metadata.get("sites"),
        "range": [list(model.ensemble.domain.low), list(model.ensemble.domain.high)],
    }
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary, extra_files={FACTS: json.dumps(facts)})
    return path
