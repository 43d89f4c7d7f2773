"""One look for all figures: palette, sizes, labels, and how a figure is written."""

from __future__ import annotations

import functools
import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from macrodyn.paths import StrPath
from macrodyn.storage.files import atomic_path

__all__ = [
    "INITIAL_MAP",
    "PALETTE",
    "QUIET",
    "RC",
    "WIDTH",
    "grid",
    "initial_norm",
    "label",
    "legend",
    "new_figure",
    "note",
    "plain",
    "quantity",
    "quantity_value",
    "rate",
    "save",
    "state_label",
    "styled",
    "symbol",
]

WIDTH = 7.2
"""Width of a figure in inches: 1080 px at 150 dpi, readable when shown 900 px wide."""

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3F", "#4D4D4D",
    "#F0E442",
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind readers can tell apart, dark ones first."""

QUIET = "#8C8C8C"
"""Notes, and lines that are only there to compare with."""

INITIAL_MAP = LinearSegmentedColormap.from_list(
    "initial", ["#313695", "#2B7FB8", "#1B9E8A", "#7A9A2E", "#D98E04", "#B2182B"]
)
"""Ordered in hue, dark enough throughout for thin lines on white."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "figure.titlesize": 11,
    "mathtext.fontset": "dejavusans",
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "macrodyn",
}

P = ParamSpec("P")
T = TypeVar("T")


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Run a drawing function under the common style, leaving the global settings alone."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return wrapper


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure with constrained layout on an Agg canvas.

    Args:
        height: Inches.
        width: Inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@styled
def note(reason: str, *, title: str | None = None) -> Figure:
    """Make a figure that says in words why there is none.

    Args:
        reason: Why it cannot be drawn.
        title: Title of the figure.
    """
    figure = new_figure(1.6)
    text = textwrap.fill(f"This figure cannot be drawn: {reason}.", 80)
    figure.text(0.5, 0.42, text, ha="center", va="center", color="0.35")
    if title:
        figure.suptitle(title)
    return figure


def grid(figure: Figure, rows: int, columns: int, **options: Any) -> NDArray[Any]:
    """Add a grid of axes; always an array of shape [rows, columns]."""
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False, **options)
    return axes


def label(name: str, labels: Mapping[str, str]) -> str:
    """Write a variable's name for an axis.

    Args:
        name: Name as in the stores, e.g. `short_range_order`.
        labels: How variables are written, by name; see `System.labels`.

    Returns:
        What `labels` says, or the name with spaces.
    """
    return labels.get(name, name.replace("_", " "))


def quantity(text: str, unit: str | None) -> str:
    """Add a unit in brackets; a pure number (None or `1`) gets none."""
    return text if unit in (None, "", "1") else f"{text} [{unit}]"


def quantity_value(value: float, unit: str) -> str:
    """Write a value to three figures with its unit; a pure number (`1`) gets none."""
    return f"{value:.3g}" if unit in ("", "1") else f"{value:.3g} {unit}"


def rate(text: str, time_unit: str) -> str:
    """Add the unit of a rate; nothing where time is a pure number."""
    return text if time_unit in ("", "1") else f"{text} [1/{time_unit}]"


def state_label(values: ArrayLike, components: Sequence[str]) -> str:
    """Write an initial macrostate in words, e.g. `mean 0.45, amplitude 0.05`.

    Args:
        values: Value of each component, shape [component].
        components: The components as `label` writes them.
    """
    numbers = np.atleast_1d(np.asarray(values, np.float64))
    pairs = zip(components, numbers, strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)


def symbol(text: str) -> str:
    """Return the symbol of a variable for a formula: the last between dollar signs, or all of it.

    Args:
        text: The variable as `label` writes it.
    """
    formulas = re.findall(r"\$[^$]+\$", text)
    return formulas[-1] if formulas else text


def plain(text: str) -> str:
    r"""Write a variable without formulas, where there is nobody to set them.

    Args:
        text: The variable as `label` writes it, such as ``density $\rho_1$``.

    Returns:
        The same with Unicode's letters, such as ``density ρ_1``.
    """
    return re.sub(r"\$([^$]*)\$", lambda found: _plain_formula(found.group(1)), text)


_ACCENTS = {
    "bar": "\u0304",
    "overline": "\u0304",
    "hat": "\u0302",
    "tilde": "\u0303",
    "dot": "\u0307",
}


def _plain_formula(formula: str) -> str:
    """Replace commands by letters: accents, Greek letters, and else what they enclose."""
    accent = "|".join(_ACCENTS)
    formula = re.sub(
        rf"\\({accent})\s*\{{?\s*(\w)\s*\}}?", lambda m: m[2] + _ACCENTS[m[1]], formula
    )
    return re.sub(r"[{}]", "", re.sub(r"\\([A-Za-z]+)\s*", _letter, formula))


def _letter(command: re.Match[str]) -> str:
    name = command[1].removeprefix("var")
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    # As Unicode spells it.
    greek = name.upper().replace("LAMBDA", "LAMDA")
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {greek}")
    except KeyError:
        return ""


def legend(
    figure: Figure, handles: Sequence[Any], title: str | None = None, **options: Any
) -> None:
    """Put a legend, and the title, above all panels, where they cover no data.

    Args:
        figure: The figure.
        handles: Labelled artists, in order; as many rows are used as their labels need.
        title: Title of the figure.
        options: Further options of the legend.
    """
    # Inches: a letter of 8.5 points is about 0.07 wide, and the key as wide as 7 of them.
    lengths = [0.07 * (len(str(handle.get_label())) + 7) for handle in handles]
    for rows in range(1, len(lengths) + 1):
        columns = math.ceil(len(lengths) / rows)
        if _columns_width(lengths, columns) <= figure.get_figwidth():
            break
    figure.legend(
        handles=list(handles), loc="outside upper center", ncols=columns,
        title=title, title_fontsize=11, columnspacing=1.4, **options,
    )  # fmt: skip


def _columns_width(lengths: Sequence[float], columns: int) -> float:
    """Width of a legend, filled column by column, each as wide as its longest entry."""
    return float(sum(part.max() for part in np.array_split(np.asarray(lengths), columns)))


def initial_norm(initial: ArrayLike) -> Normalize:
    """Return the colour scale of initial values; a single value gets the middle."""
    values = np.asarray(initial, np.float64)
    low, high = float(values.min()), float(values.max())
    return Normalize(low, high) if high > low else Normalize(low - 1, high + 1)


def save(figure: Figure, path: StrPath, dpi: int = 150) -> None:
    """Write a figure as PNG, whole or not at all, the same bytes for the same figure.

    Args:
        figure: The figure.
        path: Where to; the folder is made if need be.
        dpi: Dots per inch.
    """
    with mpl.rc_context(RC), atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
