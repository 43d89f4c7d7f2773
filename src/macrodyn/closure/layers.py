"""Networks of the closure: their geometry follows from the state, of any dimension and sides.

| encoder | reads                                                | decoder              |
|---------|------------------------------------------------------|----------------------|
| pooled  | a grid: local terms, averaged over sites             | strided, from behind |
| strided | a grid: convolutions that halve it, then all of it   | strided, from behind |
| dense   | a grid or coordinates: all numbers, by dense layers  | dense layers         |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn

from macrodyn.closure.reconstruction import SPACES, SpaceKind

EncoderKind = Literal["strided", "pooled", "dense"]
DecoderKind = Literal["patch", "whole", "none"]
ENCODER_KINDS: tuple[EncoderKind, ...] = get_args(EncoderKind)

_SMALLEST_SIDE = 4
_CONVOLUTION: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that fixes the shapes of an `Autoencoder`; states are [channel, *patch].

    Attributes:
        kind: Kind of the microscopic state.
        patch: Sides of a patch in sites; 1, 2 or 3 of them, of any lengths. Of coordinates:
            (component,) where there are particles, () for a vector.
        state_channels: Channels of the state; of coordinates the particles, or the components.
        species: Number of species; 0 for other kinds.
        observables: Number of given observables z*.
        closure_dim: Number of closure variables; 0 for none.
        encoder: `strided` (convolutions, then a linear map of all sites), `pooled`
            (convolutions within the patch, mean over sites, linear map) or `dense` (layers that
            read all numbers of the state; the only one for coordinates).
        decoder: `patch` reads z of the patch and gives the patch; `whole` reads z of the whole
            snapshot and gives the distribution of its patches (`closure.mixture`); `none`, where
            variables are chosen by prediction (`closure.forecast`).
        channels: Widths of the convolutions, or of the dense layers, from the state inwards.
        hidden: Width of the decoder's first layer; of all if dense.
    """

    kind: SpaceKind
    patch: tuple[int, ...]
    state_channels: int
    species: int = 0
    observables: int
    closure_dim: int
    encoder: EncoderKind = "pooled"
    decoder: DecoderKind = "patch"
    channels: tuple[int, ...] = (8, 16)
    hidden: int = 64

    def __post_init__(self) -> None:
        """Refuse shapes that no network has.

        Raises:
            ValueError: If a field is out of range; the message names it.
        """
        grid = self.kind in SPACES and SPACES[self.kind].on_grid
        checks = {
            "kind": self.kind in SPACES,
            "patch": len(self.patch) in (_CONVOLUTION if grid else (0, 1))
            and all(side >= 1 for side in self.patch),
            "state_channels": self.state_channels >= 1,
            "species": (self.species >= 2) == (self.kind == "species"),
            "observables": self.observables >= 0,
            "closure_dim": self.closure_dim >= 0 and self.closure_dim + self.observables > 0,
            "decoder": self.decoder in (get_args(DecoderKind) if grid else ("patch",)),
            "encoder": self.encoder in (ENCODER_KINDS if grid else ("dense",)),
            "channels": len(self.channels) >= 1 and min(self.channels, default=0) >= 1,
            "hidden": self.hidden >= 1,
        }
        for name, holds in checks.items():
            if not holds:
                raise ValueError(f"Architecture of the closure: bad {name}, got {self}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what the encoder reads and the decoder writes: [input channel, *patch]."""
        return (self.state_channels * SPACES[self.kind].width(self.species), *self.patch)


def build_encoder(architecture: Architecture) -> nn.Sequential:
    """Network from encoder input [batch, input channel, *patch] to [batch, closure].

    Args:
        architecture: The shapes. `strided` halves the grid as `strided_sizes` says, then maps all
            its values linearly. `pooled` convolves within the patch only and averages over
            sites, so that it depends on which local patterns there are and not on where. `dense`
            has a first layer that reads everything: its weights stand in `Autoencoder.first_layer`.

    Returns:
        The network; without layers where there are no closure variables.
    """
    if architecture.closure_dim == 0:
        return nn.Sequential()
    return nn.Sequential(*_NETWORKS[architecture.encoder][0](architecture))


def build_decoder(architecture: Architecture) -> nn.Sequential:
    """Network from [batch, observable + closure] to logits [batch, input channel, *patch].

    Args:
        architecture: The shapes; the grids are those of the strided encoder, coarsest first.

    Returns:
        The network; without layers where there is none.
    """
    if architecture.decoder == "none":
        return nn.Sequential()
    return nn.Sequential(*_NETWORKS[architecture.encoder][1](architecture))


def _strided_encoder(architecture: Architecture) -> list[nn.Module]:
    convolution = _CONVOLUTION[len(architecture.patch)]
    sizes, widths = _grids(architecture)
    layers: list[nn.Module] = []
    for i, (fine, coarse) in enumerate(pairwise(sizes)):
        stride = _factors(fine, coarse)
        layers += [convolution(widths[i], widths[i + 1], 3, stride=stride, padding=1), nn.SiLU()]
    last = nn.Linear(widths[-1] * prod(sizes[-1]), architecture.closure_dim)
    return [*layers, nn.Flatten(), last]


def _pooled_encoder(architecture: Architecture) -> list[nn.Module]:
    convolution = _CONVOLUTION[len(architecture.patch)]
    channels = pairwise((architecture.input_shape[0], *architecture.channels))
    layers: list[nn.Module] = []
    for (before, after), kernel in zip(channels, pooled_kernels(architecture), strict=True):
        layers += [convolution(before, after, kernel), nn.SiLU()]
    return [
        *layers,
        _MeanOverSites(),
        nn.Linear(architecture.channels[-1], architecture.closure_dim),
    ]


def pooled_kernels(architecture: Architecture) -> list[tuple[int, ...]]:
    """Kernels of the pooled encoder's convolutions, none wider than what is left of the patch."""
    kernels, sides = [], architecture.patch
    for _ in architecture.channels:
        kernels.append(tuple(min(3, side) for side in sides))
        sides = tuple(side - width + 1 for side, width in zip(sides, kernels[-1], strict=True))
    return kernels


def _grid_decoder(architecture: Architecture) -> list[nn.Module]:
    convolution = _CONVOLUTION[len(architecture.patch)]
    sizes, widths = _grids(architecture)
    layers: list[nn.Module] = [
        nn.Linear(architecture.observables + architecture.closure_dim, architecture.hidden),
        nn.SiLU(),
        nn.Linear(architecture.hidden, widths[-1] * prod(sizes[-1])),
        nn.Unflatten(1, (widths[-1], *sizes[-1])),
    ]
    for i in range(len(sizes) - 1, 0, -1):
        factors = _factors(sizes[i - 1], sizes[i])
        layers += [
            nn.SiLU(),
            convolution(widths[i], widths[i - 1] * prod(factors), 3, padding=1),
            _Interleave(factors, sizes[i - 1]),
        ]
    return layers


def _dense_encoder(architecture: Architecture) -> list[nn.Module]:
    numbers = prod(architecture.input_shape)
    return [nn.Flatten(), *_dense(numbers, *architecture.channels, architecture.closure_dim)]


def _dense_decoder(architecture: Architecture) -> list[nn.Module]:
    read = architecture.observables + architecture.closure_dim
    inner = [architecture.hidden] * len(architecture.channels)
    shape = architecture.input_shape
    return [*_dense(read, *inner, prod(shape)), nn.Unflatten(1, shape)]


def _dense(*widths: int) -> list[nn.Module]:
    """Linear layers between the widths, SiLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return layers[:-1]


_Build = Callable[[Architecture], list[nn.Module]]
# Encoder and decoder by the encoder's name.
_NETWORKS: dict[EncoderKind, tuple[_Build, _Build]] = {
    "strided": (_strided_encoder, _grid_decoder),
    "pooled": (_pooled_encoder, _grid_decoder),
    "dense": (_dense_encoder, _dense_decoder),
}


def strided_sizes(patch: tuple[int, ...], layers: int) -> list[tuple[int, ...]]:
    """Sizes of the grids between a patch and the encoder's last convolution.

    Each layer halves (rounding up) the sides that stay at least 4 sites long and keeps the
    others. There are at least `layers` layers, and as many more as the longest side needs.

    Args:
        patch: Sides of the patch.
        layers: Least number of layers.

    Returns:
        The sizes, the patch's first; one more than there are layers.
    """
    sizes = [patch]
    while True:
        halved = tuple(-(-n // 2) if -(-n // 2) >= _SMALLEST_SIDE else n for n in sizes[-1])
        if len(sizes) > layers and halved == sizes[-1]:
            return sizes
        sizes.append(halved)


def _grids(architecture: Architecture) -> tuple[list[tuple[int, ...]], list[int]]:
    """Grid sizes and widths of the strided layers; the last width is that of all further ones."""
    sizes = strided_sizes(architecture.patch, len(architecture.channels))
    extra = len(sizes) - 1 - len(architecture.channels)
    first = architecture.input_shape[0]
    return sizes, [first, *architecture.channels, *[architecture.channels[-1]] * extra]


def _factors(fine: tuple[int, ...], coarse: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if n == m else 2 for n, m in zip(fine, coarse, strict=True))


class _MeanOverSites(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).mean(dim=-1)


class _Interleave(nn.Module):
    """Upsample by sub-pixel convolution: channel groups become the sites of each coarse cell.

    Unlike an interpolation it gives each site of a cell its own weights, so that patterns as fine
    as a checkerboard can be drawn. Sites beyond an odd side are cut off.
    """

    def __init__(self, factors: tuple[int, ...], size: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = factors
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        batch, channels, *coarse = features.shape
        d = len(coarse)
        split = features.reshape(batch, channels // prod(self.factors), *self.factors, *coarse)
        order = [axis for i in range(d) for axis in (2 + d + i, 2 + i)]
        whole = split.permute(0, 1, *order).reshape(
            batch, -1, *(n * f for n, f in zip(coarse, self.factors, strict=True))
        )
        for axis, side in enumerate(self.size, start=2):
            whole = whole.narrow(axis, 0, side)
        return whole
