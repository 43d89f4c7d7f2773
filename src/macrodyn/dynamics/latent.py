"""Models of the macroscopic dynamics: drift and, where there is any, noise of one member."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from macrodyn.targets import load_target

Activation = Literal["silu", "tanh"]
CovarianceForm = Literal["full", "diagonal", "constant", "none"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
# softplus(x + this) is 1 at x = 0: an untrained network returns the reference covariance.
SOFTPLUS_ONE = math.log(math.e - 1.0)


class LatentModel(nn.Module, ABC):
    """Drift and noise of one member of an ensemble, in standardised units.

    It sees standardised inputs x = (z, conditions), [..., d + c], and gives the drift in units of
    `Scalers.drift_scale`. The ensemble, which trains and evaluates many members at once by
    `torch.func`, does the rest: a model is written as if it were alone, with parameters of any
    names and shapes. Its options are plain JSON values.

    Attributes:
        noisy: Whether it has noise; a model without one is an ordinary differential equation.
        independent: Whether the noise of each variable is its own: L_ref is then diagonal.
        linear_output: Whether the drift is linear in some of the parameters, and the model says in
            which (`output_features`, `output_change`): training then solves for these exactly.
        linear_noise: Whether the noise is a function, entry by entry, of numbers that are linear in
            some of the parameters, and the model says which (`noise_outputs`, `noise_triangle`,
            `noise_rows`, `noise_features`, `noise_coefficients`, `noise_change`): training then
            solves for these as well. Its first feature is unity.
        along_axes: Whether it models coordinates along the data's principal axes
            (`principal_axes`); else the variables themselves, standardised one by one.
        structured: Whether the drift obeys a law of thermodynamics in the inputs: it is then in the
            same unit of time in each, kappa times `Scalers.z_scale`.
        continues: Whether it says itself what happens where there were no data; else the ensemble
            does (`Continuation`).

    Args:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c.
    """

    noisy: bool = True
    independent: bool = False
    linear_output: ClassVar[bool] = False
    linear_noise: ClassVar[bool] = False
    along_axes: bool = False
    structured: ClassVar[bool] = False
    continues: ClassVar[bool] = False

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__()
        self.variables, self.conditions = variables, conditions

    @abstractmethod
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Evaluate drift and noise.

        Args:
            inputs: Shape [..., d + c].

        Returns:
            The drift, shape [..., d]; and the lower triangle of M, row by row, shape
            [..., d (d + 1) / 2], its diagonal positive, where Sigma = L L^T with L = L_ref M and
            L_ref is `Scalers.diffusion_scale`. None without noise.
        """

    def begin(self, linear: Tensor) -> None:
        """Take a first guess of the drift, if the model has a place for it.

        Args:
            linear: Shape [1 + d + c, d]: intercept, then one row for each standardised input.
        """

    def output_features(self, inputs: Tensor) -> Tensor:
        """Features that the drift is linear in, shape [..., f], where ``linear_output``."""
        raise NotImplementedError

    def output_change(self, change: Tensor) -> dict[str, Tensor]:
        """What to add to which parameters to add features @ change to the drift.

        Args:
            change: Coefficients, shape [f, d].
        """
        raise NotImplementedError

    def noise_outputs(self, inputs: Tensor) -> Tensor:
        """What `noise_triangle` makes the noise of, shape [..., e], where ``linear_noise``."""
        raise NotImplementedError

    def noise_triangle(self, outputs: Tensor) -> Tensor:
        """The noise's triangle, as `forward` gives it; no two outputs share an entry."""
        raise NotImplementedError

    def noise_rows(self) -> Tensor:
        """Row of the triangle that each output is of, from 0, shape [e], where ``linear_noise``."""
        raise NotImplementedError

    def noise_features(self, inputs: Tensor) -> Tensor:
        """Features that the outputs are linear in, shape [..., f], where ``linear_noise``."""
        raise NotImplementedError

    def noise_coefficients(self) -> Tensor:
        """Coefficients of the features in the outputs, shape [f, e], where ``linear_noise``."""
        raise NotImplementedError

    def noise_change(self, change: Tensor) -> dict[str, Tensor]:
        """What to add to which parameters to add features @ change to the outputs.

        Args:
            change: Coefficients, shape [f, e].
        """
        raise NotImplementedError

    def decays(self, name: str) -> bool:
        """Whether a parameter, by its name, is subject to weight decay."""
        return False

    def network(self, name: str) -> str:
        """What a parameter belongs to; gradients of each such part are clipped on their own."""
        return "drift"


