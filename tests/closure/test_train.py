"""Training: entropy bounds, textures, early stopping, exact resume."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.closure import (
    ENCODER_KINDS,
    ClosureSettings,
    reconstruction_error,
    train_closure,
)
from macrodyn.learning.holdout import hold_out
from macrodyn.storage.checkpoints import Checkpoints, Interrupted, read_checkpoint


def train(patches, observables, settings, **given):
    """Train on patches each of which is a snapshot and a group of its own, unless it is said."""
    alone = np.arange(len(patches))
    return train_closure(
        patches, observables, settings, **{"groups": alone, "snapshots": alone} | given
    )


def changed(settings: ClosureSettings, **changes) -> ClosureSettings:
    """The same settings but for some, validated anew."""
    return ClosureSettings(**{**settings.model_dump(), **changes})


SMALL = ClosureSettings(
    dimension=2,
    channels=(4, 6),
    hidden=16,
    steps=60,
    batch=32,
    validation_every=10,
    learning_rate=5e-3,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def independent_spins(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of independent spins, and the probability of +1 in each."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, size=(count, 1))
    up = rng.random((count, 1, side, side)) < p[..., None, None]
    return np.where(up, 1, -1).astype(np.int8), p


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def textures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes or a checkerboard, a tenth of the sites drawn anew; the mean spin tells nothing."""
    rng = np.random.default_rng(seed)
    i, j = np.indices((8, 10))
    label = rng.integers(0, 2, size=count)
    both = np.stack([1 - 2 * (i % 2), 1 - 2 * ((i + j) % 2)])
    clean = both[label]
    noise = rng.choice([-1, 1], size=clean.shape)
    states = np.where(rng.random(clean.shape) < 0.1, noise, clean)
    return states[:, None].astype(np.int8), label


def mean_spin(patches: np.ndarray) -> np.ndarray:
    return patches.mean(axis=(1, 2, 3))[:, None]


def test_loss_approaches_the_entropy_and_does_not_beat_it() -> None:
    """A decoder that knows p, and nothing else of a patch, is bounded by the entropy H(p)."""
    patches, p = independent_spins(6000, 8, seed=0)
    settings = changed(SMALL, dimension=0, steps=400, batch=256, validation_every=100)
    model, _ = train(patches, p, settings, kind="spin", train_baseline=True)
    fresh, p = independent_spins(6000, 8, seed=1)
    loss = reconstruction_error(model, fresh, p)
    # Sampling error of the mean of -log p(s) over the fresh spins, at the exact probabilities.
    variance = p * (1 - p) * np.log(p / (1 - p)) ** 2
    error = np.sqrt(variance.mean() / fresh.size)
    exact = entropy(p).mean()
    assert exact - 4 * error < loss < exact + 0.005


@pytest.mark.parametrize("encoder", ENCODER_KINDS)
def test_closure_finds_the_density_of_independent_spins(encoder) -> None:
    """Without observables one closure variable finds p, up to a monotone map."""
    patches, p = independent_spins(6000, 8, seed=0)
    settings = changed(
        SMALL, dimension=1, encoder=encoder, steps=400, batch=256, validation_every=100
    )
    model, _ = train(patches, np.zeros((6000, 0)), settings, kind="spin")
    fresh, p = independent_spins(3000, 8, seed=1)
    loss = reconstruction_error(model, fresh, np.zeros((3000, 0)))
    assert entropy(p).mean() - 0.02 < loss < entropy(p).mean() + 0.01
    closure = model.encode_patches(fresh)[:, 0]
    ranks = [values.argsort().argsort() for values in (closure, mean_spin(fresh)[:, 0])]
    assert abs(np.corrcoef(*ranks)[0, 1]) > 0.98


@pytest.mark.parametrize("encoder", ENCODER_KINDS)
def test_closure_tells_textures_apart(encoder) -> None:
    patches, _ = textures(3000, seed=0)
    settings = changed(SMALL, dimension=1, encoder=encoder, steps=250, batch=128)
    baseline = changed(settings, dimension=0)
    model, _ = train(patches, mean_spin(patches), settings, kind="spin")
    without, _ = train(patches, mean_spin(patches), baseline, kind="spin", train_baseline=True)
    fresh, label = textures(2000, seed=1)
    closure = model.encode_patches(fresh)[:, 0]
    low, high = sorted((closure[label == 0], closure[label == 1]), key=np.mean)
    assert low.max() < high.min()
    loss = reconstruction_error(model, fresh, mean_spin(fresh))
    loss_without = reconstruction_error(without, fresh, mean_spin(fresh))
    # Half of the sites agree in both textures; 5% of the spins are noise. Known texture: the
    # entropy of the noise. Unknown: log 2 on the sites where the two textures differ.
    noise = entropy(np.array(0.05))
    assert noise - 0.01 < loss < noise + 0.03
    assert (noise + np.log(2)) / 2 - 0.02 < loss_without < (noise + np.log(2)) / 2 + 0.05


