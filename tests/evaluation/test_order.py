"""Moments of order parameters, and finite-size scaling of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from macrodyn.evaluation.figures_scaling import scaling_figures
from macrodyn.evaluation.order import (
    is_order_parameter,
    order_of_density,
    order_of_members,
    order_of_samples,
)
from macrodyn.evaluation.scaling import Moments, exponents

EXACT = {"beta_over_nu": 0.125, "gamma_over_nu": 1.75, "one_over_nu": 1.0}


def test_moments_of_a_normal_density_are_known():
    x = np.linspace(-6, 6, 2001)
    found = order_of_density(x, np.exp(-(x**2) / 2)[None] * [[1.0], [3.0]])
    assert found["absolute"]["value"] == pytest.approx(math.sqrt(2 / math.pi), rel=1e-5)
    assert found["variance"]["value"] == pytest.approx(1 - 2 / math.pi, rel=1e-4)
    assert found["binder"]["value"] == pytest.approx(0.0, abs=1e-6)
    # A density need not be normalised: the two members agree.
    assert all(moment["error"] < 1e-12 for moment in found.values())


def test_moments_of_two_sharp_sizes_are_known():
    found = order_of_samples(np.tile([0.5, -0.5], (4, 10)))
    assert [found[k]["value"] for k in ("absolute", "variance")] == pytest.approx([0.5, 0.0])
    assert found["binder"]["value"] == pytest.approx(2 / 3)


def test_moments_of_members_are_their_own_and_errors_their_scatter():
    found = order_of_members([[0.5, -0.5] * 8, [0.7, -0.7] * 8])
    assert found["absolute"]["value"] == pytest.approx(0.6)
    assert found["absolute"]["error"] == pytest.approx(0.2 / math.sqrt(2))
    assert found["variance"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert found["binder"]["value"] == pytest.approx(2 / 3)


def test_errors_of_samples_are_those_of_repetition():
    rng = np.random.default_rng(3)
    tried = [order_of_samples(rng.normal(size=(20, 50))) for _ in range(200)]
    for name in ("absolute", "variance", "binder"):
        scatter = np.std([found[name]["value"] for found in tried])
        told = np.mean([found[name]["error"] for found in tried])
        assert told == pytest.approx(scatter, rel=0.2)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((-1.0, 1.0), True), ((0.0, 1.0), False), ((-math.inf, math.inf), False), ((-2, 1), False)],
)
def test_order_parameters_have_either_sign(bounds, expected):
    assert is_order_parameter(bounds) is expected


def scaled(length, temperature, error=0.0, power=EXACT):
    """Moments that scale exactly: U falls evenly with the scaled distance from T = 2."""
    absolute, chi = length ** -power["beta_over_nu"], length ** power["gamma_over_nu"]
    binder = 0.6 - 0.1 * (temperature - 2.0) * length ** power["one_over_nu"]
    variance = chi * temperature / length**2
    return Moments(
        length=length,
        sites=length**2,
        temperature=temperature,
        absolute=(absolute, error * absolute),
        variance=(variance, error * variance),
        binder=(binder, error),
    )


def test_exponents_of_exact_scaling_are_found():
    points = [scaled(side, t, 0.01) for side in (8, 16, 32) for t in (1.9, 2.0, 2.1)]
    found = exponents(points, 2.0)
    assert {k: v.value for k, v in found.items()} == pytest.approx(EXACT)
    # Of three equal errors e at evenly spaced logarithms: e / sqrt(2) / log 2.
    assert found["beta_over_nu"].error == pytest.approx(0.01 / math.sqrt(2) / math.log(2))


def test_errors_of_exponents_are_those_of_repetition():
    rng = np.random.default_rng(4)
    values = []
    for _ in range(300):
        points = []
        for side in (8, 16, 32, 64):
            p = scaled(side, 2.0, 0.02)
            absolute = p.absolute[0] * (1 + 0.02 * rng.normal())
            points.append(Moments(**{**vars(p), "absolute": (absolute, 0.02 * absolute)}))
        slope = exponents(points, 2.0)["beta_over_nu"]
        values.append((slope.value, slope.error))
    value, error = np.array(values).T
    assert value.mean() == pytest.approx(0.125, abs=0.003)
    assert error.mean() == pytest.approx(value.std(), rel=0.15)


def test_what_sizes_do_not_tell_is_left_out():
    one_size = [scaled(8, t) for t in (1.9, 2.0)]
    assert exponents(one_size, 2.0) == {}
    one_temperature = [scaled(side, 2.0) for side in (8, 16)]
    assert set(exponents(one_temperature, 2.0)) == {"beta_over_nu", "gamma_over_nu"}
    assert exponents(one_temperature, 2.5) == {}


def test_figures_say_what_there_is():
    points = [scaled(side, t, 0.01) for side in (8, 16) for t in (1.9, 2.0)]
    sources = {"sampled": points, "predicted": points}
    fits = {"2": {name: exponents(of, 2.0) for name, of in sources.items()}}
    names = dict(scaling_figures(sources, fits, exact=EXACT, critical=2.0))
    assert list(names) == ["moments", "exponents", "collapse"]
    assert list(dict(scaling_figures(sources, fits, exact={}, critical=2.0))) == [
        "moments",
        "exponents",
    ]
    # Exactly scaled, all sizes lie on one line of U: the collapse is one.
    u = names["collapse"].axes[2]
    lines = [line.get_xydata() for line in u.get_lines() if len(line.get_xdata()) == 2]
    slopes = {round(float(np.diff(xy[:, 1])[0] / np.diff(xy[:, 0])[0]), 6) for xy in lines}
    assert len(slopes) == 1
    (note,) = dict(scaling_figures({}, {}, exact={}, critical=None)).values()
    assert "evaluate.equilibrium" in str([text.get_text() for text in note.findobj()
                                          if hasattr(text, "get_text")])  # fmt: skip
