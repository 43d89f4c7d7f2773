"""The figure of trajectories that readers choose from: its numbers, its size, and what is safe."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from macrodyn.evaluation import explorer as module
from macrodyn.evaluation import style
from macrodyn.evaluation.explorer import (
    LARGEST_DATA,
    MOST_TIMES,
    Curves,
    ExplorerCase,
    explorer,
    pooled_curves,
    trajectory_data,
)
from macrodyn.evaluation.pages import page
from macrodyn.storage.errors import StoreError


def decoded(text: str) -> np.ndarray:
    """Read a series as the page does."""
    exponent, *words = text.split()
    total, values = 0, []
    for word in words:
        total += 0 if word == "-" else int(word)
        values.append(np.nan if word == "-" else total * 10.0 ** int(exponent))
    return np.array(values)


def series(data: dict[str, Any], scheme: str, kind: str = "mean", case: int = 0) -> np.ndarray:
    """All series of a scheme, [variable, state, time]."""
    rows = data["cases"][case]["curves"][scheme][kind]
    return np.array([[decoded(text) for text in states] for states in rows])


def case(curves: dict[str, Curves], **changes: Any) -> ExplorerCase:
    states, times = next(iter(curves.values())).mean.shape[:2]
    given = {
        "name": "h",
        "time": np.arange(times) * 0.5,
        "states": [f"m {k}" for k in range(states)],
    }
    return ExplorerCase(**{**given, "curves": curves, **changes})


def made(curves: dict[str, Curves], variables: int = 1, **changes: Any) -> dict[str, Any]:
    names = [f"x{k}" for k in range(variables)]
    schemes = {name: name for name in curves}
    return trajectory_data([case(curves, **changes)], names, truth="direct", schemes=schemes)


def test_noise_and_members_are_told_apart() -> None:
    """Their squares add up to the variance over all trajectories, which the static figure draws."""
    z = np.random.default_rng(0).normal(size=(5, 3, 8, 4, 2)) * np.arange(1, 4)[:, None, None, None]
    found = pooled_curves(z)
    pooled = z.transpose(1, 0, 2, 3, 4).reshape(3, 40, 4, 2)
    np.testing.assert_allclose(found.mean, pooled.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(np.hypot(found.noise, found.members), pooled.std(axis=1))
    np.testing.assert_allclose(found.members, z.mean(axis=2).std(axis=0))


def test_what_there_is_one_of_has_no_spread() -> None:
    z = np.random.default_rng(0).normal(size=(1, 3, 6, 4, 2))
    direct = pooled_curves(z, ddof=1)
    assert direct.members is None
    np.testing.assert_allclose(direct.noise, z[0].std(axis=1, ddof=1))
    assert pooled_curves(z[:, :, :1]).noise is None


@pytest.mark.parametrize("lost", [np.nan, np.inf, 1e200])
def test_what_diverged_has_no_value(lost: float) -> None:
    z = np.zeros((2, 1, 3, 4, 1)) + np.arange(4)[:, None]
    z[1, 0, 0, 2:] = lost
    data = made({"direct": pooled_curves(z[:1]), "ours": pooled_curves(z)})
    np.testing.assert_array_equal(series(data, "ours")[0, 0], [0, 1, np.nan, np.nan])
    np.testing.assert_allclose(series(data, "direct")[0, 0], [0, 1, 2, 3], atol=1e-3)


def test_what_runs_away_takes_no_digits_from_the_rest() -> None:
    time = np.arange(50.0)
    truth = np.exp(-time / 10)[None, :, None]
    away = truth + 1e-3 * np.exp(time)[None, :, None]
    data = made({"direct": Curves(mean=truth), "ours": Curves(mean=away)})
    found = series(data, "ours")[0, 0]
    near = np.abs(away[0, :, 0]) <= 10
    assert 5 < near.sum() < 20 and np.array_equal(np.isfinite(found), near)
    np.testing.assert_allclose(found[near], away[0, near, 0], atol=1e-3)


@pytest.mark.parametrize("size", [1e-9, 1.0, 3e7])
@pytest.mark.parametrize("offset", [0.0, -1e3])
def test_values_have_four_digits_of_their_range(size: float, offset: float) -> None:
    values = size * (offset + np.random.default_rng(1).uniform(-1, 1, (2, 40, 2)))
    data = made({"direct": Curves(mean=values, noise=np.abs(values))}, variables=2)
    wanted, reach = np.moveaxis(values, -1, 0), 2 * size
    np.testing.assert_allclose(series(data, "direct"), wanted, atol=0.5001e-4 * reach, rtol=0)
    np.testing.assert_allclose(
        series(data, "direct", "noise"), np.abs(wanted), atol=0.5001e-3 * reach, rtol=0
    )


@pytest.mark.parametrize("value", [0.0, 0.25, -1234.5, 1e-200])
def test_what_never_changes_is_written_too(value: float) -> None:
    data = made({"direct": Curves(mean=np.full((1, 5, 1), value))})
    np.testing.assert_allclose(series(data, "direct"), np.full((1, 1, 5), value), atol=1e-150)


def test_a_page_holds_what_a_screen_shows() -> None:
    """Of many times some are kept, the first and the last among them, and values stay theirs."""
    time = np.linspace(0, 7, 2001)
    values = np.sin(time)[None, :, None]
    data = made({"direct": Curves(mean=values)}, time=time)
    kept = np.array(list(map(float, data["cases"][0]["time"].split())))
    assert len(kept) == MOST_TIMES and (kept[0], kept[-1]) == (0, 7)
    np.testing.assert_allclose(series(data, "direct")[0, 0], np.sin(kept), atol=1e-4)


def test_many_curves_have_fewer_times() -> None:
    z = np.random.default_rng(2).normal(size=(3, 9, 4, 400, 3))
    curves = {name: pooled_curves(z) for name in ("direct", "ours", "naive", "full", "polynomial")}
    data = made(curves, variables=3)
    size = len(json.dumps(data["cases"]))
    assert 0.8 * LARGEST_DATA < size <= LARGEST_DATA
    assert 20 < len(data["cases"][0]["time"].split()) < MOST_TIMES


def test_schemes_have_the_colours_of_the_other_figures() -> None:
    curves = {name: Curves(mean=np.ones((1, 3, 1))) for name in ("direct", "ours", "naive")}
    shown = {scheme["name"]: scheme for scheme in made(curves)["schemes"]}
    assert [shown[name]["colour"] for name in ("ours", "naive")] == list(style.PALETTE[:2])
    # Whoever sees no colours tells them by their dashes.
    assert len({(scheme["dash"], scheme["truth"]) for scheme in shown.values()}) == 3
    assert [scheme["shown"] for scheme in shown.values()] == [True, True, False]


HOSTILE = '</script><script>alert("1")</script><!-- & \u2028 \' </figure>'


def test_no_text_leaves_its_place_in_the_page() -> None:
    curves = {"direct": Curves(mean=np.ones((1, 3, 1))), HOSTILE: Curves(mean=np.ones((1, 3, 1)))}
    one = case(curves, name=HOSTILE, states=[HOSTILE])
    schemes = {name: name for name in curves}
    data = trajectory_data([one], [HOSTILE], truth="direct", schemes=schemes, state=HOSTILE)
    text = page("A", explorer(data, "<p>Caption</p>"))
    assert text.count("</script>") == 2 and text.count("<script") == 2 and "alert(" in text
    assert text.count("</figure>") == 1 and "\u2028" not in text
    embedded = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text)[1]
    assert json.loads(embedded) == data
    assert not {"<", ">", "&"} & set(embedded)


def test_the_page_needs_nothing_else() -> None:
    text = explorer(made({"direct": Curves(mean=np.ones((1, 3, 1)))}), "")
    script = text.rsplit("<script>")[1]
    assert not re.search(r"(?:src|href)\s*=|url\((?!#)", text) and "import" not in script
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval", "fetch"):
        assert unsafe not in script
    assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg"}


def test_data_of_another_form_are_refused(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"a\.json is no figure of trajectories"):
        explorer({"format": "other"}, "", tmp_path / "a.json")


def test_every_control_has_a_label() -> None:
    text = module._PAGE
    for name in ("case", "variable", "state", "view", "band"):
        assert re.search(rf"<label>[^\n]*<select name=\"{name}\">", text)
    assert len(re.findall(r"<button type=\"button\" name=\"\w+\">\w", text)) == 3


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("magnetisation $m$", "magnetisation m"),
        (r"mean density $\bar u$", "mean density u\u0304"),
        (r"$\delta_{\mathrm{NbMo}}$", "δ_NbMo"),
        (r"$\lambda$ and $\Delta r_1$", "λ and Δr_1"),
        ("closure 0", "closure 0"),
    ],
)
def test_formulas_are_written_in_plain_text(text: str, written: str) -> None:
    assert style.plain(text) == written