def test_closure_is_scaled_over_the_training_snapshots() -> None:
    patches, _ = independent_spins(600, 6, seed=0)
    snapshots = np.repeat(np.arange(150), 4)
    model, _ = train(
        patches, mean_spin(patches), SMALL, kind="spin", groups=snapshots, snapshots=snapshots
    )
    training, _ = hold_out(snapshots, SMALL.validation_fraction, seed=0)
    closure = model.encode_snapshot(patches[training].reshape(-1, 4, 1, 6, 6))
    np.testing.assert_allclose(closure.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(closure.std(axis=0), 1, atol=1e-5)


def test_without_closure_variables_it_returns_at_once() -> None:
    patches, p = independent_spins(50, 6, seed=0)
    settings = changed(SMALL, dimension=0)
    model, history = train(patches, p, settings, kind="spin")
    assert history.steps == []
    assert model.encode_patches(patches).shape == (50, 0)
    np.testing.assert_allclose(model.observable_shift.item(), p.mean(), atol=0.1)


def test_early_stopping_keeps_the_best_weights() -> None:
    """On few patches of pure noise the validation loss soon rises."""
    patches, p = independent_spins(60, 6, seed=0)
    settings = changed(SMALL, dimension=8, steps=2000, patience=4, validation_fraction=0.3)
    model, history = train(patches, np.full_like(p, 0.5), settings, kind="spin")
    assert history.stopped_early
    (best,), (step,) = history.best_loss, history.best_step
    assert history.steps[-1] == step + 4 * settings.validation_every
    assert [best] == min(history.validation_loss)
    _, held_out = hold_out(np.arange(60), 0.3, seed=0)
    loss = reconstruction_error(model, patches[held_out], np.full((len(held_out), 1), 0.5))
    assert loss == pytest.approx(best, abs=1e-6)


def weights(model) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.parametrize("encoder", ENCODER_KINDS)
@pytest.mark.parametrize("damage", ["none", "newest", "both", "settings"])
def test_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, encoder, damage: str, caplog
) -> None:
    patches, p = independent_spins(300, 6, seed=0)
    settings = changed(SMALL, encoder=encoder)
    straight, expected = train(patches, p, settings, kind="spin")
    seed = 9 if damage == "settings" else 0
    for steps in (23, 14):
        calls = itertools.count(1)
        stop = Checkpoints(tmp_path, stop=lambda c=calls, n=steps: next(c) >= n)
        with pytest.raises(Interrupted):
            train(patches, p, settings, kind="spin", seed=seed, checkpoints=stop)
    files = sorted(tmp_path.iterdir(), key=lambda path: read_checkpoint(path)[1]["step"])
    assert [read_checkpoint(path)[1]["step"] for path in files] == [23, 37]
    for path in {"newest": files[1:], "both": files}.get(damage, []):
        path.write_bytes(path.read_bytes()[:-1])

    done: list[int] = []
    resumed, history = train(
        patches,
        p,
        settings,
        kind="spin",
        checkpoints=Checkpoints(tmp_path),
        progress=lambda step, total, loss: done.append(step),
    )
    assert done[0] == {"none": 40, "newest": 30, "both": 10, "settings": 10}[damage]
    assert weights(resumed) == weights(straight)
    assert {**vars(history), "seconds": 0} == {**vars(expected), "seconds": 0}
    assert caplog.text.count("Checkpoint not used") == {"none": 0, "newest": 1}.get(damage, 2)


@pytest.mark.parametrize("kind", ["field", "species"])
def test_other_kinds_of_state_beat_their_baseline(kind) -> None:
    """One closure variable finds the level that all sites of a patch share."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, size=(2000, 1, 1, 1))
    if kind == "species":
        states = np.where(rng.random((2000, 1, 5, 7)) < 0.1, 1, level).astype(np.uint8)
    else:
        states = (100 + 10 * level + rng.normal(size=(2000, 1, 5, 7))).astype(np.float32)
    nothing = np.zeros((2000, 1))
    settings = changed(SMALL, dimension=1, steps=150, batch=128)
    species = 3 if kind == "species" else 0
    _, history = train(states, nothing, settings, kind=kind, species=species)
    _, baseline = train(
        states,
        nothing,
        changed(settings, dimension=0),
        kind=kind,
        species=species,
        train_baseline=True,
    )
    assert history.best_loss[0] < 0.4 * baseline.best_loss[0]


def test_species_that_the_data_lack_are_still_there() -> None:
    states = np.tile([[[0, 1]], [[1, 0]]], (10, 1, 4)).astype(np.uint8)
    settings = changed(SMALL, dimension=1, steps=1, batch=4, encoder="strided")
    model, _ = train(states, np.zeros((20, 1)), settings, kind="species", species=3)
    assert model.architecture.species == 3
    assert model.encode_patches(np.full((1, 1, 8), 2, dtype=np.uint8)).shape == (1, 1)
    for species, message in ((0, "Say how many species there are"), (1, "Say how many")):
        with pytest.raises(ValueError, match=message):
            train(states, np.zeros((20, 1)), settings, kind="species", species=species)
    with pytest.raises(ValueError, match="There are 2 species, numbered from 0, but the states"):
        train(2 * states, np.zeros((20, 1)), settings, kind="species", species=2)


@pytest.mark.parametrize("missing", ["groups", "snapshots"])
def test_what_belongs_together_must_be_said(missing: str) -> None:
    given = {"groups": np.arange(10), "snapshots": np.arange(10)}
    del given[missing]
    with pytest.raises(TypeError, match=missing):
        train_closure(np.ones((10, 1, 4)), np.zeros((10, 1)), SMALL, kind="spin", **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observables": np.zeros((9, 1))}, "observables"),
        ({"groups": np.zeros(9)}, "groups"),
        ({"snapshots": np.zeros((10, 1))}, "snapshots"),
        ({"patches": np.zeros((10, 1, 4, 4), dtype=np.int8)}, "spin"),
    ],
    ids=["observables", "groups", "snapshots", "states"],
)
def test_wrong_inputs_are_refused(change, message: str) -> None:
    given = {"patches": np.ones((10, 1, 4, 4), dtype=np.int8), "observables": np.zeros((10, 1))}
    given |= change
    with pytest.raises(ValueError, match=message):
        train(settings=SMALL, kind="spin", **given)


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"patience": 0}, {"validation_fraction": 1.0}, {"learning_rate": 0.0}],
    ids=str,
)
def test_wrong_settings_are_refused(change) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        changed(SMALL, **change)