class MLP(nn.Module):
    """A multilayer perceptron with normal initial parameters."""

    def __init__(self, widths: list[int], outputs: int, activation: Activation) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        self.out = nn.Linear(widths[-1], outputs, bias=False)
        with torch.no_grad():
            for layer in layers:
                layer.weight.normal_(0.0, 1.5 / math.sqrt(layer.in_features))
                layer.bias.normal_(0.0, 0.5)
            self.out.weight.normal_(0.0, 0.1 / math.sqrt(widths[-1]))

    def hidden(self, inputs: Tensor) -> Tensor:
        """The last hidden layer, [..., inputs] to [..., width]."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            # Under `vmap` a layer is a product and a sum of its own, which need not be copied.
            product = nn.functional.linear(inputs, layer.weight)
            inputs = self.activation(product.add_(layer.bias))
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Evaluate it, [..., inputs] to [..., outputs]."""
        result: Tensor = self.out(self.hidden(inputs))
        return result


class NoisyModel(LatentModel):
    """A latent model with a network for the noise, beside whatever its drift is.

    A model of this kind makes its drift's networks, and then calls `add_noise`. The noise's
    triangle has a softplus diagonal, so that Sigma is positive definite without an epsilon.

    Attributes:
        decaying: Names of the drift's networks, whose weight matrices decay.
        hidden: As given.
        activation: As given.
        covariance: As given.

    Args:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c.
        hidden: Widths of the hidden layers.
        activation: `silu` or `tanh`; `silu` is several times faster on a CPU.
        covariance: `full` or `diagonal` networks of z, one `constant` full matrix, or `none`: an
            ordinary differential equation.
    """

    linear_noise = True
    decaying: ClassVar[tuple[str, ...]] = ("drift",)
    noise: MLP | None
    on_diagonal: Tensor
    placed: Tensor

    def __init__(
        self,
        variables: int,
        conditions: int,
        hidden: tuple[int, ...],
        activation: Activation,
        covariance: CovarianceForm,
    ) -> None:
        super().__init__(variables, conditions)
        if not hidden or min(hidden) < 1:
            raise ValueError(f"Need at least one hidden layer of width >= 1, got {hidden}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"Unknown activation {activation!r}: {sorted(ACTIVATIONS)}")
        if covariance not in get_args(CovarianceForm):
            raise ValueError(f"covariance is {covariance!r}: {', '.join(get_args(CovarianceForm))}")
        self.hidden, self.activation, self.covariance = tuple(hidden), activation, covariance
        self.noisy = covariance != "none"
        self.independent = covariance == "diagonal"

    def add_noise(self) -> None:
        """Make what the noise needs; its random weights are drawn after the drift's."""
        variables = self.variables
        self.noise = None
        if not self.noisy:
            return
        rows, columns = torch.tril_indices(variables, variables)
        on_diagonal = rows == columns
        if self.independent:
            place = torch.eye(len(rows))[on_diagonal]
            self.register_buffer("placed", place, persistent=False)
            on_diagonal = on_diagonal[on_diagonal]
        self.register_buffer("on_diagonal", on_diagonal, persistent=False)
        outputs = len(on_diagonal)
        if self.covariance != "constant":
            widths = [variables + self.conditions, *self.hidden]
            self.noise = MLP(widths, outputs, self.activation)
        self.noise_bias = nn.Parameter(torch.zeros(outputs))

    def triangle(self, inputs: Tensor) -> Tensor | None:
        """The noise, as `forward` gives it."""
        return self.noise_triangle(self.noise_outputs(inputs)) if self.noisy else None

    def noise_outputs(self, inputs: Tensor) -> Tensor:
        """The noise network's output and its bias."""
        if self.noise is None:
            return self.noise_bias.expand(*inputs.shape[:-1], -1)
        outputs: Tensor = self.noise(inputs).add_(self.noise_bias)
        return outputs

    def noise_triangle(self, outputs: Tensor) -> Tensor:
        """Softplus on the diagonal; what is below it as it is."""
        positive = nn.functional.softplus(outputs + SOFTPLUS_ONE)
        entries = torch.where(self.on_diagonal, positive, outputs)
        return entries @ self.placed if self.independent else entries

    def noise_rows(self) -> Tensor:
        """Of each output the row of its entry."""
        if self.independent:
            return torch.arange(self.variables)
        return torch.tril_indices(self.variables, self.variables)[0]

    def noise_features(self, inputs: Tensor) -> Tensor:
        """Unity and the noise network's last hidden layer."""
        one = torch.ones_like(inputs[..., :1])
        return one if self.noise is None else torch.cat([one, self.noise.hidden(inputs)], dim=-1)

    def noise_coefficients(self) -> Tensor:
        """The bias, and the noise network's output layer."""
        bias = self.noise_bias[None]
        return bias if self.noise is None else torch.cat([bias, self.noise.out.weight.mT])

    def noise_change(self, change: Tensor) -> dict[str, Tensor]:
        """Change the noise network's output."""
        found = {"noise_bias": change[0]}
        return found if self.noise is None else {**found, "noise.out.weight": change[1:].mT}

    def decays(self, name: str) -> bool:
        """Whether it is a weight matrix of a network; biases do not decay."""
        return name.startswith((*self.decaying, "noise.")) and name.endswith("weight")

    def network(self, name: str) -> str:
        """Tell the parameters of the noise from those of the drift."""
        return "noise" if name.startswith("noise") else "drift"


class NeuralSDE(NoisyModel):
    """A linear drift plus a network, and a network for the noise.

    The linear part lets the drift extrapolate gently.

    Args:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c.
        hidden: Widths of the hidden layers, the same for drift and noise.
        activation: `silu` or `tanh`; `silu` is several times faster on a CPU.
        covariance: The noise, see `NoisyModel`.
    """

    linear_output = True

    def __init__(
        self,
        variables: int,
        conditions: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: Activation = "silu",
        covariance: CovarianceForm = "full",
    ) -> None:
        super().__init__(variables, conditions, hidden, activation, covariance)
        # Noise of each variable's own is not of each axis' own.
        self.along_axes = not self.independent
        widths = [variables + conditions, *hidden]
        self.drift = MLP(widths, variables, activation)
        self.linear = nn.Linear(widths[0], variables)
        self.add_noise()
        self.begin(torch.zeros(1 + widths[0], variables))

    def begin(self, linear: Tensor) -> None:
        """Start the linear part from a fit."""
        with torch.no_grad():
            self.linear.bias.copy_(linear[0])
            self.linear.weight.copy_(linear[1:].T)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Evaluate drift and noise; see `LatentModel.forward`."""
        return self.drift(inputs).add_(self.linear(inputs)), self.triangle(inputs)

    def output_features(self, inputs: Tensor) -> Tensor:
        """Unity, the inputs and the drift network's last hidden layer."""
        one = torch.ones_like(inputs[..., :1])
        return torch.cat([one, inputs, self.drift.hidden(inputs)], dim=-1)

    def output_change(self, change: Tensor) -> dict[str, Tensor]:
        """Change the linear drift and the drift network's output."""
        sizes = [1, self.linear.in_features, self.drift.out.in_features]
        bias, linear, out = change.split(sizes)
        return {"linear.bias": bias[0], "linear.weight": linear.mT, "drift.out.weight": out.mT}


# What configurations call them.
NETWORKS = {"mlp": "neural-sde", "onsagernet": "onsagernet", "gfinn": "gfinn"}
# Classes, or where they are found.
LATENT_MODELS: dict[str, type[LatentModel] | str] = {
    "neural-sde": NeuralSDE,
    "onsagernet": "macrodyn.dynamics.structured:OnsagerNet",
    "gfinn": "macrodyn.dynamics.structured:GFINN",
    "polynomial": "macrodyn.dynamics.polynomial:Polynomial",
}


def latent_model(kind: str, *, trusted: bool = True) -> Callable[..., LatentModel]:
    """Find a latent model.

    Args:
        kind: One of `LATENT_MODELS`, or ``module:Class`` of an importable one.
        trusted: Whether the module may be imported; else, as where a file names it, it must be
            imported already.

    Raises:
        ValueError: If there is none of that name.
    """
    found: Any = LATENT_MODELS.get(kind)
    if isinstance(found, str):
        found = load_target(found)
    elif found is None and ":" in kind:
        module = kind.partition(":")[0]
        if not trusted and module not in sys.modules:
            raise ValueError(
                f"its latent model is {kind!r}: import {module} first, if you trust it; a file "
                "alone does not make code run"
            )
        try:
            found = load_target(kind)
        except ImportError as error:
            raise ValueError(f"there is no latent model {kind!r}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, LatentModel)):
        raise ValueError(f"there is no latent model {kind!r}; known: {', '.join(LATENT_MODELS)}")
    return found
