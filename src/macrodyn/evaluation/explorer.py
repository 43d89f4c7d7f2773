"""A figure of trajectories that readers choose from: its data, and the part of a page with it.

The data are means and spreads, with as many times as a screen shows, rounded to what it resolves.
The page draws them itself, by ``explorer.js``: a library of plots is several megabytes, and a
report holds a page of each run.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation import style
from macrodyn.paths import StrPath
from macrodyn.storage.errors import refusal

__all__ = [
    "LARGEST_DATA",
    "MOST_TIMES",
    "Curves",
    "ExplorerCase",
    "explorer",
    "pooled_curves",
    "trajectory_data",
]

Floats = NDArray[np.float64]

MOST_TIMES = 300
"""Times of a curve: more are no more to see."""
LARGEST_DATA = 280_000
"""Characters of all series together; where there are more, each has fewer times."""

_FORMAT = "macrodyn-trajectories-1"
_FEWEST_TIMES = 8
# Digits of a series' range; of spreads less is seen.
_DIGITS = {"mean": 4, "noise": 3, "members": 3}
# Times the truth's largest value; where there is no truth, times the value of this quantile.
_RUN_AWAY = 10.0
_MOSTLY = 0.9
# What is larger cannot be squared, and what is smaller than that is nothing.
_LARGEST_VALUE, _LEAST_VALUE = 1e150, 1e-150
_TRUTH = "#4D4D4D"
_DASHES = ("", "7 3", "2 2.5", "8 3 2 3", "12 3", "4 4")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Trajectories of one scheme.

    Attributes:
        mean: Shape [state, time, variable]; NaN where there is no value.
        noise: Standard deviation over replicas of one model, same shape; None where there is none.
        members: Standard deviation of the members' means, same shape; None of one model.
    """

    mean: Floats
    noise: Floats | None = None
    members: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class ExplorerCase:
    """Trajectories that share their times, such as those of one horizon.

    Attributes:
        name: Its name; '' where there is one alone.
        time: Shape [time].
        states: What each initial state is called.
        curves: By scheme; one that has fewer variables has the first ones.
        replicas: Number of trajectories that the mean of the truth is of.
    """

    name: str
    time: Floats
    states: Sequence[str]
    curves: Mapping[str, Curves]
    replicas: int = 1


def pooled_curves(members: ArrayLike, *, ddof: int = 0) -> Curves:
    """Take means, and noise and the members' spread apart.

    The squares of the two spreads add up to the variance over all trajectories of all members.

    Args:
        members: Trajectories, shape [member, state, replica, time, variable]. What is not finite
            has no mean.
        ddof: What is taken from the number of replicas in the noise's variance.
    """
    values = np.array(members, np.float64)
    values[~np.isfinite(values)] = np.nan
    noise = spread = None
    # Of one that runs away the squares may be infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        means = values.mean(axis=2)
        if values.shape[2] > 1:
            noise = np.sqrt(values.var(axis=2, ddof=ddof).mean(axis=0))
        if len(means) > 1:
            spread = means.std(axis=0)
        return Curves(mean=means.mean(axis=0), noise=noise, members=spread)


def trajectory_data(
    cases: Sequence[ExplorerCase],
    variables: Sequence[str],
    *,
    truth: str,
    schemes: Mapping[str, str],
    time_unit: str = "1",
    state: str = "initial state",
) -> dict[str, Any]:
    """Return what a page shows, as plain values.

    Args:
        cases: What can be chosen from.
        variables: The variables as axes show them.
        truth: Name of the scheme that the others are compared with, where a case has it.
        schemes: What schemes are called, by name, in the order of their colours.
        time_unit: Unit of time.
        state: What initial states are called.

    Returns:
        JSON's values. A series is a text: a decimal exponent, the first value and the differences
        of successive ones in units of that power of ten; ``-`` where there is none.
    """
    times = MOST_TIMES
    while True:
        made = [_case(case, truth, times) for case in cases]
        size = len(json.dumps(made))
        if size <= LARGEST_DATA or times <= _FEWEST_TIMES:
            break
        times = max(_FEWEST_TIMES, min(times - 1, int(0.95 * times * LARGEST_DATA / size)))
    return {
        "format": _FORMAT,
        "time": style.quantity("time", time_unit),
        "state": style.plain(state),
        "variables": [style.plain(name) for name in variables],
        "schemes": [
            *(
                {"name": name, "label": text, "colour": _TRUTH, "dash": ""}
                | {"truth": True, "shown": True}
                for name, text in schemes.items()
                if name == truth
            ),
            *(
                {
                    "name": name,
                    "label": text,
                    "colour": style.PALETTE[n % len(style.PALETTE)],
                    "dash": _DASHES[n % len(_DASHES)],
                    "truth": False,
                    "shown": n == 0,
                }
                for n, (name, text) in enumerate((k, v) for k, v in schemes.items() if k != truth)
            ),
        ],
        "cases": made,
    }


