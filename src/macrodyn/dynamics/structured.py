"""Drifts that obey the laws of thermodynamics by construction: OnsagerNet and GFINN.

The laws hold in the coordinates that the members model, z scaled by `Scalers`, and to rounding:
whatever the parameters are. There dx/dt = kappa f(x), with one rate kappa for all coordinates (see
`LatentModel.structured`), so that a potential of x is one of z as well. Conditions are parameters
of the potentials and of the operators.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from macrodyn.dynamics.latent import MLP, Activation, CovarianceForm, NoisyModel

# Least friction of an OnsagerNet, in units of its operators.
FRICTION = 0.01
# Curvature of an OnsagerNet's potential far away: without it, the potential might have no minimum.
CONFINEMENT = 0.05


class Potential(nn.Module):
    """Half the squared norm of what a network gives, or the network's sum; with its gradient.

    The gradient is written out: it is as cheap as the network itself, and differentiable by the
    parameters.

    Args:
        variables: Number of variables d that it is differentiated by; they stand first.
        conditions: Number of further inputs c.
        hidden: Widths of the hidden layers; tanh.
        squared: Whether it is half the squared norm of the network's outputs, and so has a bound.
    """

    def __init__(
        self, variables: int, conditions: int, hidden: tuple[int, ...], *, squared: bool
    ) -> None:
        super().__init__()
        self.variables, self.squared = variables, squared
        widths = [variables + conditions, *hidden]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.out = nn.Linear(widths[-1], variables if squared else 1, bias=False)
        self.linear = nn.Linear(variables, self.out.out_features, bias=False)
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                layer.weight.normal_(0.0, 1.0 / math.sqrt(layer.in_features))
                layer.bias.normal_(0.0, 0.5)
            self.out.weight.normal_(0.0, 0.3 / math.sqrt(widths[-1]))
            self.linear.weight.normal_(0.0, 1.0 / math.sqrt(variables))

    def forward(self, inputs: Tensor) -> Tensor:
        """The potential, [..., d + c] to [...]."""
        value = self._outputs(self._hidden(inputs)[-1], inputs)
        return 0.5 * value.square().sum(-1) if self.squared else value[..., 0]

    def gradient(self, inputs: Tensor) -> Tensor:
        """Its derivatives by the variables, [..., d + c] to [..., d]."""
        hidden = self._hidden(inputs)
        if self.squared:
            outer = self._outputs(hidden[-1], inputs)
        else:
            outer = torch.ones_like(inputs[..., :1])
        back = outer @ self.out.weight
        for layer, value in zip(reversed(list(self.layers)), reversed(hidden), strict=True):
            assert isinstance(layer, nn.Linear)
            back = (back * (1.0 - value.square())) @ layer.weight
        return back[..., : self.variables] + outer @ self.linear.weight

    def _hidden(self, inputs: Tensor) -> list[Tensor]:
        found = []
        for layer in self.layers:
            inputs = torch.tanh(layer(inputs))
            found.append(inputs)
        return found

    def _outputs(self, last: Tensor, inputs: Tensor) -> Tensor:
        result: Tensor = self.out(last) + self.linear(inputs[..., : self.variables])
        return result


class OnsagerNet(NoisyModel):
    """f = -(L L^T + a I + W) grad V, with W skew: V never grows along a trajectory.

    V(x) = |U(x)|^2 / 2 + b |x|^2 / 2 has a lower bound and grows far away; L, lower triangular, and
    W, skew, are networks of x. A force from outside, which might feed energy, is left out.

    Args:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c.
        hidden: Widths of the hidden layers of U, of the operators and of the noise.
        activation: Of the operators and of the noise; U has tanh, whose derivative is smooth.
        covariance: The noise; none by default.

    Source: Yu, Tian, E and Li, Phys. Rev. Fluids 6, 114402 (2021), eq. (7).
    """

    structured = True
    continues = True
    decaying = ("potential", "operators")

    def __init__(
        self,
        variables: int,
        conditions: int,
        hidden: tuple[int, ...] = (64, 64, 64),
        activation: Activation = "silu",
        covariance: CovarianceForm = "none",
    ) -> None:
        super().__init__(variables, conditions, hidden, activation, covariance)
        self.potential = Potential(variables, conditions, self.hidden, squared=True)
        widths = [variables + conditions, *self.hidden]
        self.operators = MLP(widths, variables * variables, activation)
        # The friction of an untrained network is that of the unit matrix.
        self.constant = nn.Parameter(torch.eye(variables))
        self.add_noise()

    def energy(self, inputs: Tensor) -> Tensor:
        """The potential V, which a trajectory without noise lowers, [..., d + c] to [...]."""
        x = inputs[..., : self.variables]
        value: Tensor = self.potential(inputs)
        return value + 0.5 * CONFINEMENT * x.square().sum(-1)

    def slope(self, inputs: Tensor) -> Tensor:
        """Grad V, [..., d + c] to [..., d]."""
        x = inputs[..., : self.variables]
        return self.potential.gradient(inputs) + CONFINEMENT * x

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Evaluate drift and noise; see `LatentModel.forward`."""
        d = self.variables
        # One square matrix holds both: L below and on the diagonal, half of W above it.
        both = self.operators(inputs).unflatten(-1, (d, d)) + self.constant
        lower, upper = both.tril(), both.triu(1)
        slope = self.slope(inputs)
        row, column = slope.unsqueeze(-2), slope.unsqueeze(-1)
        # Rows times matrices: transposed matrices have gradients that are slow to add.
        dissipated = lower @ (row @ lower).mT + FRICTION * column
        turned = upper @ column - (row @ upper).mT
        return -(dissipated + turned).squeeze(-1), self.triangle(inputs)


