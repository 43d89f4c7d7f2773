"""Figure of what closure variables are worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, SymmetricalLogLocator

from macrodyn.evaluation import style
from macrodyn.evaluation.worth import MATERIAL, Judged

__all__ = ["variables_worth"]

# Distance of two observables within a row, in inches; and of a row to the next, in rows.
_APART, _ROWS_APART = 0.1, 0.2
_TICKS = 5


@style.styled
def variables_worth(judged: Judged, *, names: Sequence[str], title: str | None = None) -> Figure:
    """Draw the gain of each closure variable and candidate, and the residual by age with it.

    Args:
        judged: What they are worth.
        names: The observables as axes show them.
        title: Title of the figure.

    Returns:
        The figure: gains with standard errors on the left, and chi^2 per degree of freedom without
        (open) and with the variable (filled) on the right, by variable and observable.
    """
    rows = len(judged.each)
    height = max(0.45, _APART * len(names) / (1 - _ROWS_APART))
    figure = style.new_figure(1.6 + 0.22 * -(-len(names) // 2) + height * rows)
    (gains, squares), *_ = style.grid(figure, 1, 2, sharey=True)
    for row, worth in enumerate(judged.each):
        for k in range(len(names)):
            place = row + _APART / height * (k - (len(names) - 1) / 2)
            colour = style.PALETTE[k % len(style.PALETTE)]
            gains.errorbar(
                worth.gain[k], place, xerr=worth.standard_error[k], color=colour, marker="o", ms=4,
                capsize=2, elinewidth=1.0,
            )  # fmt: skip
            before, after = worth.chi2_before[k], worth.chi2_after[k]
            squares.plot([before, after], [place, place], color=colour, lw=0.8)
            squares.plot(before, place, "o", mfc="white", color=colour, ms=4)
            squares.plot(after, place, "o", color=colour, ms=4)
    gains.set_xscale("symlog", linthresh=MATERIAL)
    locator = SymmetricalLogLocator(base=10, linthresh=MATERIAL)
    locator.set_params(numticks=_TICKS)
    gains.xaxis.set_major_locator(locator)
    gains.axvline(0, color="black", lw=0.6)
    gains.axvline(MATERIAL, color="black", lw=0.6, ls=":")
    gains.set_xlabel("gain, share of\nthe drift's variance")
    known = [np.r_[w.chi2_before, w.chi2_after] for w in judged.each]
    if np.isfinite(known).any() and (np.nan_to_num(known, nan=1.0) > 0).all():
        squares.set_xscale("log")
        squares.xaxis.set_minor_formatter(NullFormatter())
    squares.axvline(1, color="black", lw=0.6, ls=":")
    squares.set_xlabel("$\\chi^2$ per degree of freedom,\nwithout (open) and with")
    places = {name: f", proposed {k}" for k, name in enumerate(judged.proposed, 1)}
    labels = [
        f"{w.name}{_mark(w.role)}\nworth having: {w.verdict}{places.get(w.name, '')}"
        for w in judged.each
    ]
    gains.set_yticks(range(rows), labels)
    gains.set_ylim(rows - 0.5, -0.5)
    handles = [
        Line2D([], [], color=style.PALETTE[k % len(style.PALETTE)], marker="o", ls="", ms=4)
        for k in range(len(names))
    ]
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(f"drift of {name}")
    style.legend(figure, handles, title)
    return figure


def _mark(role: str) -> str:
    return " (candidate)" if role == "candidate" else ""
