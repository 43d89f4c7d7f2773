"""Expected rates that are not those of the evolution are found out before any job."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from macrodyn.lattice import ALONE
from macrodyn.streams import substreams
from macrodyn.systems.trial.paths import Paths

from .own import DENSITY, measured, problems

EVOLVE: dict[str, dict[str, Any]] = {
    "frozen": {"dt": 0.3, "patches": 2},
    "buffer": {"dt": 0.3, "patches": 2, "buffer": 2},
    "periodic": {"dt": 0.3, "patches": 2, "boundary": "periodic"},
}
RATE = 0.8


def flipped(states, duration, keys):
    """Independent flips at one rate: an odd number of them in a time."""
    odd = 0.5 - 0.5 * np.exp(-2 * RATE * duration)
    draws = np.stack([substreams(keys, site) for site in range(states.shape[2])], axis=1)
    return states ^ (draws / 2.0**64 < odd)[:, None].astype(states.dtype)


def evolve(self, states, duration, seeds):
    return flipped(states, duration, seeds)


def evolve_patch(self, windows, patch, duration, seeds, events=None, around=ALONE):
    after, moving = windows.copy(), (..., *patch.moving)
    after[moving] = flipped(after[moving], duration, seeds)
    return after, np.full(len(windows), duration)


def site_terms(windows):
    """Rates of change of the sum of sites, and of unlike pairs, by each site's flips."""
    x = windows[:, 0].astype(float)
    unlike = (x != np.roll(x, 1, 1)).astype(float) + (x != np.roll(x, -1, 1))
    return RATE * np.stack([1 - 2 * x, 2 - 2 * unlike], axis=1)


def expected_rates(self, windows, patch, around=ALONE):
    return patch.cut(site_terms(windows)).mean(axis=2)


FLIPS: dict[str, Any] = {
    "evolve": evolve,
    "evolve_patch": evolve_patch,
    "expected_rates": expected_rates,
}
ONE: dict[str, Any] = {
    **FLIPS,
    **DENSITY,
    "expected_rates": lambda self, windows, patch, around=ALONE: expected_rates(
        self, windows, patch
    )[:, :1],
}


def compensated(self, windows, patch, duration, seeds, around=ALONE):
    """A of the density, exactly: E x decays to 1/2 at the rate 2 r, whatever the path."""
    after, _ = evolve_patch(self, windows, patch, duration, seeds)
    decay = 0.5 - 0.5 * np.exp(-2 * RATE * duration)
    return after, decay * (1 - 2 * patch.cut(windows).mean(axis=2))


def times(factor):
    return {"expected_rates": lambda self, *args: factor * expected_rates(self, *args)}


def without_edge(self, windows, patch, around=ALONE):
    if patch.boundary == "periodic":
        return expected_rates(self, windows, patch)
    x = patch.cut(windows)[:, 0].astype(float)
    unlike = 2.0 * (x[:, 1:] != x[:, :-1]).sum(axis=1)
    pairs = 2.0 * (x.shape[1] - 1)
    rates = np.stack([(1 - 2 * x).sum(axis=1), pairs - 2 * unlike], axis=1)
    return RATE * rates / x.shape[1]


def half_edge(self, windows, patch, around=ALONE):
    """Pairs across the edge count by half: as if the other end's moves were in them too."""
    rates = expected_rates(self, windows, patch)
    if patch.boundary == "frozen":
        low, side = patch.margin, patch.shape[0]
        x = windows[:, 0]
        for one, other in ((low, low - 1), (low + side - 1, low + side)):
            rates[:, 1] -= 0.5 * RATE * (1 - 2.0 * (x[:, one] != x[:, other])) / side
    return rates


def with_buffer(self, windows, patch, around=ALONE):
    return site_terms(windows)[(..., *patch.moving)].sum(axis=2) / patch.shape[0]


def one_term(self, windows, patch, around=ALONE):
    """Sites 1 that go to 0, but not those that come from 0."""
    rates = expected_rates(self, windows, patch)
    rates[:, 0] = -RATE * patch.cut(windows)[:, 0].mean(axis=1)
    return rates


def rates_of_the_batch(self, windows, patch, around=ALONE):
    rates = expected_rates(self, windows, patch)
    return rates + 1e-9 * rates.mean()