def _case(case: ExplorerCase, truth: str, times: int) -> dict[str, Any]:
    """Thin and encode a case: by scheme and kind of number a text for each variable and state."""
    count = len(case.time)
    kept = np.unique(np.linspace(0, count - 1, min(times, count)).round().astype(int))
    limits = _limits(case, truth)
    curves: dict[str, dict[str, list[list[str]]]] = {}
    for scheme, one in case.curves.items():
        kinds = {"mean": one.mean, "noise": one.noise, "members": one.members}
        near = np.abs(one.mean) <= limits[: one.mean.shape[-1]]
        curves[scheme] = {
            kind: [
                [_encode(row, _DIGITS[kind]) for row in rows]
                for rows in np.moveaxis(np.where(near, values, np.nan), -1, 0)[..., kept]
            ]
            for kind, values in kinds.items()
            if values is not None
        }
    return {
        "name": case.name,
        "time": " ".join(f"{float(time):.8g}" for time in case.time[kept]),
        "states": [style.plain(name) for name in case.states],
        "replicas": case.replicas,
        "curves": curves,
    }


def _limits(case: ExplorerCase, truth: str) -> Floats:
    """How large a mean may be of each variable: beyond it has run away, and no digits are left."""
    limits: Floats = np.zeros(0)
    if (real := case.curves.get(truth)) is not None:
        large = np.abs(real.mean) + (0.0 if real.noise is None else real.noise)
        limits = np.where(np.isfinite(large), large, 0.0).max(axis=(0, 1), initial=0.0)
    # Of what the truth does not have, by how large it mostly is.
    known = len(limits)
    others = [np.abs(one.mean[..., known:]) for one in case.curves.values()]
    count = max(one.shape[-1] for one in others)
    for k in range(count):
        values = np.concatenate([one[..., k].ravel() for one in others if one.shape[-1] > k])
        values = values[np.isfinite(values)]
        limits = np.append(limits, np.quantile(values, _MOSTLY) if len(values) else 0.0)
    return np.where(limits > 0, _RUN_AWAY * limits, np.inf)


def _encode(values: Floats, digits: int) -> str:
    """Write a series so that its range has so many digits, or one more."""
    known = np.abs(values) < _LARGEST_VALUE
    kept = values[known]
    largest = float(np.abs(kept).max(initial=0.0))
    size = float(np.ptp(kept)) if len(kept) else 0.0
    exponent = 0
    if largest > _LEAST_VALUE:
        # Counted in units, what is added up must stay an exact integer of a double.
        finest = math.floor(math.log10(largest)) - 14
        exponent = max(finest, math.floor(math.log10(max(size, largest * 1e-15))) - digits)
        if size == 0:
            exponent = finest + 10
    power = 10.0 ** abs(exponent)
    words, before = [str(exponent)], 0
    for value, there in zip(values.tolist(), known.tolist(), strict=True):
        if not there:
            words.append("-")
            continue
        steps = round(value * power if exponent < 0 else value / power)
        words.append(str(steps - before))
        before = steps
    return " ".join(words)


def explorer(data: Mapping[str, Any], caption: str, where: StrPath = "trajectories") -> str:
    """Make the part of a page that shows trajectories.

    Args:
        data: Result of `trajectory_data`.
        caption: HTML.
        where: The file of the data, for an error.

    Returns:
        HTML with style, script and data; it needs nothing else.

    Raises:
        StoreError: If the data have another form.
    """
    if data.get("format") != _FORMAT:
        raise refusal(where, f"is no figure of trajectories ({_FORMAT})")
    room = files("macrodyn.evaluation")
    look, code = (
        room.joinpath(f"explorer.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js")
    )
    return _PAGE.format(style=look, script=code, caption=caption, data=_embedded(data))


def _embedded(data: Mapping[str, Any]) -> str:
    """Write JSON that can stand in a page: no text of it ends the element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _options(values: Mapping[str, str]) -> str:
    return "".join(f'<option value="{k}">{html.escape(v)}</option>' for k, v in values.items())


_VIEWS = {"trajectories": "trajectories", "difference": "difference of means"}
_BANDS = {
    "all": "±1 std, total",
    "noise": "±1 std, noise",
    "members": "±1 std, members",
    "none": "none",
}
_PAGE = (
    """\
<style>
{style}</style>
<figure class="explorer">
<noscript><p class="quiet">This figure needs JavaScript; the other figures do not.</p></noscript>
<div class="live" hidden>
<form autocomplete="off">
<label>Compared on <select name="case"></select></label>
<label>Variable <select name="variable"></select></label>
<label><span class="state"></span> <select name="state"></select></label>
<label>View <select name="view">"""
    + _options(_VIEWS)
    + """</select></label>
<label>Bands <select name="band">"""
    + _options(_BANDS)
    + """</select></label>
<span role="group" aria-label="Zoom">
<button type="button" name="in">Zoom in</button>
<button type="button" name="out">Zoom out</button>
<button type="button" name="reset">Reset</button>
</span>
<fieldset><legend>Shown:</legend></fieldset>
</form>
<h2></h2>
<div class="plot" tabindex="0" role="group" aria-label="Figure; arrow keys move the cursor"></div>
<p class="quiet help"><span class="lacking"></span> Drag over the figure to zoom, click twice to
reset. By keys, once the figure has the focus: arrows move the cursor, + and - zoom, 0 resets.</p>
<div class="read" aria-live="polite">
<p class="quiet at"></p>
<div class="scroll"><table>
<thead><tr><th scope="col">scheme</th><th scope="col" class="number">mean</th>
<th scope="col" class="number">noise, std</th>
<th scope="col" class="number">members, std</th></tr></thead>
<tbody></tbody>
</table></div>
</div>
</div>
<figcaption>{caption}</figcaption>
</figure>
<script type="application/json" id="trajectories">{data}</script>
<script>
{script}</script>"""
)
