"""What is held out of a training: whole groups, so that nothing held out has a relative in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def hold_out(
    group: ArrayLike, fraction: float, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose whole groups for validation, until they hold a fraction of the samples.

    Args:
        group: Group of each sample, shape [N].
        fraction: Share of the samples to validate on, 0 < fraction < 1.
        seed: Seed of the choice.

    Returns:
        Sorted indices of the samples for training and for validation; neither is empty.

    Raises:
        ValueError: If the fraction is out of range, or there are fewer than two groups.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"The validation fraction must lie between 0 and 1, got {fraction}")
    labels, inverse, counts = np.unique(np.asarray(group), return_inverse=True, return_counts=True)
    if len(labels) < 2:
        raise ValueError("Need at least two groups of snapshots to hold one out for validation")
    order = np.random.default_rng(seed).permutation(len(labels))
    before = np.cumsum(counts[order]) - counts[order]
    # A group joins while less than half of it would be too much.
    wanted = int(np.sum(before + 0.5 * counts[order] <= fraction * counts.sum()))
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[order[: min(max(wanted, 1), len(labels) - 1)]] = True
    mask = held_out[inverse]
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def group_folds(group: ArrayLike, folds: int, *, seed: int) -> NDArray[np.int64]:
    """Divide samples into folds, each group whole in one of them.

    Args:
        group: Group of each sample, shape [N].
        folds: Number of folds; as many as groups where these are fewer.
        seed: Seed of the division.

    Returns:
        Fold of each sample, from 0, shape [N].
    """
    labels, inverse = np.unique(np.asarray(group), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    fold: NDArray[np.int64] = (shuffled % min(folds, len(labels)))[inverse]
    return fold
