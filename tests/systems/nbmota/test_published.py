"""The published network: read without running what is in the file."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from macrodyn.systems.nbmota.published import read_published
from tests.systems.nbmota.conftest import WEIGHTS, needs_weights


def plain(layers, image):
    """The network as it is published: layer, normalisation, rectifier."""
    x = image
    for k in range(4):
        weight, bias, scale, shift, mean, variance = layers[6 * k : 6 * k + 6]
        x = x @ weight + bias
        x = scale * (x - mean) / np.sqrt(variance + 1e-5) + shift
        x = np.maximum(x, 0.0)
    return (x @ layers[-2] + layers[-1]).ravel()


@needs_weights
def test_it_computes_what_the_published_layers_compute():
    model = read_published(WEIGHTS)
    layers = [a.astype(np.float64) for a in np.load(WEIGHTS, allow_pickle=True)]
    species = np.random.default_rng(0).integers(1, 4, (20, len(model.offsets)))
    found, changes = model.evaluate(species)
    image = np.zeros((20, 9, 9, 9))
    x, y, z = (model.offsets + 4).T
    image[:, x, y, z] = species
    np.testing.assert_allclose(found[:, 0], plain(layers, image.reshape(20, -1)), atol=1e-5)
    # The jump along (-, +, +): what is seen is mirrored.
    mirrored = image[:, ::-1]
    np.testing.assert_allclose(found[:, 4], plain(layers, mirrored.reshape(20, -1)), atol=1e-5)
    assert not model.balanced and not changes.any()
    assert 1.6 < found.mean() < 1.9


class Bad:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.empty(1, dtype=object)
    array[0] = Bad()
    np.save("bad.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="not the published file of weights"):
        read_published("bad.npy")
    assert not (tmp_path / "made-by-a-pickle").exists()
    # The file is as dangerous as it looks.
    np.load("bad.npy", allow_pickle=True)
    assert (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1, 2])])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "other.npy"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="not the published file of weights"):
        read_published(file)


def test_numbers_are_no_weights(tmp_path):
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    with pytest.raises(ValueError, match="holds numbers"):
        read_published(tmp_path / "numbers.npy")
