"""Every figure draws what it is given: lines, labels, limits, and pixels that are not blank."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from macrodyn.dynamics import latents_dataset
from macrodyn.evaluation import style
from macrodyn.evaluation.equilibrium import equilibrium
from macrodyn.evaluation.exact import QUANTILES, compare_with_exact
from macrodyn.evaluation.figures_cost import RunCost, TrainingCurve, costs, training_curves
from macrodyn.evaluation.figures_drift import learned_drift_diffusion
from macrodyn.evaluation.figures_dynamics import equilibrium_histograms, markov_lags
from macrodyn.evaluation.figures_factor import (
    CovarianceFactor,
    FactorTrial,
    covariance_factors,
    mmd_against_factor,
)
from macrodyn.evaluation.figures_residual import residuals_by_age
from macrodyn.evaluation.figures_sampling import SnapshotLevel, snapshots
from macrodyn.evaluation.figures_study import (
    Ablation,
    ErrorSeries,
    ablations,
    error_against_patch_size,
)
from macrodyn.evaluation.figures_trajectories import trajectories
from macrodyn.evaluation.markov import bin_index, markov_diagnostic
from macrodyn.evaluation.residual import residual_by_age
from macrodyn.systems import system_class

NAMES = ["magnetisation", "domain_wall_density"]
WRITTEN = ["magnetisation $m$", r"domain-wall density $\rho$"]
TIME = np.arange(0, 40, 1.0)
INITIAL = np.array([-0.5, 0.0, 0.5])


def _simulate(replicas: int, seed: int) -> np.ndarray:
    """Two coupled variables that relax, shape [initial, replica, time, variable]."""
    rng = np.random.default_rng(seed)
    z = np.zeros((3, replicas, 2))
    z[..., 0], z[..., 1] = INITIAL[:, None], 0.5
    path = [z]
    for _ in TIME[1:]:
        drift = np.stack([0.1 * (0.6 - z[..., 0]), -0.3 * (z[..., 1] - 0.2)], axis=-1)
        z = z + drift + 0.02 * rng.standard_normal(z.shape)
        path.append(z)
    return np.stack(path, axis=2)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return _simulate(40, seed=1)


@pytest.fixture(scope="module")
def prediction() -> np.ndarray:
    return np.stack([_simulate(20, seed=s) for s in (2, 3)])


@pytest.fixture(scope="module")
def latents() -> xr.Dataset:
    rng = np.random.default_rng(4)
    z = rng.uniform(-1, 1, (3000, 2))
    steps = 0.1 * rng.standard_normal((3000, 2, 4, 2)).cumsum(axis=2) - 0.05 * z[:, None, None]
    lags = np.array([1, 2, 4])
    return latents_dataset(
        z=z,
        increment=steps[:, :, lags - 1],
        elapsed=np.broadcast_to(0.5 * lags, (3000, 2, 3)),
        condition_values=np.empty((3000, 0)),
        group=np.arange(3000),
        time=np.zeros(3000),
        variables=NAMES,
        lags=lags.tolist(),
        conditions=[],
        n_observables=2,
        patches_total=16,
        sites=64,
        dt=0.5,
        time_unit="1",
    )


def _pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return np.asarray(Image.open(buffer).convert("RGB"), np.float64)


def _legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _assert_drawn(figure: Figure) -> None:
    """Each panel holds dark or coloured pixels, and the legend covers none of them."""
    pixels = _pixels(figure)
    height = pixels.shape[0]
    renderer = figure.canvas.get_renderer()
    boxes = [panel.get_window_extent(renderer) for panel in figure.axes]
    scale = 80 / figure.dpi
    for box in boxes:
        rows = slice(int(height - box.y1 * scale) + 2, int(height - box.y0 * scale) - 2)
        columns = slice(int(box.x0 * scale) + 2, int(box.x1 * scale) - 2)
        assert pixels[rows, columns].std() > 1, "a panel is blank"
    for legend in figure.legends:
        # A layout's rounding is a fraction of a pixel.
        frame = legend.get_window_extent(renderer).padded(-1.0)
        assert not any(frame.overlaps(box) for box in boxes), "the legend covers a panel"
    inside = figure.get_tightbbox(renderer)
    assert inside.x0 > -0.02 and inside.x1 < figure.get_figwidth() + 0.02, "cut at the side"
    assert inside.y0 > -0.02 and inside.y1 < figure.get_figheight() + 0.02, "cut above or below"


def test_trajectories(reference: np.ndarray, prediction: np.ndarray) -> None:
    figure = trajectories(
        TIME, INITIAL, reference, prediction, WRITTEN, time_unit="sweep", title="T = 2.5"
    )
    upper, _, lower, _ = figure.axes[:4]
    assert len(upper.lines) == 3 * 4 and len(upper.collections) == 3
    np.testing.assert_allclose(
        lower.lines[1].get_ydata(),
        prediction[:, 1, :, :, 0].mean(axis=(0, 1)) - reference[1, :, :, 0].mean(axis=0),
    )
    assert upper.get_ylabel() == "magnetisation $m$"
    assert lower.get_xlabel() == "time [sweep]"
    assert figure.axes[4].get_ylabel() == "initial magnetisation $m$"
    _assert_drawn(figure)


def test_trajectories_without_a_reference(prediction: np.ndarray) -> None:
    figure = trajectories(TIME, INITIAL, None, prediction, WRITTEN, time_unit="sweep")
    upper, _, lower, _ = figure.axes[:4]
    assert len(upper.lines) == 3 * 3 and not upper.collections
    means = prediction[:, :, :, :, 0].mean(axis=2)
    members = len(prediction)
    # Below are the members of one initial value after those of another, and the line at 0.
    assert len(lower.lines) == 3 * members + 1
    np.testing.assert_allclose(
        lower.lines[members].get_ydata(), means[0, 1] - means[:, 1].mean(axis=0), atol=1e-12
    )
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert not any("direct" in text for text in texts)
    _assert_drawn(figure)


def test_trajectories_of_a_diverged_member(reference: np.ndarray, prediction: np.ndarray) -> None:
    broken = prediction.copy()
    broken[0, :, :, 30:] = np.inf
    figure = trajectories(TIME, INITIAL, reference, broken, WRITTEN)
    assert np.isnan(figure.axes[0].lines[1].get_ydata()[30:]).all()


NINE = np.array([(mean, k) for mean in (0.45, 0.5, 0.55) for k in (0.05, 0.1, 0.15)])


def _nine(values: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([values] * 3, axis=axis)


def test_trajectories_of_two_components_get_a_row_for_each_value_of_the_second(
    reference: np.ndarray, prediction: np.ndarray
) -> None:
    figure = trajectories(
        TIME, NINE, _nine(reference, 0), _nine(prediction, 1),
        [r"mean prey density $\bar u$", r"mean predator density $\bar v$"],
        components=["mean", "amplitude"], time_unit="1", title="base",
    )  # fmt: skip
    assert len(figure.axes) == 3 * 2 * 2 + 1
    assert [len(panel.lines) for panel in figure.axes[:4]] == [12, 12, 4, 4]
    heads = [figure.axes[k].get_title() for k in (0, 1, 4, 8)]
    assert heads[0] == "mean prey density $\\bar u$\ninitial amplitude 0.05"
    assert heads[1] == "mean predator density $\\bar v$\ninitial amplitude 0.05"
    assert heads[2:] == ["initial amplitude 0.1", "initial amplitude 0.15"]
    # The second row holds the initial states 1, 4 and 7, of which the last is copy 1.
    shown = figure.axes[4].lines[8].get_ydata()
    np.testing.assert_allclose(shown, reference[1, :, :, 0].mean(axis=0))
    assert figure.axes[-1].get_ylabel() == "initial mean"
    assert figure.axes[10].get_xlabel() == "time"
    _assert_drawn(figure)


@pytest.mark.parametrize(
    ("states", "components"),
    [
        pytest.param(
            NINE + 1e-3 * np.arange(18).reshape(9, 2), ["mean", "amplitude"], id="no-grid"
        ),
        pytest.param(
            np.column_stack([NINE, np.arange(9)]), ["mean", "amplitude", "phase"], id="three"
        ),
    ],
)
def test_trajectories_of_any_states_name_each(
    reference: np.ndarray, prediction: np.ndarray, states: np.ndarray, components: list[str]
) -> None:
    figure = trajectories(
        TIME, states, _nine(reference, 0), _nine(prediction, 1), WRITTEN, components=components
    )
    assert len(figure.axes) == 4
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [style.state_label(state, components) for state in states]
    colours = {line.get_color() for line in figure.legends[0].get_lines()}
    assert len(colours) == 9
    _assert_drawn(figure)


def test_learned_drift_and_diffusion_average_over_the_bins(latents: xr.Dataset) -> None:
    diagnostic = markov_diagnostic(latents, bins=8)
    z = latents["z"].values
    drift = np.stack([-0.1 * z, -0.12 * z])
    covariance = np.broadcast_to(np.diag([1e-3, 2e-3]), (2, len(z), 2, 2))
    figure = learned_drift_diffusion(
        diagnostic, z, drift, covariance, names=WRITTEN, time_unit="sweep"
    )
    assert len(figure.axes) == 5
    first = z[bin_index(z[:, 0], diagnostic["edge"].values) == 0, 0]
    assert figure.axes[0].lines[1].get_ydata()[0] == pytest.approx(-0.12 * first.mean())
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert labels[0] == "drift of $m$ [1/sweep]"
    said = _legend(figure)
    assert said[0].startswith("pairs, mean of each bin, Δt = 0.5 sweep")
    assert said[1] == "learned, mean over the snapshots of each bin"
    assert said[-1] == "diffusion from pairs: of one patch, divided by K = 16"
    assert labels[4] == r"diffusion $\Sigma_{m \rho}$ [1/sweep]"
    _assert_drawn(figure)
    single = learned_drift_diffusion(diagnostic, z, drift, covariance, names=WRITTEN[:1])
    assert len(single.axes) == 2
    _assert_drawn(single)


@pytest.mark.parametrize("closure", [0, 1], ids=["one-variable", "closure-variable"])
def test_one_observable_is_compared_with_the_exact_functions(
    latents: xr.Dataset, closure: int
) -> None:
    data = latents.isel(variable=slice(1 + closure))
    z = data["z"].values

    def exact(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return -0.1 * points[:, :1], np.full((len(points), 1, 1), 2e-3)

    def learned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sigma = np.broadcast_to(np.eye(1 + closure), (len(points), 1 + closure, 1 + closure))
        return np.stack([-0.1 * points, -0.12 * points]), np.stack([2e-3 * sigma, 2.2e-3 * sigma])

    figure = learned_drift_diffusion(
        markov_diagnostic(data, bins=8), z, *learned(z), names=WRITTEN[:1], exact=exact(z),
        comparison=compare_with_exact(z, NAMES[:1], learned, exact),
    )  # fmt: skip
    drift, diffusion, drift_strip, diffusion_strip = figure.axes
    assert "exact, likewise" in _legend(figure)
    for panel in (drift, diffusion):
        assert [line.get_label() for line in panel.lines].count("exact") == 1
    # Lines of a strip: zero, two members, their mean.
    strip = drift_strip.lines[2]
    top = 0.1 * np.abs(np.quantile(z[:, 0], QUANTILES)).max()
    np.testing.assert_allclose(strip.get_ydata(), -0.02 * strip.get_xdata() / top, rtol=0.02)
    np.testing.assert_allclose(diffusion_strip.lines[1].get_ydata(), 0.0, atol=1e-12)
    np.testing.assert_allclose(diffusion_strip.lines[2].get_ydata(), 0.1)
    np.testing.assert_allclose(diffusion_strip.lines[3].get_ydata(), 0.05)
    assert drift_strip.get_xlim() == drift.get_xlim()
    _assert_drawn(figure)


def test_what_is_not_exactly_known_is_not_drawn(latents: xr.Dataset) -> None:
    z = latents["z"].values
    covariance = np.broadcast_to(np.diag([1e-3, 2e-3]), (2, len(z), 2, 2))
    exact = np.full_like(z, np.nan), covariance[0]
    figure = learned_drift_diffusion(
        markov_diagnostic(latents, bins=8), z, np.stack([-0.1 * z] * 2), covariance,
        names=WRITTEN, exact=exact, time_unit="1",
    )  # fmt: skip
    drawn = [[line.get_label() for line in panel.lines].count("exact") for panel in figure.axes]
    assert drawn == [0, 0, 1, 1, 1]
    assert figure.axes[0].get_ylabel() == "drift of $m$"
    np.testing.assert_allclose(figure.axes[3].lines[3].get_ydata(), 2e-3)


def test_markov_lags(latents: xr.Dataset) -> None:
    figure = markov_lags(markov_diagnostic(latents, bins=8), names=WRITTEN, time_unit="sweep")
    assert len(figure.axes) == 4
    assert all(len(panel.containers) == 3 for panel in figure.axes)
    lags = ["Δt = 0.5 sweep", "Δt = 1 sweep", "Δt = 2 sweep"]
    assert _legend(figure) == [*lags, "diffusion: of one patch, divided by K = 16"]
    assert figure.axes[3].get_ylabel() == r"diffusion of $\rho$ [1/sweep]"
    assert "lag dependence" in figure.axes[0].get_title(loc="right")
    _assert_drawn(figure)


def test_equilibrium_histograms(reference: np.ndarray, prediction: np.ndarray) -> None:
    ours = equilibrium(prediction, reference)
    naive = equilibrium(prediction + 0.1, reference)
    figure = equilibrium_histograms(ours, WRITTEN, baselines={"naive": naive})
    assert _legend(figure) == ["direct simulation", "ours", "naive"]
    low, high = figure.axes[0].get_xlim()
    assert low < naive.reference_mean[0] < naive.prediction_mean[:, 0].max() < high
    assert figure.axes[1].get_ylabel() == r"probability density of $\rho$"
    _assert_drawn(figure)


def _spins(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), shape)


def test_snapshots_of_spins_on_a_rectangle() -> None:
    levels = [
        SnapshotLevel(upsampled=None, relaxed=_spins((1, 10, 6))),
        SnapshotLevel(
            upsampled=np.kron(_spins((10, 6)), np.ones((2, 2), np.int8)),
            relaxed=np.ones((20, 12), np.int8),
            direct=_spins((20, 12)),
        ),
    ]
    figure = snapshots(levels)
    assert len(figure.axes) == 6
    assert [panel.get_title() for panel in figure.axes[:3]] == [
        "after upsampling",
        "after relaxation",
        "direct simulation",
    ]
    assert [figure.axes[k].get_ylabel() for k in (0, 3)] == ["10 × 6", "20 × 12"]
    assert [text.get_text() for k in (0, 2) for text in figure.axes[k].texts] == [
        "small system:\nnot upsampled",
        "not simulated",
    ]
    # Spins up are white, even in a snapshot of one value only.
    image = figure.axes[4].images[0]
    np.testing.assert_allclose(image.to_rgba(image.get_array())[..., :3], 1.0)
    _pixels(figure)
    box = figure.axes[1].get_window_extent(figure.canvas.get_renderer())
    assert box.height / box.width == pytest.approx(10 / 6, rel=0.01)


def _species(shape: tuple[int, ...], number: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, number, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 40)], ids=["plane", "line"])
def test_species_have_a_legend_and_one_colour_each(shape: tuple[int, ...]) -> None:
    states = _species(shape)
    levels = [
        SnapshotLevel(upsampled=None, relaxed=states, captions=("", "$t$ = 1 s", "")),
        SnapshotLevel(upsampled=states, relaxed=np.ones_like(states), direct=states),
    ]
    figure = snapshots(
        levels, dimension=len(shape) - 1, state_labels={0: "vacancy", 1: "nickel"}, title="base"
    )
    assert _legend(figure) == ["vacancy", "nickel", "2"]
    assert len(figure.axes) == 6, "a colour bar is drawn for states that have names"
    named = [patch.get_facecolor() for patch in figure.legends[0].get_patches()]
    for panel in figure.axes:
        for image in panel.images:
            values = image.get_array()
            drawn = image.to_rgba(values)
            for value in np.unique(values):
                np.testing.assert_allclose(drawn[values == value] - named[value], 0, atol=1e-12)
    assert figure.axes[1].get_title() == "after relaxation\n$t$ = 1 s"
    _pixels(figure)


def test_states_of_many_values_have_a_scale() -> None:
    states = _species((1, 8, 8), number=40)
    figure = snapshots([SnapshotLevel(upsampled=states, relaxed=states)], quantity="height")
    assert figure.axes[-1].get_ylabel() == "height" and not figure.legends


@pytest.mark.parametrize("held_out", [False, True])
def test_residuals_by_age(held_out: bool) -> None:
    rng = np.random.default_rng(0)
    ages = np.tile([0, 1e-12, 5e-12, 1e-10], 60)
    group = np.repeat(np.arange(12), 20)
    data = {"increment": rng.normal(size=(240, 2, 3)), "elapsed": np.ones((240, 2))}
    data |= {"drift": np.full((240, 3), [0.5, 0.0, 0.0]), "age": ages, "group": group}
    rows = group < 4
    all_of_it = residual_by_age(**data, fitted=True)
    some = residual_by_age(**{name: v[rows] for name, v in data.items()}, fitted=False)
    figure = residuals_by_age(
        all_of_it,
        held_out=some if held_out else None,
        names=[*WRITTEN, "closure 0"],
        time_unit="s",
        title="base",
    )
    panels = [panel for panel in figure.axes if panel.get_visible()]
    assert len(panels) == 3
    drawn = panels[0].containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, all_of_it.residual[:, 0])
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == [
        "0", "1e-12", "5e-12", "1e-10",
    ]  # fmt: skip
    assert panels[1].get_ylabel() == r"residual of $\rho$ [1/s]"
    note = panels[0].get_title(loc="right")
    assert note.startswith(rf"$\chi^2$ per degree {all_of_it.chi2_per_degree[0]:.2g}")
    assert ("held out" in note) == held_out == (len(_legend(figure)) == 2)
    _pixels(figure)


def test_a_figure_that_cannot_be_drawn_says_why() -> None:
    figure = style.note("there are too few snapshots", title="base")
    assert "there are too few snapshots" in figure.texts[0].get_text()
    assert _pixels(figure).std() > 1


def test_snapshots_leave_out_a_column_without_any() -> None:
    figure = snapshots([SnapshotLevel(upsampled=_spins((8, 8)), relaxed=_spins((8, 8)))])
    assert len(figure.axes) == 2
    _assert_drawn(figure)


def test_snapshots_of_fields_share_one_scale() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 8, 16)), 3 * rng.normal(size=(2, 16, 32))
    levels = [
        SnapshotLevel(upsampled=None, relaxed=small, direct=small),
        SnapshotLevel(upsampled=large, relaxed=large, direct=large),
    ]
    figure = snapshots(levels, quantity="concentration")
    limits = {panel.images[0].get_clim() for panel in figure.axes if panel.images}
    assert limits == {(min(small[0].min(), large[0].min()), max(small[0].max(), large[0].max()))}
    assert figure.axes[-1].get_ylabel() == "concentration"


def test_snapshots_in_one_and_three_dimensions() -> None:
    rng = np.random.default_rng(0)
    lines = snapshots(
        [SnapshotLevel(upsampled=rng.normal(size=(2, 40)), relaxed=rng.normal(size=(2, 40)))],
        dimension=1,
        channel_names=["prey", "predator"],
    )
    assert [len(panel.lines) for panel in lines.axes] == [2, 2]
    assert _legend(lines) == ["prey", "predator"]
    _assert_drawn(lines)
    levels = [
        SnapshotLevel(upsampled=None, relaxed=rng.normal(size=(2, 100))),
        SnapshotLevel(upsampled=rng.normal(size=(2, 200)), relaxed=rng.normal(size=(2, 200))),
    ]
    grown = snapshots(levels, dimension=1)
    assert [panel.get_xlim() for panel in grown.axes if panel.lines] == [(0, 199)] * 3
    cube = _spins((6, 8, 8))
    planes = snapshots([SnapshotLevel(upsampled=cube, relaxed=cube)], dimension=3)
    np.testing.assert_array_equal(planes.axes[0].images[0].get_array(), cube[3])
    with pytest.raises(ValueError, match="dimension 2"):
        snapshots([SnapshotLevel(upsampled=None, relaxed=np.zeros(4))])
    with pytest.raises(ValueError, match="at least one"):
        snapshots([])


SIZES = [(8, 8), (16, 16), (20, 12)]


def test_error_against_patch_size() -> None:
    series = [
        ErrorSeries(name="ours", sizes=SIZES, errors=[[1e-3, 2e-3], [1e-4, 3e-4], [2e-4, 2e-4]]),
        ErrorSeries(name="naive", sizes=SIZES, errors=[[np.inf, 1.0], [3e-2, 4e-2], [1e-2, 2e-2]]),
    ]
    published = [
        ErrorSeries(name="elsewhere", sizes=SIZES[:2], errors=[2e-2, 8e-4]),
        ErrorSeries(name="published, naive", sizes=SIZES[:2], errors=[3e-2, 9e-4]),
    ]
    figure = error_against_patch_size(series, sampling_error=(5e-5, 2e-4), published=published)
    panel = figure.axes[0]
    assert panel.get_xscale() == panel.get_yscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["8 × 8", "20 × 12", "16 × 16"]
    assert _legend(figure)[:4] == ["ours", "naive", "elsewhere", "published, naive"]
    colours = {line.get_label(): line.get_color() for line in panel.lines}
    of_naive = panel.containers[1].lines[0].get_color()
    assert colours["published, naive"] == of_naive
    assert colours["elsewhere"] not in (of_naive, panel.containers[0].lines[0].get_color())
    np.testing.assert_allclose(panel.containers[0].lines[0].get_ydata(), [1.5e-3, 2e-4, 2e-4])
    assert [text.get_text() for text in panel.texts] == ["naive: diverged"]
    assert panel.get_ylim()[0] > 1e-6
    _assert_drawn(figure)


@pytest.mark.parametrize("sizes", [[(100,)], [(40,), (100,)]], ids=["one-size", "two-sizes"])
def test_error_against_sizes_of_a_line(sizes: list[tuple[int, ...]]) -> None:
    series = [
        ErrorSeries(name=name, sizes=sizes, errors=[[error, 2 * error]] * len(sizes))
        for name, error in (("ours", 1e-4), ("naive", 1e-2))
    ]
    figure = error_against_patch_size(series, sampling_error=(1e-5, 3e-5))
    panel = figure.axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == [str(s[0]) for s in sizes]
    low, high = panel.get_xlim()
    assert low < 0.96 * sizes[0][0] and 1.04 * sizes[-1][0] < high < 2 * sizes[-1][0]
    _assert_drawn(figure)


def test_mmd_against_the_covariance_factor() -> None:
    trials = [
        FactorTrial(factor=f, patches=m, mmd=[v, 3 * v])
        for m, f, v in [(1, 5, 1e-3), (1, 2.5, 0.1), (1, 10, 0.2), (2, 5, -1e-4)]
    ]
    trials.append(FactorTrial(factor=20, patches=1, mmd=[np.inf, 0.1]))
    figure = mmd_against_factor(trials, theory=5, null=(1e-5, 2e-3))
    panel = figure.axes[0]
    one, two = panel.containers[0].lines[0], panel.containers[1].lines[0]
    np.testing.assert_allclose(one.get_xdata(), [2.5, 5, 10, 20], rtol=0.03)
    np.testing.assert_allclose(one.get_ydata(), [0.2, 2e-3, 0.4, np.nan])
    np.testing.assert_allclose(two.get_ydata(), [-2e-4])
    assert panel.get_xscale() == "log" and panel.get_yscale() == "symlog"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["2.5", "5", "10", "20"]
    assert [text.get_text() for text in panel.texts] == ["diverged"]
    assert panel.lines[0].get_xdata()[0] == 5
    assert _legend(figure) == [
        "$m = 1$ patch evolved",
        "$m = 2$ patches evolved",
        "exact model, up to 95 %",
        "theory, $K = 5$",
    ]
    assert panel.get_ylim()[0] < -2e-4 and panel.get_ylim()[1] > 0.6
    _assert_drawn(figure)


def test_covariance_factor_of_few_patches_has_numbers_on_its_axes() -> None:
    run = CovarianceFactor(name="base", theory=5, estimate=4.6, error=np.nan)
    figure = covariance_factors([run])
    panel = figure.axes[0]
    _pixels(figure)
    low, high = panel.get_xlim()
    ticks = [
        label.get_text()
        for label, place in zip(panel.get_xticklabels(), panel.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert "5" in ticks
    assert low < 5 < high
    _assert_drawn(figure)


def test_covariance_factors() -> None:
    runs = [
        CovarianceFactor(
            name="8 × 8", theory=64, estimate=50, error=2,
            patches=[1, 2, 4], variance=[1.0, 0.55, 0.3], variance_error=[0.1, 0.05, 0.03],
        ),
        CovarianceFactor(name="16 × 16", theory=16, estimate=15, error=1),
    ]  # fmt: skip
    figure = covariance_factors(runs)
    curve = figure.axes[1].containers[0].lines[0]
    np.testing.assert_allclose(curve.get_ydata(), [1.0, 1.1, 1.2])
    assert _legend(figure) == ["estimate = $K$", "8 × 8, $K = 64$", "16 × 16, $K = 16$"]
    assert figure.axes[0].get_xlabel() == "factor of a single patch by theory, $K$"
    _assert_drawn(figure)
    assert len(covariance_factors(runs[1:]).axes) == 1


def _bars(panel: Axes) -> list[tuple[float, float, str]]:
    """Begin, end and colour of all bars."""
    return [
        (bar.get_x(), bar.get_x() + bar.get_width(), mpl.colors.to_hex(bar.get_facecolor()))
        for bar in panel.patches
    ]


def test_costs_break_bar_and_axis_where_one_dwarfs_the_others() -> None:
    entries = [
        RunCost(name="ours", updates={"simulate": 2e8, "relax": 1e8}, seconds={"simulate": 1010.0}),
        RunCost(
            name="direct", updates={"direct": 9e9, "simulate": 2e7}, seconds={"direct": 4000.0}
        ),
    ]
    figure = costs(entries)
    updates, seconds = figure.axes
    blue, orange, green = (colour.lower() for colour in style.PALETTE[:3])
    colours = {"simulate": blue, "relax": orange, "direct": green}
    ours, rest = _bars(updates)[:2], _bars(updates)[2:]
    assert [bar[:2] for bar in ours] == [(0, 2e8), (2e8, 3e8)]
    # Before the gap the first stage; after it the end of the bar, on the same scale.
    limit = 1.8 * 3e8
    ends = [(0, 0.84 * limit), (0.89 * limit, limit - 2e7), (limit - 2e7, limit)]
    np.testing.assert_allclose([bar[:2] for bar in rest], ends)
    assert [bar[2] for bar in rest] == [colours[s] for s in ("direct", "direct", "simulate")]
    assert max(updates.get_xticks()) < 0.84 * limit and len(updates.get_xticks()) > 2
    assert not updates.spines["bottom"].get_visible()
    assert [text.get_text() for text in updates.texts] == [
        r"$3.0\times10^{8}$",
        r"$9.0\times10^{9}$",
    ]
    # Four times as long is no reason to break.
    assert [bar[:2] for bar in _bars(seconds)] == [(0, 1010), (0, 4000)]
    assert seconds.spines["bottom"].get_visible()
    assert [text.get_text() for text in seconds.texts] == ["1,010", "4,000"]
    assert _legend(figure) == ["simulate", "relax", "direct"]
    assert seconds.get_xlabel() == "processor time [s]"
    _assert_drawn(figure)


def test_training_curves_mark_the_best_step() -> None:
    step = np.arange(50.0)
    loss = (step - 30) ** 2 / 100 - 5
    loss[0] = 1e6
    curve = TrainingCurve(
        training_step=step, training_loss=loss, validation_step=step, validation_loss=loss
    )
    figure = training_curves({"closure": [curve], "dynamics": [curve, curve]})
    assert [len(panel.lines) for panel in figure.axes] == [3, 6]
    assert figure.axes[0].lines[2].get_xdata()[0] == 30
    assert figure.axes[0].get_ylim()[1] < 10, "the first spike flattens the rest"
    assert figure.axes[1].get_ylabel() == "loss of the dynamics"
    _assert_drawn(figure)


def test_ablations() -> None:
    runs = [
        Ablation(name="base", errors={"transient": [1e-4, 3e-4], "long": [1e-4]}),
        Ablation(name="replicate", errors={"transient": [1e-2, 2e-2]}),
        Ablation(name="wild", errors={"transient": [np.inf, 1e-2], "long": [2e-3]}),
    ]
    figure = ablations(runs, baseline="base", sampling_error={"transient": 5e-5})
    transient, long = figure.axes
    assert [tick.get_text() for tick in transient.get_yticklabels()] == [r.name for r in runs]
    assert transient.get_xscale() == "log"
    assert transient.lines[1].get_xdata()[0] == pytest.approx(2e-4)
    assert [text.get_text() for text in transient.texts] == ["diverged"]
    assert len(long.lines) == 2 * 2 + 1
    _assert_drawn(figure)
    with pytest.raises(ValueError, match="baseline 'other'"):
        ablations(runs, baseline="other")


def test_save_is_whole_and_reproducible(tmp_path: Path) -> None:
    curve = TrainingCurve(
        training_step=[0, 1], training_loss=[2, 1], validation_step=[0, 1], validation_loss=[2, 1]
    )
    for name in ("a.png", "b.png"):
        style.save(training_curves({"closure": [curve]}), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    assert Image.open(tmp_path / "a.png").width == 750


def test_style_leaves_the_global_settings_alone() -> None:
    before = dict(mpl.rcParams)

    @style.styled
    def draw() -> float:
        return float(mpl.rcParams["font.size"])

    assert draw() == style.RC["font.size"]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("system", "name", "label", "symbol"),
    [
        ("ising", "magnetisation", "magnetisation $m$", "$m$"),
        ("ising", "domain_wall_density", r"domain-wall density $\rho$", r"$\rho$"),
        ("curie-weiss", "magnetisation", "magnetisation $m$", "$m$"),
        ("predator-prey", "prey", r"mean prey density $\bar u$", r"$\bar u$"),
        ("predator-prey", "predator", r"mean predator density $\bar v$", r"$\bar v$"),
        ("predator-prey", "amplitude", "amplitude", "amplitude"),
        ("ising", "short_range_order", "short range order", "short range order"),
    ],
)
def test_variables_are_written_as_their_system_says(
    system: str, name: str, label: str, symbol: str
) -> None:
    cls = system_class(system)
    given = {} if system == "predator-prey" else {"temperature": 2.5}
    written = style.label(name, cls(cls.Parameters.model_validate(given)).labels)
    assert written == label
    assert style.symbol(written) == symbol


def test_units_are_left_out_of_pure_numbers() -> None:
    assert style.rate("drift", "sweep") == "drift [1/sweep]" and style.rate("drift", "1") == "drift"
    assert style.quantity("time", "sweep") == "time [sweep]"
    assert style.quantity("time", "1") == "time"
    assert style.quantity_value(0.25, "sweep") == "0.25 sweep"
    assert style.quantity_value(0.25, "1") == "0.25"


def test_initial_macrostates_in_words() -> None:
    assert style.state_label([0.45, 0.05], ["mean", "amplitude"]) == "mean 0.45, amplitude 0.05"
    assert style.state_label(0.5, ["short order"]) == "short order 0.5"


def test_worth_of_variables_is_drawn_by_row_and_observable() -> None:
    from macrodyn.evaluation.figures_worth import variables_worth
    from macrodyn.evaluation.worth import Judged, Worth

    def worth(name, role, verdict, gain):
        arrays = {
            "gain": np.array(gain),
            "standard_error": np.array([0.01, 0.02]),
            "beside_others": np.array(gain),
            "beside_others_error": np.array([0.01, 0.02]),
            "chi2_before": np.array([4.0, 2.0]),
            "chi2_after": np.array([1.0, np.nan]),
        }
        return Worth(name=name, role=role, verdict=verdict, **arrays)

    each = (
        worth("closure_0", "variable", "cannot tell", [0.02, -0.01]),
        worth("correlation_4", "candidate", "yes", [0.2, 0.1]),
    )
    two = np.array([1.0, 2.0])
    judged = Judged(
        observables=("m", "rho"),
        each=each,
        chi2_observables=two,
        chi2_all=two,
        gain_all=two,
        gain_all_error=two,
        proposed=("correlation_4",),
        chi2_proposed=two,
    )
    figure = variables_worth(judged, names=["m", "rho"], title="run")
    gains, squares = figure.axes
    labels = [text.get_text() for text in gains.get_yticklabels()]
    assert labels == [
        "closure_0\nworth having: cannot tell",
        "correlation_4 (candidate)\nworth having: yes, proposed 1",
    ]
    places = sorted(line.get_xdata()[0] for line in gains.lines if line.get_marker() == "o")
    assert places == [-0.01, 0.02, 0.1, 0.2]
    assert squares.get_xscale() == "log"


def test_many_observables_stand_in_several_rows() -> None:
    """Six side by side would cover each other's labels."""
    values = np.random.default_rng(1).normal(size=(2, 1, 6, 5, 6))
    names = [f"observable {k}" for k in range(6)]
    figure = trajectories(range(5), [0.3], values[0] + 1, values, names, time_unit="sweep")
    panels = figure.axes
    assert [panel.get_ylabel() for panel in panels[:3]] == names[:3]
    assert [panel.get_ylabel() for panel in panels[6:9]] == names[3:]
    assert [panel.get_xlabel() != "" for panel in panels] == 9 * [False] + 3 * [True]
    five = trajectories(range(5), [0.3], values[0, ..., :5], values[..., :5], names[:5])
    assert [panel.axison for panel in five.axes] == 8 * [True] + [False] + 2 * [True] + [False]
