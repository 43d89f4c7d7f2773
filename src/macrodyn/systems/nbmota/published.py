"""The published barrier network of NbMoTa, read from its file without running what is in it.

The network sees the 112 sites within 7.5 angstrom of the vacancy; other voxels are empty.

Source: Xing et al., Nat. Commun. 15, 3879 (2024), and its published weights.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from macrodyn.paths import StrPath
from macrodyn.systems.nbmota.barriers import KINDS, RELU, BarrierModel, sphere
from macrodyn.systems.nbmota.crystal import DIRECTIONS

SOURCE = "neural network kinetics (Xing et al. 2024)"
_VOXELS, _WIDTH, _LAYERS = 9, 128, 4
# Squared distance in half sides of 1.62 angstrom of what lies within 7.5 angstrom.
_SQUARE = 20
# Of the batch normalisation.
_EPSILON = 1e-5


def read_published(path: StrPath) -> BarrierModel:
    """Read the published weights: an array of 26 arrays.

    Per hidden layer weights, bias, and of the batch normalisation scale, shift, mean and variance;
    then weights and bias of the output. Hidden layers are linear, normalised, then rectified; the
    normalisation is folded into the weights here.

    Args:
        path: The file.

    Raises:
        ValueError: If the file holds something else.
    """
    layers = _arrays(path)
    if len(layers) != 6 * _LAYERS + 2:
        raise ValueError(f"{path} holds {len(layers)} arrays, not {6 * _LAYERS + 2}")
    hidden = [_folded(path, layers[6 * k : 6 * k + 6]) for k in range(_LAYERS)]
    first, bias = hidden[0]
    if first.shape != (_VOXELS**3, _WIDTH):
        raise ValueError(f"the first layer in {path} is of shape {first.shape}")
    offsets = sphere(_SQUARE)
    # Mirrored so that each jump becomes that along (+, +, +).
    mirrored = offsets[None] * DIRECTIONS[:, None]
    place = {tuple(site): row for row, site in enumerate(offsets.tolist())}
    rows = np.array([[place[tuple(site)] for site in jump] for jump in mirrored.tolist()])
    centre = _VOXELS // 2
    voxels = np.ravel_multi_index(tuple((offsets + centre).T), 3 * (_VOXELS,))
    # Species enter as the numbers 0 to 3.
    table = first[voxels][:, None, :] * np.arange(KINDS)[None, :, None]
    out, level = layers[-2].reshape(-1), float(layers[-1].reshape(-1)[0])
    return BarrierModel.of_arrays(
        SOURCE,
        {
            "offsets": offsets,
            "rows": rows,
            "table": table,
            "lines": np.zeros((0, KINDS, KINDS)),
            "bias": np.tile(bias, (KINDS, 1)),
            "weights": np.stack([w.T for w, _ in hidden[1:]]),
            "biases": np.stack([b for _, b in hidden[1:]]),
            "out": np.tile(out, (KINDS, 1)),
            "level": np.full(KINDS, level),
            "shells": np.zeros(0, np.int64),
            "energies": np.zeros((0, KINDS, KINDS)),
            "activation": RELU,
        },
    )


def _folded(path: StrPath, layer: list[NDArray]) -> tuple[NDArray, NDArray]:
    weight, bias, scale, shift, mean, variance = (np.asarray(a, np.float64) for a in layer)
    if weight.ndim != 2 or weight.shape[1] != _WIDTH:
        raise ValueError(f"a layer in {path} is of shape {weight.shape}")
    factor = scale / np.sqrt(variance + _EPSILON)
    return weight * factor, (bias - mean) * factor + shift


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays of numbers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Find what makes an array; refuse all else."""
        if name in ("_reconstruct", "ndarray", "dtype") and module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")


def _arrays(path: StrPath) -> list[NDArray]:
    with open(path, "rb") as file:
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            _, _, dtype = read(file)
            if dtype != np.dtype(object):
                raise ValueError("it holds numbers, not arrays of them")
            found = _ArraysOnly(io.BytesIO(file.read())).load()
        except (ValueError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{path} is not the published file of weights: {error}") from error
    if not all(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in found):
        raise ValueError(f"{path} is not the published file of weights: it holds other things")
    return list(found)
