"""Decoder of the patches of a snapshot from its macroscopic state: a distribution of patches.

Given z of the whole snapshot (mean over its patches), patches still differ: what is decoded is not
one patch but the law that all of them follow, here a mixture of C components whose sites are
independent. A single component could tell the mean of the patches alone, which has nothing of how
they vary.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from macrodyn.closure.layers import Architecture, build_decoder
from macrodyn.closure.reconstruction import SpaceKind

COMPONENTS = 8


class PatchMixture(nn.Module):
    """Weights and logits of the components, given z.

    Every component is decoded by the same network, which reads z and the component's number
    one-hot; the weights by a second, small one.

    Args:
        architecture: The shapes.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        read = architecture.observables + architecture.closure_dim
        wider = replace(
            architecture, observables=architecture.observables + COMPONENTS, decoder="patch"
        )
        self.component = build_decoder(wider)
        self.weight = nn.Sequential(
            nn.Linear(read, architecture.hidden),
            nn.SiLU(),
            nn.Linear(architecture.hidden, COMPONENTS),
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Decode snapshots.

        Args:
            z: Standardised macroscopic states, shape [S, observable + closure].

        Returns:
            Logarithms of the weights, shape [S, C], and logits, shape [S, C, input channel,
            *patch].
        """
        numbers = torch.eye(COMPONENTS, dtype=z.dtype, device=z.device).repeat(len(z), 1)
        read = torch.cat([numbers, z.repeat_interleave(COMPONENTS, dim=0)], dim=1)
        logits = self.component(read).unflatten(0, (len(z), COMPONENTS))
        return F.log_softmax(self.weight(z), dim=1), logits


def mixture_loss(
    log_weights: Tensor, logits: Tensor, inputs: Tensor, kind: SpaceKind, species: int = 0
) -> Tensor:
    """Negative log-likelihood of patches, per site and channel, in the mean over all.

    Of spins and species in nats, which no decoder brings below the entropy of patches given z, per
    site. Of fields, standardised, the components are Gaussian with variance 1 at each site, and the
    loss is twice the negative log-likelihood less a constant: the squared error where there is one.

    Args:
        log_weights: Shape [S, C].
        logits: Shape [S, C, input channel, *patch].
        inputs: The patches of each snapshot as networks read them, shape
            [S, m, input channel, *patch].
        kind: Kind of the states.
        species: Number of species, which are read one-hot.

    Returns:
        The loss, a scalar.
    """
    sites = prod(logits.shape[3:])
    flat, given = logits.flatten(2), inputs.flatten(2)
    if kind == "spin":
        # log p(s) = (s + 1)/2 l - log(1 + exp(l)) for each site of logit l.
        likelihood = (given + 1) / 2 @ flat.mT - F.softplus(flat).sum(dim=2)[:, None]
        count = sites * logits.shape[2]
    elif kind == "field":
        # Differences first: squares of large numbers would cancel.
        likelihood = -0.5 * torch.cdist(given, flat).square()
        count = sites * logits.shape[2]
    else:
        logs = F.log_softmax(logits.unflatten(2, (-1, species)), dim=3).flatten(2)
        likelihood = given @ logs.mT
        count = sites * logits.shape[2] // species
    joint = torch.logsumexp(likelihood + log_weights[:, None], dim=2)
    factor = 2.0 if kind == "field" else 1.0
    return -factor * joint.mean() / count