class GFINN(NoisyModel):
    """f = L grad E + M grad S with L grad S = 0 and M grad E = 0: E is kept, S never falls.

    L = Q_S^T (A - A^T) Q_S and M = Q_E^T C C^T Q_E, with A strictly upper and C lower triangular,
    both networks of x.
    The rows of Q_S are grad S turned by skew matrices, and so orthogonal to grad S; those of Q_E
    likewise.

    Args:
        variables: Number of macroscopic variables d, 2 or more.
        conditions: Number of conditions c.
        hidden: Widths of the hidden layers of E, S, the operators and the noise.
        activation: Of the operators and of the noise; E and S have tanh.
        covariance: The noise; none by default.
        turns: Number of skew matrices of each kind.

    Raises:
        ValueError: If there is one variable: nothing is orthogonal to a gradient then.

    Source: Zhang, Shin and Karniadakis, Phil. Trans. R. Soc. A 380, 20210207 (2022).
    """

    structured = True
    continues = True
    decaying = ("energies", "entropies", "operators")

    def __init__(
        self,
        variables: int,
        conditions: int,
        hidden: tuple[int, ...] = (64, 64),
        activation: Activation = "silu",
        covariance: CovarianceForm = "none",
        turns: int = 32,
    ) -> None:
        if variables < 2:
            raise ValueError("A GFINN needs two macroscopic variables or more, got 1")
        super().__init__(variables, conditions, hidden, activation, covariance)
        d = variables
        self.energies = Potential(d, conditions, self.hidden, squared=False)
        self.entropies = Potential(d, conditions, self.hidden, squared=False)
        self.turns = turns
        self.turn_energy = nn.Parameter(torch.randn(turns, d, d) / math.sqrt(2 * d))
        self.turn_entropy = nn.Parameter(torch.randn(turns, d, d) / math.sqrt(2 * d))
        widths = [d + conditions, *self.hidden]
        self.operators = MLP(widths, turns * turns, activation)
        self.constant = nn.Parameter(torch.randn(turns * turns) / turns)
        self.add_noise()

    def energy(self, inputs: Tensor) -> Tensor:
        """E, which trajectories without noise keep, [..., d + c] to [...]."""
        value: Tensor = self.energies(inputs)
        return value

    def entropy(self, inputs: Tensor) -> Tensor:
        """S, which trajectories without noise never lower, [..., d + c] to [...]."""
        value: Tensor = self.entropies(inputs)
        return value

    def gradients(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Grad E and grad S, each [..., d]."""
        return self.energies.gradient(inputs), self.entropies.gradient(inputs)

    def applied(self, inputs: Tensor, to_energy: Tensor, to_entropy: Tensor) -> Tensor:
        """L times one vector plus M times another.

        Args:
            inputs: Where the operators are evaluated, shape [..., d + c].
            to_energy: What L acts on, shape [..., d]; in the drift grad E.
            to_entropy: What M acts on, shape [..., d]; in the drift grad S.
        """
        grad_e, grad_s = self.gradients(inputs)
        skew, root = self._operators(inputs)
        # [..., turn, d]: the rows of Q.
        q_s, q_e = self._rows(self.turn_entropy, grad_s), self._rows(self.turn_energy, grad_e)
        kept = q_s @ to_energy.unsqueeze(-1)
        made = q_e @ to_entropy.unsqueeze(-1)
        # Rows times matrices, as in `OnsagerNet.forward`.
        kept = (skew @ kept).mT - kept.mT @ skew
        made = (root @ (made.mT @ root).mT).mT
        return (kept @ q_s + made @ q_e).squeeze(-2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Evaluate drift and noise; see `LatentModel.forward`."""
        return self.applied(inputs, *self.gradients(inputs)), self.triangle(inputs)

    def _operators(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """A and C, each [..., turn, turn]."""
        # One square matrix holds both: C below and on the diagonal, A above it.
        entries = self.operators(inputs) + self.constant
        both = entries.unflatten(-1, (self.turns, self.turns))
        return both.triu(1), both.tril()

    @staticmethod
    def _rows(turns: Tensor, gradient: Tensor) -> Tensor:
        """The gradient turned by each skew matrix, shape [..., turn, d]."""
        skew = turns - turns.mT
        return (gradient @ skew.flatten(0, 1).mT).unflatten(-1, (len(turns), -1))
