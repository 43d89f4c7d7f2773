"""How well conditioned an encoder's Jacobian is: closed form of dense networks, autograd of others.

A drift of z is one of x by psi' = phi'^T (phi' phi'^T)^-1: where phi' phi'^T is ill-conditioned,
partial forces say little of some directions of z. Training keeps its condition number small.

Source: section 3.3 of arXiv:2410.23938.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from macrodyn.closure.autoencoder import Autoencoder


def dense_jacobian(model: Autoencoder, states: Tensor) -> Tensor:
    """Derivatives of a dense encoder's closure variables by the coordinates.

    Args:
        model: An autoencoder of coordinates.
        states: Shape [batch, ...] as it reads them.

    Returns:
        Shape [batch, closure, N].
    """
    return inner_jacobian(model, states) @ first_weights(model)


def dense_gram(model: Autoencoder, states: Tensor, others: Tensor | None = None) -> Tensor:
    """Phi' phi'^T of a dense encoder, by products of small matrices alone.

    With the weights W_1 of the first layer phi' = B W_1, so that phi' phi'^T = B (W_1 W_1^T) B^T:
    the product over the N coordinates is computed once, not for each state.

    Args:
        model: An autoencoder of coordinates.
        states: Shape [batch, ...] as it reads them.
        others: Further rows of the Jacobian of each state, such as gradients of observables, shape
            [batch, k, N]; they stand first.

    Returns:
        Shape [batch, k + closure, k + closure].
    """
    inner, weights = inner_jacobian(model, states), first_weights(model)
    own = inner @ (weights @ weights.T) @ inner.mT
    if others is None:
        return own
    mixed = (others @ weights.T) @ inner.mT
    upper = torch.cat([others @ others.mT, mixed], dim=2)
    return torch.cat([upper, torch.cat([mixed.mT, own], dim=2)], dim=1)


def gram(encode: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Phi' phi'^T of any encoder, by automatic differentiation.

    Args:
        encode: Differentiable map of states, [batch, ...] to [batch, variable].
        states: Shape [batch, ...].

    Returns:
        Shape [batch, variable, variable].
    """

    def one(state: Tensor) -> Tensor:
        return encode(state[None])[0]

    found = vmap(jacrev(one))(states).flatten(2)
    return found @ found.mT


def condition_number(gram: Tensor) -> Tensor:
    """Condition numbers of symmetric positive matrices, [batch, d, d] to [batch]."""
    values = torch.linalg.eigvalsh(gram)
    return values[:, -1] / values[:, 0].clamp_min(1e-12 * float(values.detach().max()))


def first_weights(model: Autoencoder) -> Tensor:
    """Derivative of the first layer by the coordinates themselves, shape [width, N]."""
    return model.first_layer.weight / model.field_scale.flatten()


def inner_jacobian(model: Autoencoder, states: Tensor) -> Tensor:
    """Derivatives of the closure variables by what the first layer gives, [batch, closure, width].

    Args:
        model: An autoencoder of coordinates; its activation is SiLU.
        states: Shape [batch, ...] as it reads them.
    """
    layers = [layer for layer in model.encoder if isinstance(layer, nn.Linear)]
    slopes = []
    values = model.encoder_inputs(states).flatten(1)
    for layer in layers[:-1]:
        before = layer(values)
        gate = torch.sigmoid(before)
        values = before * gate
        slopes.append(gate * (1.0 + before * (1.0 - gate)))
    # From the output inwards: weights, then the slope of the activation below them.
    found = layers[-1].weight.expand(len(states), -1, -1)
    for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:]), strict=True):
        found = (found * slope.unsqueeze(1)) @ layer.weight
    found = found * slopes[0].unsqueeze(1) if slopes else found
    return found / model.closure_scale.unsqueeze(-1)
