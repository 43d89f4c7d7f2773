"""Polynomials for drift and noise: a latent model that is fitted in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from macrodyn.dynamics.chebyshev import chebyshev_exponents, chebyshev_features, feature_number
from macrodyn.dynamics.continuation import EDGE
from macrodyn.dynamics.latent import CovarianceForm, LatentModel


class Polynomial(LatentModel):
    """Drift and noise as Chebyshev polynomials of total degree, with a safe continuation.

    Inputs are scaled to u in [-1, 1] over the range of the data. The noise is written by its
    modified Cholesky decomposition, r_i = sum_{j<i} phi_ij(u) r_j + exp(eta_i(u) / 2) xi_i, so that
    Sigma is positive definite wherever it is evaluated.

    Polynomials are unsafe where there were no data: beyond the range, and in those parts of the
    range's box that no data reached. There they fade, by the share

        w = min(1, h_max / h(u)) / (1 + (e / EDGE)^2),

    h(u) = f^T G^-1 f the leverage of the features f at u, h_max that of the data's most extreme
    point (a point of larger h is an extrapolation), and e the distance from the box |u| <= 1 + EDGE
    at which u is clamped. What takes over is linear: the drift's linear fit, made contracting
    towards a point in the data's range, so that a trajectory that strays comes back; and a constant
    noise. In the data w = 1.

    The parameters are set by `polynomial_fit`; a new model has no drift and L = L_ref.

    Args:
        variables: Number of macroscopic variables d.
        conditions: Number of conditions c.
        degree: Total degree of the drift.
        noise_degree: Total degree of the noise's functions.
        covariance: `full`, `diagonal` (phi = 0), or `constant` (then of degree 0).

    Source: Pourahmadi (1999), Biometrika 86, 677, for the noise; Montgomery, Peck and Vining,
    Introduction to Linear Regression Analysis, section 3.8, for extrapolation by leverage.
    """

    continues = True

    def __init__(
        self,
        variables: int,
        conditions: int,
        degree: int = 1,
        noise_degree: int = 0,
        covariance: CovarianceForm = "full",
    ) -> None:
        super().__init__(variables, conditions)
        if degree < 0 or noise_degree < 0:
            raise ValueError(f"A degree is at least 0, got {degree} and {noise_degree}")
        if covariance not in ("full", "diagonal", "constant"):
            raise ValueError(f"covariance is {covariance!r}: full, diagonal or constant")
        self.independent = covariance == "diagonal"
        inputs = variables + conditions
        noise_degree = 0 if covariance == "constant" else noise_degree
        self.exponents = chebyshev_exponents(inputs, max(degree, noise_degree))
        drifts, noises = (feature_number(inputs, p) for p in (degree, noise_degree))
        entries = variables * (variables + 1) // 2
        self.low = nn.Parameter(-torch.ones(inputs))
        self.high = nn.Parameter(torch.ones(inputs))
        self.drift = nn.Parameter(torch.zeros(drifts, variables))
        self.linear = nn.Parameter(torch.zeros(1 + inputs, variables))
        self.noise = nn.Parameter(torch.zeros(noises, entries))
        self.constant_noise = nn.Parameter(torch.zeros(entries))
        self.whitening = nn.Parameter(torch.eye(drifts))
        self.leverage = nn.Parameter(torch.tensor(float(drifts)))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate drift and noise; see `LatentModel.forward`."""
        u = 2.0 * (inputs - self.low) / (self.high - self.low) - 1.0
        inside = u.clamp(-1.0 - EDGE, 1.0 + EDGE)
        features = chebyshev_features(inside, self.exponents)
        share = self._share(u - inside, features[..., : len(self.drift)])
        # Conditions stay within what was sampled; variables go on, to be drawn back.
        d = self.variables
        held = torch.minimum(torch.maximum(inputs[..., d:], self.low[d:]), self.high[d:])
        continued = torch.cat([inputs[..., :d], held], dim=-1) @ self.linear[1:] + self.linear[0]
        drift = features[..., : len(self.drift)] @ self.drift
        raw = features[..., : len(self.noise)] @ self.noise
        drift = continued + share * (drift - continued)
        return drift, self._triangle(self.constant_noise + share * (raw - self.constant_noise))

    def _share(self, beyond: Tensor, features: Tensor) -> Tensor:
        """The share w of the polynomials, shape [..., 1]."""
        leverage = (features @ self.whitening).square().sum(-1, keepdim=True)
        share = (self.leverage / leverage.clamp(min=1e-30)).clamp(max=1.0)
        distance = beyond.square().sum(-1, keepdim=True)
        return share / (1.0 + distance / EDGE**2)

    def _triangle(self, raw: Tensor) -> Tensor:
        """M from phi and eta: its row i is sum_j phi_ij (row j) + exp(eta_i / 2) at place i."""
        rows: list[list[Tensor]] = []
        for i in range(self.variables):
            first = i * (i + 1) // 2
            row = [
                torch.stack([raw[..., first + k] * rows[k][j] for k in range(j, i)], dim=-1).sum(-1)
                if not self.independent
                else torch.zeros_like(raw[..., 0])
                for j in range(i)
            ]
            rows.append([*row, (0.5 * raw[..., first + i]).exp()])
        return torch.stack([entry for row in rows for entry in row], dim=-1)
