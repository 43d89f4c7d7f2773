"""Increments and integrals of rates along paths from few states: means, scatter, what differs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRECISION = 0.04  # relative standard error at which enough paths were seen
ROOM = 0.05  # relative difference that is let pass: integrators have finite steps
DEVIATIONS = 6.0  # standard errors that chance explains
MOVES = 50  # paths that must have moved for their scatter to be known


class Paths:
    """Means and scatter over paths from each of several states.

    Attributes:
        number: Paths from each state.
        increment: Mean increment, [state, observable].
        integral: Mean integral of the rates.
        error: Mean error of the integrals.
        scatter: Standard error of the mean of increment less integral.
    """

    def __init__(self, states: int, observables: int) -> None:
        self.number = 0
        self._shape = states, -1, observables
        self._sums = np.zeros((4, states, observables))
        self._moves = np.zeros((states, observables))

    def add(self, increment: Floats, integral: Floats, error: Floats) -> None:
        """Take in further paths, [state * paths, observable]."""
        parts = [part.reshape(self._shape) for part in (increment, integral, error)]
        noise = parts[0] - parts[1]
        self.number += noise.shape[1]
        self._moves += (parts[0] != 0).sum(axis=1)
        self._sums += np.stack([part.sum(axis=1) for part in (*parts, noise**2)])
        self.increment, self.integral, self.error, square = self._sums / self.number
        variance = np.maximum(square - (self.increment - self.integral) ** 2, 0.0)
        self.scatter = np.sqrt(variance / (self.number - 1))

    def are_enough(self) -> bool:
        """Whether the factor between increments and integrals is known."""
        _, scatter, _ = self._factor()
        return bool((scatter < PRECISION).all() and (self._moves > MOVES).all())

    def differing(self, floor: Floats) -> tuple[NDArray[np.intp], int]:
        """Observables whose increments differ from the integrals, and the state to show it.

        Args:
            floor: What rounding explains, [observable].
        """
        off, scatter, error = self._factor()
        by_factor = np.abs(off) > DEVIATIONS * scatter + ROOM + error
        by_factor &= self._moves.sum(axis=0) > MOVES
        gap = np.abs(self.increment - self.integral)
        room = ROOM * np.maximum(np.abs(self.increment), np.abs(self.integral)).max(axis=0)
        beyond = gap - (DEVIATIONS * self.scatter + room + np.abs(self.error) + floor)
        by_state = (beyond > 0) & (self._moves > MOVES)
        wrong = np.flatnonzero(by_state.any(axis=0) | (by_factor & (gap > floor).any(axis=0)))
        if not len(wrong):
            return wrong, 0
        column = wrong[0]
        shown = beyond if by_state[:, column].any() else gap
        return wrong, int(shown[:, column].argmax())

    def _factor(self) -> tuple[Floats, Floats, Floats]:
        """Slope of increments against integrals less 1, its standard error, and that of Simpson.

        No slope, zero with an infinite standard error, where no rate differs from zero.
        """
        square = (self.integral**2).sum(axis=0)
        none = square == 0
        weight = self.integral / np.where(none, 1.0, square)
        off = (weight * (self.increment - self.integral)).sum(axis=0)
        scatter = np.sqrt((weight**2 * self.scatter**2).sum(axis=0))
        error = np.abs((weight * self.error).sum(axis=0))
        return off, np.where(none, np.inf, scatter), error