def rates_in_place(self, windows, patch, around=ALONE):
    rates = expected_rates(self, windows, patch)
    windows[...] = 0
    return rates


def failing(self, windows, patch, around=ALONE):
    raise KeyError("rate")


SIGN = "for density and boundaries along paths from one state, but observable_increment is "
WHOLE = "counts in full, for its own sites, and those of a buffer do not count"
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "sign": (times(-1.0), "frozen", "of them: the sign is wrong"),
    "sign beside a buffer": (times(-1.0), "buffer", SIGN),
    "sign of a periodic patch": (times(-1.0), "periodic", "of them: the sign is wrong"),
    "times K": (times(2.0), "frozen", SIGN),
    "over K": (times(0.5), "buffer", SIGN),
    "not over the sites": (times(6.0), "periodic", "sites, divide by their number"),
    "one of two terms": (
        {"expected_rates": one_term},
        "frozen",
        "for density along paths from one state",
    ),
    "pairs across the edge dropped": ({"expected_rates": without_edge}, "frozen", WHOLE),
    "pairs across the edge dropped beside a buffer": (
        {"expected_rates": without_edge},
        "buffer",
        WHOLE,
    ),
    "half of the pairs across the edge": (
        {"expected_rates": half_edge},
        "frozen",
        "for boundaries as the mean of all K = 2 patches",
    ),
    "the buffer counted": ({"expected_rates": with_buffer}, "buffer", WHOLE),
    "one number": (
        {"expected_rates": lambda self, windows, patch, around=ALONE: np.zeros(len(windows))},
        "frozen",
        "expected_rates returns shape (6,): it should be (6, 2)",
    ),
    "in place": (
        {"expected_rates": rates_in_place},
        "frozen",
        "expected_rates changes an array that it is given",
    ),
    "rates of the batch": (
        {"expected_rates": rates_of_the_batch},
        "frozen",
        "in a batch: the rates of a window depend on it and its surroundings alone",
    ),
    "an error": ({"expected_rates": failing}, "frozen", "expected_rates raises KeyError: 'rate' ("),
    "no rates at all": (times(0.0), "frozen", "expected_rates adds up to 0 for density and"),
}


@pytest.mark.parametrize(("members", "way", "message"), WRONG.values(), ids=WRONG)
def test_wrong_rates_are_found_out(monkeypatch, members, way, message):
    text = problems(monkeypatch, {**FLIPS, **members}, {"evolve": EVOLVE[way]})
    assert "  system.name: Own: " in text
    assert message in text
    assert ";" not in text, "one mistake is reported as several"


def answer(change):
    def method(self, *arguments):
        return change(*compensated(self, *arguments))

    return method


def compensated_together(self, windows, patch, duration, seeds, around=ALONE):
    keys = np.full_like(seeds, np.bitwise_xor.reduce(seeds))
    return compensated(self, windows, patch, duration, keys)


COMPENSATED: dict[str, tuple[Any, str]] = {
    "sign": (answer(lambda after, a: (after, -a)), "evolve_compensated adds up to"),
    "rate, not integral": (answer(lambda after, a: (after, a / 0.3)), "adds up to"),
    "no pair": (answer(lambda after, a: after), "evolve_compensated does not return a pair"),
    "one number": (
        answer(lambda after, a: (after, a[:, 0])),
        "evolve_compensated (compensators) returns shape (4,): it should be (4, 1)",
    ),
    "patches": (
        answer(lambda after, a: (after[..., 1:-1], a)),
        "evolve_compensated returns shape (4, 1, 6): it should be (4, 1, 8)",
    ),
    "batch": (compensated_together, "evolve_compensated makes something else of the same state"),
}


@pytest.mark.parametrize(("method", "message"), COMPENSATED.values(), ids=COMPENSATED)
def test_wrong_compensators_are_found_out(monkeypatch, method, message):
    members = {**ONE, "evolve_compensated": method}
    text = problems(monkeypatch, members, {"evolve": EVOLVE["frozen"]})
    assert message in text
    assert ";" not in text, "one mistake is reported as several"


@pytest.mark.parametrize("way", EVOLVE)
@pytest.mark.parametrize(
    "members",
    [FLIPS, ONE, {**ONE, "periodic": False}, {**ONE, "evolve_compensated": compensated}],
    ids=["pairs", "mean", "with ends", "own compensators"],
)
def test_right_rates_are_accepted(monkeypatch, members, way):
    assert problems(monkeypatch, members, {"evolve": EVOLVE[way]}) == ""


