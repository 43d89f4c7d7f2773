"""Figures of finite-size scaling: moments against temperature, their collapse, the exponents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from macrodyn.evaluation import style
from macrodyn.evaluation.scaling import EXPONENTS, Moments, Slope

__all__ = ["scaling_figures"]

_TOLD: dict[str, tuple[str, Callable[[Moments], tuple[float, float]]]] = {
    "absolute": (r"$\langle|m|\rangle$", lambda p: p.absolute),
    "susceptibility": (r"$\chi$", lambda p: p.susceptibility),
    "binder": ("Binder cumulant $U$", lambda p: p.binder),
}
_SYMBOLS = dict(zip(EXPONENTS, (r"$\beta/\nu$", r"$\gamma/\nu$", r"$1/\nu$"), strict=True))


def scaling_figures(
    sources: Mapping[str, Sequence[Moments]],
    fits: Mapping[str, Mapping[str, Mapping[str, Slope]]],
    *,
    exact: Mapping[str, float],
    critical: float | None,
) -> Iterator[tuple[str, Figure]]:
    """Draw the figures of an analysis.

    Args:
        sources: Moments by where they come from, ``sampled`` and ``predicted``.
        fits: Exponents by the temperature of the fit, then by source.
        exact: Known exponents, by names of `EXPONENTS`.
        critical: Critical temperature; nothing is collapsed without it or without exact exponents.

    Yields:
        Name of a figure, and the figure.
    """
    if not sources:
        why = "no run has moments of this observable: set evaluate.equilibrium"
        yield "moments", style.note(why, title="finite-size scaling")
        return
    yield "moments", _moments(sources)
    if any(found for by in fits.values() for found in by.values()):
        yield "exponents", _exponents(fits, exact)
    if critical is not None and set(EXPONENTS) <= set(exact):
        yield "collapse", _collapse(sources, exact, critical)


@style.styled
def _moments(sources: Mapping[str, Sequence[Moments]]) -> Figure:
    """Moments against temperature: points are sampled, lines are predicted."""
    figure = style.new_figure(3.4)
    panels = style.grid(figure, 1, 3)[0]
    for panel, (label, read) in zip(panels, _TOLD.values(), strict=True):
        _by_length(panel, sources, lambda p: p.temperature, read)
        panel.set(xlabel="$T$", title=label)
    handles, _ = panels[0].get_legend_handles_labels()
    style.legend(figure, handles, "at equilibrium: sampled (points) and predicted (lines)")
    return figure


@style.styled
def _collapse(
    sources: Mapping[str, Sequence[Moments]], exact: Mapping[str, float], critical: float
) -> Figure:
    """Moments scaled with the exact exponents, against the scaled distance from the critical."""
    figure = style.new_figure(3.4)
    panels = style.grid(figure, 1, 3)[0]
    powers = (exact["beta_over_nu"], -exact["gamma_over_nu"], 0.0)
    titles = (
        r"$\langle|m|\rangle L^{\beta/\nu}$", r"$\chi L^{-\gamma/\nu}$", "Binder cumulant $U$",
    )  # fmt: skip
    for panel, power, title, (_, read) in zip(panels, powers, titles, _TOLD.values(), strict=True):

        def scaled(p: Moments, power: float = power, read: Any = read) -> tuple[float, float]:
            value, error = read(p)
            return value * p.length**power, error * p.length**power

        _by_length(
            panel,
            sources,
            lambda p: (p.temperature / critical - 1.0) * p.length ** exact["one_over_nu"],
            scaled,
        )
        panel.set(xlabel=r"$(T/T_c - 1)\,L^{1/\nu}$", title=title)
    handles, _ = panels[0].get_legend_handles_labels()
    style.legend(figure, handles, "collapsed with the exact exponents")
    return figure


def _by_length(
    panel: Any,
    sources: Mapping[str, Sequence[Moments]],
    place: Callable[[Moments], float],
    read: Callable[[Moments], tuple[float, float]],
) -> None:
    """Draw one panel: a colour for each size, points that are sampled, lines that are predicted."""
    lengths = sorted({p.length for points in sources.values() for p in points})
    for n, length in enumerate(lengths):
        colour = style.PALETTE[n % len(style.PALETTE)]
        for source, points in sources.items():
            of = [p for p in points if p.length == length]
            if not of:
                continue
            x = [place(p) for p in of]
            value, error = np.array([read(p) for p in of]).T
            if source == "sampled":
                panel.errorbar(
                    x, value, error, fmt="o", ms=4, color=colour, label=f"$L$ = {length:.4g}"
                )
            else:
                panel.plot(x, value, "-", color=colour)
                panel.fill_between(x, value - error, value + error, color=colour, alpha=0.2, lw=0)


@style.styled
def _exponents(
    fits: Mapping[str, Mapping[str, Mapping[str, Slope]]], exact: Mapping[str, float]
) -> Figure:
    """Exponents by the temperature of the fit, with standard errors."""
    figure = style.new_figure(3.2)
    panels = style.grid(figure, 1, 3)[0]
    handles: dict[str, Any] = {}
    for panel, name in zip(panels, EXPONENTS, strict=True):
        if name in exact:
            handles["exact"] = panel.axhline(exact[name], color=style.QUIET, lw=1, label="exact")
        for n, source in enumerate(("sampled", "predicted")):
            having = [(i, by[source][name]) for i, by in enumerate(fits.values())
                      if name in by.get(source, {})]  # fmt: skip
            if having:
                handles[source] = panel.errorbar(
                    [i + 0.16 * n - 0.08 for i, _ in having],
                    [slope.value for _, slope in having],
                    [slope.error for _, slope in having],
                    fmt="os"[n],
                    color=style.PALETTE[n],
                    label=source,
                )
        panel.set(title=_SYMBOLS[name], xlabel="fitted at $T$", xlim=(-0.6, len(fits) - 0.4))
        panel.set_xticks(range(len(fits)), list(fits))
    style.legend(figure, list(handles.values()), "exponents, with standard errors")
    return figure
