"""AdamW for an ensemble whose parameters are views of one vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from macrodyn.dynamics.model import EnsembleSDE


class EnsembleAdamW:
    """AdamW with the gradient of each network clipped on its own.

    A library optimiser treats each parameter tensor apart and clips the members' common norm;
    with one vector a step is a handful of operations, and no member disturbs another.

    Args:
        model: The ensemble; its parameters become views of `flat`.
        weight_decay: Decoupled decay of the weight matrices; biases and the linear drift have none.
        gradient_clip: Largest gradient norm of one network.
        patches: Increments whose covariance a transition shows: the diffusion networks' gradients
            are as many times larger, and so is their clip.

    Attributes:
        flat: All parameters, shape [P].
        gradients: Where each parameter's gradient belongs, by its name: views of one vector.
        first: First moment, shape [P].
        second: Second moment, shape [P].

    Source: Loshchilov and Hutter (2019).
    """

    def __init__(
        self, model: EnsembleSDE, *, weight_decay: float, gradient_clip: float, patches: int = 1
    ) -> None:
        self.flat = flatten(model)
        members = model.architecture.members
        clips = [gradient_clip] * members + [gradient_clip * patches] * members
        self._clip = torch.tensor(clips, device=self.flat.device)
        self._largest_square = self._clip.square()
        self._gradient = torch.zeros_like(self.flat)
        self.gradients = _views(self._gradient, model)
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self._decay = torch.zeros_like(self.flat)
        for name, view in _views(self._decay, model).items():
            if name.startswith("weights") or name.endswith("_out"):
                view.fill_(weight_decay)
        self._network = self._network_of_each_parameter(model)

    def update(self, step: int, rate: float) -> None:
        """Take one step along the gradient that stands in `gradients`.

        Args:
            step: Number of this step, from 1.
            rate: Learning rate.
        """
        gradient = self._gradient
        squares = torch.zeros_like(self._clip)
        squares.index_add_(0, self._network, gradient.square())
        if bool((squares > self._largest_square).any()):
            scale = squares.sqrt().reciprocal_().mul_(self._clip).clamp_(max=1.0)
            gradient *= scale[self._network]
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.first.lerp_(gradient, 1.0 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        root = self.second.sqrt().div_(math.sqrt(1.0 - beta2**step)).add_(epsilon)
        self.flat.addcmul_(self.flat, self._decay, value=-rate)
        self.flat.addcdiv_(self.first, root, value=-rate / (1.0 - beta1**step))

    def _network_of_each_parameter(self, model: EnsembleSDE) -> Tensor:
        """Which of the [drift | diffusion, E] networks each entry of the vector belongs to."""
        members = model.architecture.members
        owner = torch.empty(len(self.flat), dtype=torch.int64, device=self.flat.device)
        networks = torch.arange(2 * members, device=owner.device).view(2, members)
        for name, view in _views(owner, model).items():
            parameter = view.unflatten(0, (-1, members))
            own = networks[1:] if name.startswith("diffusion") else networks[: len(parameter)]
            parameter.copy_(own[..., None, None])
        return owner


def flatten(model: EnsembleSDE) -> Tensor:
    """Move a model's parameters into one vector, of which they become views."""
    flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    views = _views(flat, model)
    for name, parameter in model.named_parameters():
        parameter.data = views[name]
    return flat


def _views(flat: Tensor, model: EnsembleSDE) -> dict[str, Tensor]:
    """Views of a vector with the shapes of the model's parameters, in their order."""
    parameters = dict(model.named_parameters())
    pieces = flat.split([parameter.numel() for parameter in parameters.values()])
    return {
        name: piece.view(parameter.shape)
        for (name, parameter), piece in zip(parameters.items(), pieces, strict=True)
    }
