"""The alloy: order parameters, increments, expected rates, and its own stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.config.load import ConfigError, load_study
from macrodyn.lattice import PatchGeometry, Tiling, gather
from macrodyn.sampling.upsample import tile
from macrodyn.storage.models import save_model
from macrodyn.streams import seeds
from macrodyn.systems import system_class
from macrodyn.systems.nbmota import NbMoTa, NbMoTaParameters
from macrodyn.systems.nbmota.bonds import NAMES, PAIRS
from macrodyn.systems.nbmota.crystal import DIRECTIONS, half_units, site_number
from tests.systems.nbmota.conftest import ROOT, WEIGHTS, needs_weights

WHOLE = (10, 10, 10)
PATCH = PatchGeometry((5, 5, 5), halo=3)


@pytest.fixture(scope="module")
def prepared(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("barriers") / "model.safetensors"
    tensors = {name: torch.as_tensor(values) for name, values in model.arrays().items()}
    save_model(path, tensors, {"kind": "barriers", "source": "random numbers"})
    return {"barriers": {"model": path}}


@pytest.fixture(scope="module")
def alloy(prepared):
    parameters = NbMoTaParameters(temperature=1500.0, barriers="trained", sites_per_vacancy=60)
    return NbMoTa(parameters, prepared=prepared)


@pytest.fixture(scope="module")
def states(alloy):
    begun = alloy.initial_states(np.array([[0.0], [0.7], [0.2]]), WHOLE, seeds(1, "s", index=3))
    return alloy.evolve(begun, 3.0, seeds(1, "e", index=3))


def plainly(state):
    """The six parameters by going through all sites."""
    flat, where = state.reshape(-1), half_units(state.shape[1:])
    around = flat[site_number(where[:, None] + DIRECTIONS, state.shape[1:])]
    unlike = {(a, b): 3 * (around[flat == a + 1] == b + 1).sum() / len(flat) - 8 / 3
              for a, b in PAIRS if a != b}  # fmt: skip
    return [
        unlike[p] if p in unlike else -sum(v for q, v in unlike.items() if p[0] in q) for p in PAIRS
    ]


def test_it_is_found_by_its_name():
    assert system_class("nbmota") is NbMoTa
    assert NAMES == ("Nb_Nb", "Nb_Mo", "Nb_Ta", "Mo_Mo", "Mo_Ta", "Ta_Ta")


def test_initial_states_have_equal_parts_and_the_order_that_was_asked_for(alloy):
    orders = np.array([[0.0], [0.5], [1.0]])
    states = alloy.initial_states(orders, WHOLE, seeds(3, "s", index=3))
    for state in states:
        assert np.bincount(state.ravel()).tolist() == [33, 655, 656, 656]
    at_corners = (states[:, 0] == 2).sum(axis=(1, 2, 3)) / 656
    assert at_corners[0] == pytest.approx(0.5, abs=0.08)
    assert 0.6 < at_corners[1] < 0.99
    assert at_corners[2] == 1.0
    again = alloy.initial_states(orders[1:2], WHOLE, seeds(3, "s", index=3)[1:2])
    np.testing.assert_array_equal(again[0], states[1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        alloy.initial_states(np.array([[1.2]]), WHOLE, seeds(3, "s", index=1))


def test_order_is_counted_right_and_obeys_the_sum_rules(alloy, states):
    found = alloy.observe(states)
    np.testing.assert_allclose(found, [plainly(state) for state in states], atol=1e-12)
    matrix, right = alloy.relations()
    np.testing.assert_allclose(found @ matrix.T, np.tile(right, (3, 1)), atol=1e-12)
    random = alloy.initial_states(np.zeros((40, 1)), WHOLE, seeds(5, "s", index=40))
    unlike = alloy.observe(random).mean(axis=0)[[1, 2, 4]]
    # Vacancies take a share of the bonds.
    share = 33 / 2000
    np.testing.assert_allclose(unlike, 8 / 3 * ((1 - share) ** 2 - 1), atol=0.02)


def test_a_small_cell_that_wraps_is_counted_with_its_images(alloy):
    cell = np.array([1, 3], np.uint8).reshape(1, 2, 1, 1, 1)
    many = np.tile(cell, (1, 1, 4, 4, 4))
    np.testing.assert_allclose(alloy.observe(cell), alloy.observe(many))
    assert alloy.observe(cell)[0, NAMES.index("Nb_Ta")] == pytest.approx(3 * 8 / 2 - 8 / 3)


def test_patches_of_a_periodic_tile_have_nearly_the_order_of_the_whole(alloy):
    tile = np.array([1, 2], np.uint8).reshape(1, 2, 1, 1, 1)
    patch = np.tile(tile, (1, 1, 5, 5, 5))
    np.testing.assert_allclose(alloy.observe_patch(patch), alloy.observe(tile), atol=1e-12)


@pytest.mark.parametrize("buffer", [0, 1])
def test_increments_of_all_patches_add_up_to_the_change_of_the_whole(prepared, buffer):
    alloy = NbMoTa(
        NbMoTaParameters(temperature=1500.0, sites_per_vacancy=60, barriers="trained"),
        prepared=prepared,
    )
    shape = (12, 12, 12)
    patch = PatchGeometry((6, 6, 6), halo=3, buffer=buffer)
    if buffer:
        patch = PatchGeometry((4, 4, 4), halo=3, buffer=1)
    state = alloy.initial_states(np.array([[0.4]]), shape, seeds(7, "s", index=1))
    tiling = Tiling(shape, patch.shape)
    windows = gather(state, tiling.origins() - patch.margin, patch.window)[0]
    after, elapsed = alloy.evolve_patch(windows, patch, 4.0, seeds(7, "p", index=tiling.number))
    assert (elapsed == 4.0).all() and (after != windows).any()
    increments = alloy.observable_increment(windows, after, patch)
    moved = (after != windows).any(axis=(1, 2, 3, 4))
    for number, origin in enumerate(tiling.origins()):
        if not moved[number]:
            assert not increments[number].any()
            continue
        if buffer == 0:
            changed = state.copy()
            x, y, z = (slice(o, o + s) for o, s in zip(origin, patch.shape, strict=True))
            changed[0, :, x, y, z] = patch.cut(after[number])
            whole = tiling.number * (alloy.observe(changed) - alloy.observe(state))[0]
            np.testing.assert_allclose(increments[number], whole, atol=1e-10)
    matrix, _ = alloy.relations()
    np.testing.assert_allclose(increments @ matrix.T, 0.0, atol=1e-10)


def test_expected_rates_are_the_mean_change_over_a_short_time(alloy, states):
    patch = PatchGeometry(WHOLE, halo=3, boundary="periodic")
    rates = alloy.expected_rates(states[:1], patch)[0]
    many, dt = 6000, 0.01
    after = alloy.evolve(np.repeat(states[:1], many, axis=0), dt, seeds(9, "e", index=many))
    change = (alloy.observe(after) - alloy.observe(states[:1])) / dt
    error = change.std(axis=0) / np.sqrt(many)
    assert (np.abs(change.mean(axis=0) - rates) < 4.5 * error + 0.02 * np.abs(rates).max()).all()
    assert (np.abs(rates) > 3 * error).any()


@pytest.mark.parametrize("buffer", [0, 1])
def test_expected_rates_of_a_patch_are_the_mean_of_its_increments(alloy, states, buffer):
    patch = PatchGeometry((3, 3, 3) if buffer else (4, 4, 4), halo=3, buffer=buffer)
    window = gather(states[1:2], np.array([[2, 7, 1]]), patch.window)[0, 0]
    # Vacancies in the patch, at its edge and in the buffer.
    low = patch.margin
    window[0, low, low, low] = window[1, low + 1, low + 1, low + 1] = 0
    window[1, low - buffer, low, low] = 0
    many, dt = 1500, 0.02 if buffer else 0.3
    windows = np.repeat(window[None], many, axis=0)
    after, compensator = alloy.evolve_compensated(windows, patch, dt, seeds(11, "p", index=many))
    change = alloy.observable_increment(windows, after, patch)
    left = change - compensator
    error = left.std(axis=0) / np.sqrt(many)
    assert (np.abs(left.mean(axis=0)) < 4.5 * error).all()
    assert (np.abs(change.mean(axis=0)) > 5 * error).any()


def test_the_unit_of_time_makes_jumps_alike_at_all_temperatures(prepared):
    jumps = []
    for temperature in (800.0, 2400.0):
        alloy = NbMoTa(
            NbMoTaParameters(temperature=temperature, barriers="trained"), prepared=prepared
        )
        state = alloy.initial_states(np.zeros((4, 1)), (6, 6, 6), seeds(2, "s", index=4))
        walk = alloy.kinetics.walk(
            state, temperature, seeds(2, "w", index=4), duration=30 * alloy.unit
        )
        jumps.append(walk.jumps.mean())
    assert 0.05 < jumps[0] / jumps[1] < 50
    assert alloy.seconds == pytest.approx(np.exp(1 / (8.617333262e-5 * 2400)) / 1e13)


def test_too_small_a_system_is_refused(alloy):
    state = alloy.initial_states(np.zeros((1, 1)), (2, 6, 6), seeds(2, "s", index=1))
    with pytest.raises(ValueError, match="too small"):
        alloy.evolve(state, 1.0, seeds(2, "w", index=1))
    with pytest.raises(ValueError, match="waits for ever"):
        alloy.evolve_patch(
            np.ones((1, 2, *PATCH.window), np.uint8), PATCH, 1.0, seeds(0, "w", index=1), events=3
        )


def test_a_patch_without_a_buffer_is_refused_before_any_job(tmp_path):
    text = (ROOT / "config" / "nbmota-quick.yaml").read_text(encoding="utf-8")
    sound, wrong = tmp_path / "sound.yaml", tmp_path / "wrong.yaml"
    sound.write_text(text, encoding="utf-8")
    assert "buffer: 1" in text
    wrong.write_text(text.replace("buffer: 1", "buffer: 0"), encoding="utf-8")
    load_study(sound)
    with pytest.raises(
        ConfigError, match=r"evolve\.buffer: 1 or more is needed, as sites exchange"
    ):
        load_study(wrong)


PUBLISHED = ROOT / "config" / "nbmota-published.yaml"


def test_weights_that_are_not_here_are_told_before_any_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_study(PUBLISHED)
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip().startswith("system.parameters.barriers: there is no file nkk_weights.npy")
    assert "shipped" in line


@needs_weights
def test_the_study_of_the_published_barriers_is_valid(monkeypatch):
    monkeypatch.chdir(WEIGHTS.parent)
    assert load_study(PUBLISHED).runs["base"].system.parameters["barriers"] == WEIGHTS.name


@needs_weights
def test_published_barriers_need_no_preparation():
    alloy = NbMoTa(NbMoTaParameters(barriers=str(WEIGHTS), temperature=1200.0))
    assert alloy.is_ready and "Xing" in alloy.barriers.source
    state = alloy.initial_states(np.zeros((1, 1)), (6, 6, 6), seeds(2, "s", index=1))
    assert (alloy.evolve(state, 1e5, seeds(2, "w", index=1)) != state).any()


def test_tiles_keep_the_composition(alloy):
    small = alloy.initial_states(np.array([[0.3]] * 4), (5, 5, 5), seeds(1, "t", index=4))
    made = tile(small, (10, 5, 15), 3, np.random.default_rng(1))
    share = np.bincount(small[0].ravel(), minlength=4) * 6
    for state in made:
        np.testing.assert_array_equal(np.bincount(state.ravel(), minlength=4), share)


def test_equilibrium_has_one_order_wherever_it_begins(alloy):
    assert alloy.knows_equilibrium
    begun = alloy.initial_states(
        np.repeat([[0.0], [0.9]], 8, axis=0), (4, 4, 4), seeds(1, "e", index=16)
    )
    found = alloy.equilibrate(begun, 200, seeds(2, "e", index=16), first=True)
    for before, after in zip(begun, found, strict=True):
        np.testing.assert_array_equal(np.bincount(before.flat), np.bincount(after.flat))
    order = alloy.observe(found)
    low, high = order[:8], order[8:]
    error = np.hypot(low.std(0, ddof=1), high.std(0, ddof=1)) / np.sqrt(8)
    assert (np.abs(low.mean(0) - high.mean(0)) < 4.5 * error).all()
    # The start differs by more than that.
    apart = np.abs(alloy.observe(begun)[:8].mean(0) - alloy.observe(begun)[8:].mean(0))
    assert (apart > 4.5 * error).any()


def test_cooling_takes_as_many_sweeps_as_were_asked_for(alloy, monkeypatch):
    asked = []

    def exchange(self, states, temperature, sweeps, keys):
        asked.append((temperature, sweeps))
        return states, np.ones(len(states))

    monkeypatch.setattr("macrodyn.systems.nbmota.system.Canonical.exchange", exchange)
    begun = alloy.initial_states(np.array([[0.0]]), (4, 4, 4), seeds(1, "e", index=1))
    alloy.equilibrate(begun, 101, seeds(2, "e", index=1), first=True)
    temperatures, sweeps = zip(*asked, strict=True)
    assert sum(sweeps) == 101 and temperatures[0] == 3000 and temperatures[-1] == 1500
    assert list(temperatures) == sorted(temperatures, reverse=True)
    asked.clear()
    alloy.equilibrate(begun, 7, seeds(2, "e", index=1))
    assert asked == [(1500.0, 7)]


def test_published_barriers_have_no_equilibrium():
    assert not NbMoTa(NbMoTaParameters(barriers="nkk_weights.npy")).knows_equilibrium
