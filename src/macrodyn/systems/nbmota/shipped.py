"""The model of barriers that comes with the package.

It is made by ``config/nbmota-barriers.yaml``, whose model this module puts into the package:

    python -m macrodyn.systems.nbmota.shipped results/nbmota-barriers
"""

from __future__ import annotations

import sys
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.storage.sealed import read_sealed_json
from macrodyn.systems.nbmota.barriers import BarrierModel

MODEL = Path(__file__).with_name("barriers.safetensors")
"""Where it is; what it was made from stands in the JSON file beside it."""


def read_model(path: StrPath) -> BarrierModel:
    """Read a trained model of barriers.

    Args:
        path: Its file.

    Raises:
        ModelFileError: If the files are missing or damaged.
        ValueError: If they hold something else.
    """
    from macrodyn.storage.models import load_model

    tensors, description = load_model(path)
    if description.get("kind") != "barriers":
        raise ValueError(f"{path} holds no model of barriers")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return BarrierModel.of_arrays(description["source"], arrays)


def ship(results: StrPath) -> None:
    """Put the barrier model of a study into the package, with its errors and its provenance.

    Args:
        results: Folder of the study's results.

    Raises:
        ValueError: If there is not one model in it.
    """
    from macrodyn.storage.models import load_model, save_model

    found = sorted(Path(results).glob("stages/barrier_model/*/model.safetensors"))
    if len(found) != 1:
        raise ValueError(f"{results} has {len(found)} models of barriers, not one")
    tensors, description = load_model(found[0])
    told = read_sealed_json(found[0].with_name("training.json"))
    names = ("rmse", "bands", "converged", "computed", "predicted", "unlike")
    save_model(MODEL, tensors, {**description, **{name: told[name] for name in names}})


if __name__ == "__main__":
    ship(sys.argv[1])
