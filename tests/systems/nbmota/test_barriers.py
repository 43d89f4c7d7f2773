"""Barrier models: symmetry, detailed balance, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.systems.nbmota.barriers import KINDS, BarrierModel
from macrodyn.systems.nbmota.crystal import DIRECTIONS, half_units, site_number, symmetries
from macrodyn.systems.nbmota.kinetics import Kinetics


def around(model, state, position):
    shape = state.shape[1:]
    return state.reshape(-1)[site_number(position + model.offsets, shape)]


def vacancy_of(state):
    (number,) = np.flatnonzero(state.reshape(-1) == 0)
    return half_units(state.shape[1:])[number]


def jumped(state, direction):
    position, shape = vacancy_of(state), state.shape[1:]
    after = state.copy().reshape(-1)
    here, there = (int(site_number(p, shape)) for p in (position, position + direction))
    after[[here, there]] = after[[there, here]]
    return after.reshape(state.shape)


def test_a_jump_and_the_jump_back_keep_detailed_balance(model, alloys):
    for state in alloys(4, (6, 6, 6)):
        position = vacancy_of(state)
        barriers, changes = model.evaluate(around(model, state, position)[None])
        before = model.energy(state[None])[0]
        for d, direction in enumerate(DIRECTIONS):
            after = jumped(state, direction)
            back, change = model.evaluate(around(model, after, position + direction)[None])
            opposite = int((-direction == DIRECTIONS).all(axis=1).argmax())
            risen = model.energy(after[None])[0] - before
            assert changes[0, d] == pytest.approx(risen, abs=1e-6)
            assert change[0, opposite] == pytest.approx(-risen, abs=1e-6)
            assert barriers[0, d] - back[0, opposite] == pytest.approx(risen, abs=1e-6)


def test_barriers_turn_with_the_crystal(model):
    rng = np.random.default_rng(3)
    species = rng.integers(1, 4, len(model.offsets)).astype(np.uint8)
    place = {tuple(site): k for k, site in enumerate(model.offsets.tolist())}
    before, _ = model.evaluate(species[None])
    for operation in symmetries(DIRECTIONS[0])[:6]:
        images = [place[tuple((operation @ site).tolist())] for site in model.offsets]
        turned = np.empty_like(species)
        turned[images] = species
        after, _ = model.evaluate(turned[None])
        to = [int((operation @ d == DIRECTIONS).all(axis=1).argmax()) for d in DIRECTIONS]
        np.testing.assert_allclose(after[0, to], before[0], atol=1e-6)
    assert np.ptp(before) > 0.05


def test_there_is_no_jump_into_a_vacancy(model):
    species = np.ones((1, len(model.offsets)), np.uint8)
    species[0, model.jumpers[2]] = 0
    barriers, changes = model.evaluate(species)
    assert np.isinf(barriers[0]).tolist() == [False, False, True, *5 * [False]]
    assert changes[0, 2] == 0.0


def test_the_kernel_computes_the_same(model, alloys):
    states = alloys(3, (6, 5, 7))
    vacancies = np.array([np.argwhere(state == 0)[0] for state in states])
    found = Kinetics(model, 1.0).barriers(states, vacancies)
    plain = [model.evaluate(around(model, s, vacancy_of(s))[None])[0][0] for s in states]
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_a_model_is_its_arrays(model):
    again = BarrierModel.of_arrays("again", model.arrays())
    species = np.random.default_rng(0).integers(1, 4, (5, len(model.offsets)))
    np.testing.assert_array_equal(again.evaluate(species)[0], model.evaluate(species)[0])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("table", lambda a: a[:, :3], "table of a barrier model is of shape"),
        ("level", lambda a: a * np.nan, "level of a barrier model holds numbers that are not"),
        ("rows", lambda a: a + 1000, "rows of a barrier model lie outside"),
        ("lines", lambda a: a[:2], "other rows"),
        ("energies", lambda a: a + np.eye(KINDS), "zero for a vacancy"),
        ("energies", lambda a: a + np.triu(np.ones((KINDS, KINDS))), "symmetric"),
        ("offsets", lambda a: a + 20, "sites of its shells"),
    ],
)
def test_damaged_models_are_refused(model, name, change, message):
    arrays = model.arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=message):
        BarrierModel.of_arrays("damaged", arrays)


def test_what_is_missing_is_named(model):
    arrays = model.arrays()
    del arrays["bias"]
    with pytest.raises(ValueError, match="needs bias"):
        BarrierModel.of_arrays("damaged", arrays)


def test_energy_of_a_small_cell_counts_images(model):
    one, many = np.ones((1, 2, 1, 1, 1), np.uint8), np.ones((1, 2, 4, 3, 5), np.uint8)
    assert model.energy(many)[0] == pytest.approx(60 * model.energy(one)[0])
    neighbours = {3: 8, 4: 6, 8: 12, 11: 24, 12: 8, 16: 6, 19: 24, 20: 24}
    expected = sum(
        neighbours[int(s)] * float(table[1, 1])
        for s, table in zip(model.shells, model.energies, strict=True)
    )
    assert model.energy(one)[0] == pytest.approx(expected)