def driven(change=lambda noise, patch: noise, *, returned=lambda *parts: parts):
    """Noise of the sites, Gaussian, of mean zero; what it does to them is of no account here."""

    def method(self, windows, patch, duration, seeds, around=ALONE):
        after, integral = compensated(self, windows, patch, duration, seeds)
        noise = np.zeros(windows.shape)
        for number, key in enumerate(seeds):
            drawn = np.random.Generator(np.random.Philox(key=int(key))).normal(size=patch.active)
            noise[(number, slice(None), *patch.moving)] = drawn
        return returned(after, integral, change(noise, patch))

    return method


def everywhere(noise, patch):
    return noise + 0.0 * noise + (np.abs(noise) == 0) * 1e-3


DRIVEN: dict[str, tuple[Any, str]] = {
    "mean": (driven(lambda noise, patch: noise + 2.0 * (noise != 0)), "must be equally likely"),
    "halo": (driven(everywhere), "evolve_driven tells noise of sites of the halo"),
    "patches": (
        driven(lambda noise, patch: patch.cut(noise)),
        "evolve_driven (noise) returns shape (128, 1, 6): it should be (128, 1, 8)",
    ),
    "two": (driven(returned=lambda *parts: parts[:2]), "does not return three arrays"),
    "other compensators": (
        driven(returned=lambda after, a, noise: (after, a + 1e-6, noise)),
        "evolve_driven gives other windows or compensators than evolve_compensated",
    ),
}


@pytest.mark.parametrize(("method", "message"), DRIVEN.values(), ids=DRIVEN)
def test_wrong_noise_is_found_out(monkeypatch, method, message):
    members = {**ONE, "evolve_compensated": compensated, "evolve_driven": method}
    text = problems(monkeypatch, members, {"evolve": EVOLVE["frozen"]})
    assert message in text
    assert ";" not in text, "one mistake is reported as several"


@pytest.mark.parametrize("way", EVOLVE)
def test_right_noise_is_accepted(monkeypatch, way):
    members = {**ONE, "evolve_compensated": compensated, "evolve_driven": driven()}
    assert problems(monkeypatch, members, {"evolve": EVOLVE[way]}) == ""


@pytest.mark.parametrize("dt", [0.02, 3.0])
def test_right_rates_are_accepted_at_any_duration(monkeypatch, dt):
    """Few flips, whose scatter few paths do not show; and more than Simpson's rule resolves."""
    assert problems(monkeypatch, FLIPS, {"evolve": {**EVOLVE["buffer"], "dt": dt}}) == ""


def test_rates_are_those_of_the_observables():
    states = np.random.default_rng(1).integers(0, 2, (3, 1, 12)).astype(np.uint8)
    exact = np.zeros((3, 2))
    for site in range(12):
        after = states.copy()
        after[..., site] ^= 1
        exact += RATE * (measured(after) - measured(states))
    np.testing.assert_allclose(site_terms(states).mean(axis=2), exact, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_not_taken_for_a_fault(seed):
    """Rare moves of one size, from states of many rates: means agree within the scatter."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.001, 0.3, (8, 1))
    paths = Paths(8, 1)
    for _ in range(20):
        drawn = rng.poisson(rates[:, None], (8, 32, 1))
        integral = np.broadcast_to(rates[:, None], drawn.shape)
        paths.add(*(part.reshape(-1, 1) for part in (drawn, integral, 0.0 * integral)))
        assert len(paths.differing(np.full(1, 1e-9))[0]) == 0
    assert abs(paths.increment - rates).max() < 0.1 and paths.number == 640


def test_wrong_factor_is_found_where_no_single_state_shows_it():
    rng = np.random.default_rng(1)
    rates = np.full((40, 1), 0.1)
    paths = Paths(40, 1)
    drawn = rng.poisson(rates[:, None], (40, 150, 1)).astype(float)
    integral = np.broadcast_to(1.6 * rates[:, None], drawn.shape)
    paths.add(*(part.reshape(-1, 1) for part in (drawn, integral, 0.0 * integral)))
    gap = np.abs(paths.increment - paths.integral)
    assert (gap < 6 * paths.scatter).any()
    assert len(paths.differing(np.full(1, 1e-9))[0]) == 1
