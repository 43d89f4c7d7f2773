"""The example of a system of one's own: found by name, exact, and accepted by a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from scipy.linalg import expm

from macrodyn.config.load import ConfigError, load_study
from macrodyn.evaluation import style
from macrodyn.lattice import PatchGeometry, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems import system_class

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_system"
INFECTION, SOURCE = 2.5, 0.1
LENGTH, SIDE = 24, 6


@pytest.fixture
def contact(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    cls = system_class("contact_process:ContactProcess")
    return cls(cls.Parameters(infection=INFECTION, source=SOURCE))


def random_ring(system, seed, density=0.4, number=1):
    return system.initial_states(
        np.full((number, 1), density), (LENGTH,), seeds(seed, "ring", index=number)
    )


def site_rates(x):
    near = np.roll(x, 1, -1).astype(int) + np.roll(x, -1, -1)
    return np.where(x == 1, 1.0, SOURCE + 0.5 * INFECTION * near)


def cut_windows(states, geometry):
    origins = Tiling((LENGTH,), geometry.shape).origins() - geometry.margin
    return gather(states, origins, geometry.window)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_increments_of_frozen_patches_sum_to_the_drift(contact, seed):
    ring = random_ring(contact, seed)
    rates = site_rates(ring[0, 0])
    flipped = np.repeat(ring, LENGTH, axis=0)
    flipped[np.arange(LENGTH), 0, np.arange(LENGTH)] ^= 1
    exact = rates @ (contact.observe(flipped) - contact.observe(ring))

    geometry = PatchGeometry((SIDE,))
    drift = np.zeros(2)
    for number, window in enumerate(cut_windows(ring, geometry)[0]):
        for i in range(SIDE):
            after = window.copy()
            after[0, geometry.margin + i] ^= 1
            increment = contact.observable_increment(window[None], after[None], geometry)[0]
            drift += rates[number * SIDE + i] * increment
    np.testing.assert_allclose(drift / (LENGTH // SIDE), exact, atol=1e-13)
    assert np.abs(exact).min() > 1e-3


@pytest.mark.parametrize("buffer", [1, 2])
def test_increments_of_buffered_patches_telescope(contact, buffer):
    before, after = random_ring(contact, 4), random_ring(contact, 5, density=0.7)
    geometry = PatchGeometry((SIDE,), buffer=buffer)
    windows = [cut_windows(states, geometry)[0] for states in (before, after)]
    increments = contact.observable_increment(*windows, geometry)
    expected = contact.observe(after) - contact.observe(before)
    np.testing.assert_allclose(increments.mean(axis=0), expected[0], atol=1e-13)


def generator_of_ring(length):
    states = (np.arange(2**length)[:, None] >> np.arange(length)) & 1
    q = np.zeros((len(states), len(states)))
    for i in range(length):
        q[np.arange(len(states)), np.arange(len(states)) ^ (1 << i)] = site_rates(states)[:, i]
    return q - np.diag(q.sum(axis=1))


def test_evolution_has_the_probabilities_of_the_master_equation(contact):
    length, number, duration = 4, 20_000, 0.7
    start = np.array([1, 0, 0, 1], dtype=np.uint8)
    states = np.broadcast_to(start, (number, 1, length)).copy()
    after = contact.evolve(states, duration, seeds(6, "evolve", index=number))
    bits = 1 << np.arange(length)
    observed = np.bincount(after[:, 0].astype(int) @ bits, minlength=2**length)
    expected = number * expm(generator_of_ring(length) * duration)[start @ bits]
    assert expected.min() > 5
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_patch_evolution_leaves_the_halo_and_does_not_depend_on_the_batch(contact):
    geometry = PatchGeometry((SIDE,), buffer=1)
    windows = cut_windows(random_ring(contact, 7, number=20), geometry).reshape(
        -1, 1, *geometry.window
    )
    keys = seeds(8, "patch", index=len(windows))
    after, elapsed = contact.evolve_patch(windows, geometry, 1.5, keys)
    part, _ = contact.evolve_patch(windows[5:9], geometry, 1.5, keys[5:9])
    np.testing.assert_array_equal(after[5:9], part)
    np.testing.assert_array_equal(after[..., [0, -1]], windows[..., [0, -1]])
    assert (after[..., 1:-1] != windows[..., 1:-1]).any(axis=(0, 1)).all()
    assert (elapsed == 1.5).all()


def test_frozen_neighbours_act_on_a_patch(contact):
    number, duration = 20_000, 0.2
    geometry = PatchGeometry((1,))
    keys = seeds(9, "one", index=number)
    for halo in (0, 1):
        windows = np.zeros((number, 1, 3), dtype=np.uint8)
        windows[..., [0, 2]] = halo
        after, _ = contact.evolve_patch(windows, geometry, duration, keys)
        up = SOURCE + INFECTION * halo
        expected = up / (1 + up) * (1 - np.exp(-(1 + up) * duration))
        error = np.sqrt(expected * (1 - expected) / number)
        assert after[:, 0, 1].mean() == pytest.approx(expected, abs=4 * error)


def test_study_of_the_example_is_accepted(contact):
    study = load_study(EXAMPLE / "config.yaml")
    assert study.runs["small-64"].sizes.large == (512,)


def test_methods_of_the_example_are_tried(contact, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "contact_wrong.py").write_text(
        "import contact_process\n\nclass ContactProcess(contact_process.ContactProcess):\n"
        "    def observe(self, states):\n        return states[:, 0].mean(axis=1)\n",
        encoding="utf-8",
    )
    content = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    content["system"]["name"] = "contact_wrong:ContactProcess"
    with pytest.raises(ConfigError, match=r"system.name: ContactProcess: observe returns shape"):
        load_study(content)


def test_the_example_says_how_its_observables_are_written(contact):
    assert contact.labels.keys() == set(contact.observable_names)
    assert style.symbol(style.label("density", contact.labels)) == r"$\rho$"


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("sizes", "small", [8, 8], "sizes.small: .* 1 dimension"),
        ("system", "parameters", {"infection": -1}, "system.parameters.infection: "),
        ("system", "name", "contact_process:Contact", "system.name: cannot load system"),
        ("evolve", "stop", "events", "evolve.stop: .* knows only time"),
        ("evaluate", "initial", [-0.5], "evaluate.initial: .*outside"),
    ],
)
def test_wrong_configuration_of_the_example_is_refused(contact, section, key, value, message):
    content = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    content[section][key] = value
    with pytest.raises(ConfigError, match=message):
        load_study(content)
