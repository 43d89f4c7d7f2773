"""Reconstruction losses against closed forms and torch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from macrodyn.closure.reconstruction import SPACES, check_states, reconstruction_loss

NO_SCALE = {"mean": torch.zeros(1), "scale": torch.ones(1)}


def test_spin_loss_is_the_binary_cross_entropy_in_nats() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 1, 3, 4, generator=generator)
    spins = (torch.randint(0, 2, (6, 1, 3, 4), generator=generator) * 2 - 1).to(torch.int8)
    loss = reconstruction_loss(logits, spins, "spin", **NO_SCALE)
    direct = -torch.log(torch.sigmoid(spins * logits)).mean()
    torch.testing.assert_close(loss, direct)
    nothing_known = reconstruction_loss(torch.zeros(6, 1, 3, 4), spins, "spin", **NO_SCALE)
    assert float(nothing_known) == pytest.approx(math.log(2))


def test_field_loss_is_in_units_of_the_variance() -> None:
    fields = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 2, 3, 5)))
    fields = fields * torch.tensor([2.0, 5.0]).view(1, 2, 1, 1) + 7
    mean = fields.mean(dim=(0, 2, 3))
    scale = fields.std(dim=(0, 2, 3), correction=0)
    predict_mean = torch.zeros(400, 2, 3, 5)
    loss = reconstruction_loss(predict_mean, fields, "field", mean=mean, scale=scale)
    assert float(loss) == pytest.approx(1.0, abs=1e-5)


def test_species_loss_is_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator)
    species = torch.randint(0, 3, (4, 1, 5), generator=generator).to(torch.uint8)
    loss = reconstruction_loss(logits, species, "species", **NO_SCALE)
    direct = -torch.log_softmax(logits, 1).gather(1, species.long()).mean()
    torch.testing.assert_close(loss, direct)


def test_species_are_read_one_hot() -> None:
    species = torch.tensor([[[0, 2, 1]]], dtype=torch.uint8)
    inputs = SPACES["species"].inputs(species, 3, **NO_SCALE)
    assert inputs.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 0]]]


def test_species_of_the_first_channel_come_first() -> None:
    """Two sites of three species each on a 2 by 2 lattice, as of a bcc crystal."""
    species = torch.tensor([[[[0, 2], [1, 1]], [[2, 2], [0, 1]]]], dtype=torch.uint8)
    inputs = SPACES["species"].inputs(species, 3, **NO_SCALE)
    assert inputs.shape == (1, 6, 2, 2)
    for channel, number in np.ndindex(2, 3):
        expected = (species[:, channel] == number).float()
        assert torch.equal(inputs[:, 3 * channel + number], expected)


def test_species_loss_of_several_channels_is_the_mean_of_theirs() -> None:
    """Logits that know the frequencies of each channel, and nothing else, cost their entropies."""
    rng = np.random.default_rng(0)
    odds = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    states = np.stack([rng.choice(3, size=(200, 4, 5), p=p) for p in odds], axis=1)
    counts = np.stack([(states == number).mean(axis=(0, 2, 3)) for number in range(3)], axis=1)
    logits = torch.from_numpy(np.log(counts)).reshape(1, 6, 1, 1).expand(200, 6, 4, 5)
    states = torch.from_numpy(states.astype(np.uint8))
    loss = reconstruction_loss(logits, states, "species", **NO_SCALE)
    entropies = -(counts * np.log(counts)).sum(axis=1)
    assert float(loss) == pytest.approx(entropies.mean())
    assert abs(entropies[0] - entropies[1]) > 0.05
    swapped = reconstruction_loss(logits.roll(3, 1), states, "species", **NO_SCALE)
    assert float(swapped) > float(loss) + 0.5
    by_hand = torch.randn(200, 2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    chosen = torch.log_softmax(by_hand, 2).gather(2, states.long()[:, :, None])
    found = reconstruction_loss(by_hand.flatten(1, 2), states, "species", **NO_SCALE)
    torch.testing.assert_close(found, -chosen.mean())


@pytest.mark.parametrize("shape", [(6,), (3, 2)], ids=["vector", "particles"])
def test_coordinates_cost_squared_errors_in_units_of_their_own_variances(shape) -> None:
    spread = torch.linspace(0.5, 20, 6).view(shape)
    states = torch.randn(5000, *shape, generator=torch.Generator().manual_seed(0)) * spread - 3
    scale = {"mean": states.mean(0), "scale": states.std(0, correction=0)}
    loss = reconstruction_loss(torch.zeros(5000, *shape), states, "coordinates", **scale)
    assert float(loss) == pytest.approx(1.0, abs=1e-5)
    inputs = SPACES["coordinates"].inputs(states, 0, **scale)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(shape))


@pytest.mark.parametrize(
    ("states", "kind", "message"),
    [
        (torch.zeros(2, 1, 3), "spin", "-1 or"),
        (torch.tensor([[[math.nan]]]), "field", "finite"),
        (torch.tensor([[[math.inf]]]), "coordinates", "finite"),
        (torch.zeros(2, 1, 3), "species", "integers"),
        (-torch.ones(2, 1, 3, dtype=torch.int8), "species", "integers"),
        (torch.ones(2, 1, 3), "spins", "choose one of"),
    ],
    ids=["spin-0", "field-nan", "coordinates-infinite", "species-float", "species-below-0", "kind"],
)
def test_wrong_states_are_refused(states, kind, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_states(states, kind)


def test_species_are_checked_in_each_channel() -> None:
    states = torch.zeros(2, 2, 3, 3, dtype=torch.uint8)
    states[:, 1] = 1
    check_states(states, "species", 2)
    states[1, 1, 2, 0] = 2
    check_states(states, "species", 3)
    with pytest.raises(ValueError, match=r"2 species, .* hold 2 in channel 1"):
        check_states(states, "species", 2)
