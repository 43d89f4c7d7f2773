"""Reconstruction losses against closed forms and torch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from macrodyn.closure.reconstruction import check_states, encoder_input, reconstruction_loss

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
    inputs = encoder_input(species, "species", species=3, **NO_SCALE)
    assert inputs.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 0]]]


@pytest.mark.parametrize(
    ("states", "kind", "message"),
    [
        (torch.zeros(2, 1, 3), "spin", "-1 or"),
        (torch.tensor([[[math.nan]]]), "field", "finite"),
        (torch.zeros(2, 2, 3, dtype=torch.uint8), "species", "one index channel"),
        (torch.zeros(2, 1, 3), "species", "integers"),
        (-torch.ones(2, 1, 3, dtype=torch.int8), "species", "integers"),
        (torch.ones(2, 1, 3), "spins", "choose one of"),
    ],
    ids=["spin-0", "field-nan", "species-2-channels", "species-float", "species-below-0", "kind"],
)
def test_wrong_states_are_refused(states, kind, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_states(states, kind)
