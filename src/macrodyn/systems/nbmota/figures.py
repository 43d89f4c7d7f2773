"""Figures of what the alloy has prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from macrodyn.evaluation import style

# Fewest jumps of a class whose error is drawn.
_FEWEST = 5


@style.styled
def parity(told: Mapping[str, Any], *, title: str | None = None) -> Figure:
    """Draw barriers as a model gives them against computed ones, and errors by local order.

    Args:
        told: ``computed`` and ``predicted`` barriers of configurations that were not learned from,
            in eV, ``unlike`` neighbours of the atom that jumps, and the ``rmse``.
        title: Title of the figure.

    Returns:
        The figure.
    """
    computed, predicted = (np.asarray(told[k], np.float64) for k in ("computed", "predicted"))
    unlike = np.asarray(told["unlike"], np.int64)
    figure = style.new_figure(3.0)
    (left, right), *_ = style.grid(figure, 1, 2)
    ends = [min(computed.min(), predicted.min()), max(computed.max(), predicted.max())]
    left.plot(ends, ends, color="black", lw=0.6)
    left.plot(computed, predicted, ".", ms=2.5, color=style.PALETTE[0])
    left.set_xlabel("barrier by nudged elastic band [eV]")
    left.set_ylabel("barrier by the model [eV]")
    error = 1e3 * (predicted - computed)
    rmse = 1e3 * told["rmse"]["barriers"]
    for number in range(int(unlike.max()) + 1):
        here = error[unlike == number]
        if len(here) < _FEWEST:
            continue
        root = np.sqrt(np.square(here).mean())
        right.errorbar(
            number, root, root / np.sqrt(2 * len(here)), marker="o", ms=4, capsize=2,
            elinewidth=1.0, color=style.PALETTE[0],
        )  # fmt: skip
        right.annotate(str(len(here)), (number, root), (3, 3), textcoords="offset points", size=6)
    right.axhline(rmse, color="black", lw=0.6, ls=":")
    right.set_ylim(bottom=0)
    right.set_xlabel("unlike first neighbours\nof the atom that jumps")
    right.set_ylabel("root mean square error [meV]")
    changes = 1e3 * told["rmse"]["changes"]
    said = f"{len(computed)} jumps not learned from: {rmse:.0f} meV, dE {changes:.0f} meV"
    figure.suptitle(f"{title}\n{said}" if title else said)
    return figure
