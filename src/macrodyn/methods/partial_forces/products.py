"""Forces multiplied into the Jacobian of linear modes, without the Jacobian.

The Jacobian of d modes of N coordinates has d N numbers, and its Gram matrix takes d^2 N operations
a configuration. But modes are the same for all configurations, and what a system makes of them is
mostly a projection: within some coordinates a mode loses its part along one direction, and is
scaled. So all products follow from constant ones and from a few sums of d N terms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrodyn.closure.encoders import Encoder, Modes, jacobian
from macrodyn.dynamics.force_forms import ForceProducts
from macrodyn.methods.partial_forces.sample import known_coordinates
from macrodyn.systems import ForceSystem
from macrodyn.systems.force_system import Projection

Array = NDArray[np.float64]


class Products:
    """Makes `ForceProducts` of states, whatever the encoder.

    Args:
        system: The system.
        encoder: Its closure variables.
        particles: Particles of a state.
    """

    def __init__(self, system: ForceSystem, encoder: Encoder, particles: int) -> None:
        self.system, self.encoder = system, encoder
        self.known = np.flatnonzero(known_coordinates(system, particles))
        self._modes: _ModesProducts | None = None

    def __call__(
        self, states: Array, coordinates: NDArray[np.int64], forces: Array
    ) -> ForceProducts:
        """Multiply forces on some coordinates of states, and the rates that are known, into phi'.

        Args:
            states: Shape [n, particle, component].
            coordinates: The coordinates that were drawn, shape [n, p].
            forces: Forces on them, shape [n, p].

        Raises:
            ValueError: If a drawn coordinate is one of the known.
        """
        rates = self.system.known_rates(states).reshape(len(states), -1)
        projection = self.system.projection(states)
        modes = isinstance(self.encoder, Modes)
        if not modes or projection is None or projection.where[self.known].any():
            phi = jacobian(self.system, self.encoder, states)
            return ForceProducts.of(phi, coordinates, forces, self.known, rates)
        if np.isin(coordinates, self.known).any():
            raise ValueError("A coordinate whose rate is known needs no force")
        if self._modes is None:
            assert isinstance(self.encoder, Modes)
            flat = self.encoder.modes.reshape(self.encoder.dimension, -1)
            self._modes = _ModesProducts(flat, projection.where, self.known)
        gradient = self.system.gradient(states)
        gradient = gradient.reshape(*gradient.shape[:2], -1)
        return self._modes(gradient, projection, coordinates, forces, rates)


class _ModesProducts:
    """Products of modes with what a projection leaves of them.

    Args:
        modes: Shape [mode, N].
        where: Coordinates within which modes are projected, shape [N].
        known: Coordinates whose rates are known, none of these, shape [k].
    """

    def __init__(self, modes: Array, where: NDArray[np.bool_], known: NDArray[np.int64]) -> None:
        self.modes, self.where, self.known = modes, where, known
        rest = ~where
        rest[known] = False
        self.places = (np.flatnonzero(where), known, np.flatnonzero(rest))
        # Of projected coordinates, of known ones, and of the rest.
        self.parts = [np.ascontiguousarray(modes[:, place]) for place in self.places]
        self.grams = [part @ part.T for part in self.parts]

    def __call__(
        self,
        gradient: Array,
        projection: Projection,
        coordinates: NDArray[np.int64],
        forces: Array,
        rates: Array,
    ) -> ForceProducts:
        """See `Products`; ``gradient`` is that of the observables, shape [n, observable, N]."""
        whole = coordinates.shape[1] == self.modes.shape[1] - len(self.known)
        found: dict[str, list[Array]] = {
            name: [] for name in ("gram", "chosen", "push", "known", "known_push")
        }
        # One by one: the last bits of a product of matrices depend on how many there are.
        for n, rows in enumerate(gradient):
            scale, direction = projection.scale[n], projection.direction[n]
            along = self.parts[0] @ direction
            length = direction @ direction
            share = along / length if length > 0 else along
            projected = _blocks(rows[:, self.places[0]], self.parts[0], scale, share, direction,
                                self.grams[0], along)  # fmt: skip
            known, rest = (
                _plain(rows[:, self.places[k]], self.parts[k], self.grams[k]) for k in (1, 2)
            )
            found["gram"].append(projected + known + rest)
            found["known"].append(known)
            found["known_push"].append(
                np.concatenate([rows[:, self.known] @ rates[n], self.parts[1] @ rates[n]])
            )
            if whole:
                full = np.zeros(self.modes.shape[1])
                full[coordinates[n]] = forces[n]
                inside, outside = full[self.places[0]], full[self.places[2]]
                push = self.parts[2] @ outside
                push += scale * (self.parts[0] @ inside - share * (direction @ inside))
                found["chosen"].append(projected + rest)
                found["push"].append(np.concatenate([rows @ full, push]))
            else:
                drawn = coordinates[n]
                here = self.where[drawn]
                columns = self.modes[:, drawn]
                place = np.searchsorted(self.places[0], drawn[here])
                columns[:, here] -= share[:, None] * direction[place]
                columns[:, here] *= scale
                both = np.concatenate([rows[:, drawn], columns])
                found["chosen"].append(both @ both.T)
                found["push"].append(both @ forces[n])
        return ForceProducts(
            **{name: np.stack(values) for name, values in found.items()},
            size=np.square(forces).sum(1),
            known_size=np.square(rates).sum(1),
            share=coordinates.shape[1] / (self.modes.shape[1] - len(self.known)),
        )


def _plain(rows: Array, modes: Array, gram: Array) -> Array:
    """Gram matrix of gradients and modes as they are."""
    return _together(rows @ rows.T, rows @ modes.T, gram)


def _blocks(
    rows: Array, modes: Array, scale: float, share: Array, direction: Array, gram: Array,
    along: Array,
) -> Array:  # fmt: skip
    """Gram matrix of gradients as they are and of modes that are projected and scaled."""
    cross = scale * (rows @ modes.T - np.outer(rows @ direction, share))
    return _together(rows @ rows.T, cross, scale**2 * (gram - np.outer(along, share)))


def _together(of_rows: Array, cross: Array, of_modes: Array) -> Array:
    return np.block([[of_rows, cross], [cross.T, of_modes]])
