"""The partial likelihood and its gradient in closed form, for training.

The networks are small, so automatic differentiation spends most of a step on its graph. Here the
backward pass is written out. Constant transformations are applied to the data once: with
L = L_ref M and s = factor * elapsed, the whitened increment is L_ref^-1 dz / s^(1/2), and

    y = M^-1 r,  r = L_ref^-1 (dz - mu elapsed) / s^(1/2),  NLL = |y|^2 / 2 + sum log M_ii + const,
    w = M^-T y,  dNLL/dr = w,  dNLL/dM_ij = -w_i y_j + delta_ij / M_ii.

The scatter of m patches, C C^T elapsed, adds columns to y and w that no drift moves: those of
c = L_ref^-1 C / within^(1/2). With the residual as one more column,

    Y = M^-1 [r | c],  W = M^-T Y,  NLL = |Y|^2 / 2 + m sum log M_ii + const,
    dNLL/dM_ij = -(W Y^T)_ij + m delta_ij / M_ii.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.model import ACTIVATIONS, SOFTPLUS_ONE, EnsembleSDE


class LikelihoodGradient:
    """Mean partial NLL of each member and its gradient, on data that stay on the device.

    It is that of the joint density of all m increments where the data hold their scatter.

    Args:
        model: The ensemble; its parameters are read at each call.
        data: Transitions; moved to the model's device.
        gradients: Where to write the gradient of each parameter, by the parameter's name.

    Source: eq. (6) of arXiv:2511.12842.
    """

    def __init__(
        self, model: EnsembleSDE, data: TransitionData, gradients: dict[str, Tensor]
    ) -> None:
        self.model, self.gradients = model, gradients
        # Attribute look-ups in a module cost as much as a small operation.
        self._weights, self._biases = list(model.weights), list(model.biases)
        device = model.z_mean.device
        reference = model.diffusion_scale.double().cpu()
        scale = (data.factor * data.elapsed.double().cpu()).sqrt()[:, None]

        def whiten(values: Tensor) -> Tensor:
            return torch.linalg.solve_triangular(reference, values.T, upper=False).T

        d = data.variables
        z = (data.z.double().cpu() - model.z_mean.cpu()) / model.z_scale.cpu()
        conditions = data.conditions.double().cpu() - model.condition_mean.cpu()
        constant = d * scale.log() + reference.diagonal().log().sum()
        constant = constant + 0.5 * d * math.log(2.0 * math.pi)
        scatter, of_scatter = _whitened_scatter(data, reference)
        # In each row this large constant would cost the single precision of what varies.
        self._patches, self._offset = float(data.patches), float(of_scatter.mean())
        columns = [
            z,
            conditions / model.condition_scale.cpu(),
            whiten(data.increment.double().cpu() / scale),
            data.elapsed.double().cpu()[:, None] / scale,
            constant + (of_scatter - self._offset)[:, None],
            scatter,
        ]
        self.rows = torch.cat(columns, dim=1).to(device, torch.float32)
        self._sizes = [z.shape[1] + conditions.shape[1], d, 1, 1, scatter.shape[1]]
        # From network output to whitened drift.
        drift_scale = torch.diag(model.drift_scale.double().cpu())
        self._whitened_drift = whiten(drift_scale).to(device, torch.float32)
        self._entries = _triangle_entries(model)

    @torch.no_grad()
    def __call__(self, index: Tensor | None) -> Tensor:
        """Write the gradient of the members' summed mean NLL; return the mean NLLs, shape [E].

        Args:
            index: Rows of the minibatch of each member, shape [E, batch]; all rows if None.
        """
        model, gradients = self.model, self.gradients
        members = model.architecture.members
        rows = self.rows[None] if index is None else self.rows[index]
        inputs, increment, root_time, constant, scatter = rows.split(self._sizes, dim=-1)
        inputs = inputs.expand(members, -1, -1)
        batch = inputs.shape[1]
        layers, before, residual, raw = self._forward(inputs, increment, root_time)
        hidden = layers[-1]
        nll, by_residual, by_raw = self._gaussian(residual, scatter, raw)
        loss = (nll + constant[..., 0]).mean(-1) + self._offset

        by_raw /= batch
        by_output = (by_residual * (root_time / -batch)) @ self._whitened_drift.T
        torch.sum(by_output, 1, keepdim=True, out=gradients["drift_bias"])
        torch.bmm(inputs.mT, by_output, out=gradients["drift_linear"])
        torch.bmm(hidden[:members].mT, by_output, out=gradients["drift_out"])
        torch.sum(by_raw, 1, keepdim=True, out=gradients["diffusion_bias"])
        by_hidden = torch.empty_like(hidden)
        torch.bmm(by_output, model.drift_out.mT, out=by_hidden[:members])
        if model.architecture.covariance != "constant":
            torch.bmm(hidden[members:].mT, by_raw, out=gradients["diffusion_out"])
            torch.bmm(by_raw, model.diffusion_out.mT, out=by_hidden[members:])
        for k in reversed(range(len(before))):
            if model.architecture.activation == "silu":
                by_before = torch.ops.aten.silu_backward(by_hidden, before[k])
            else:
                by_before = torch.ops.aten.tanh_backward(by_hidden, layers[k + 1])
            torch.sum(by_before, 1, keepdim=True, out=gradients[f"biases.{k}"])
            torch.bmm(layers[k].mT, by_before, out=gradients[f"weights.{k}"])
            if k > 0:
                by_hidden = torch.bmm(by_before, self._weights[k].mT)
        return loss

    def evaluate(self) -> Tensor:
        """Mean NLL over all rows, without a gradient, shape [E]."""
        columns = self.rows[None].split(self._sizes, dim=-1)
        inputs, increment, root_time, constant, scatter = columns
        inputs = inputs.expand(self.model.architecture.members, -1, -1)
        with torch.no_grad():
            _, _, residual, raw = self._forward(inputs, increment, root_time)
            nll, _, _ = self._gaussian(residual, scatter, raw)
            return (nll + constant[..., 0]).double().mean(-1) + self._offset

    def _forward(
        self, inputs: Tensor, increment: Tensor, root_time: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Layers after and before activation, whitened residual, raw diffusion output."""
        model = self.model
        members = model.architecture.members
        activation = ACTIVATIONS[model.architecture.activation]
        layers, before = [torch.cat([inputs] * (len(self._weights[0]) // members))], []
        for weight, bias in zip(self._weights, self._biases, strict=True):
            before.append(torch.baddbmm(bias, layers[-1], weight))
            layers.append(activation(before[-1]))
        hidden = layers[-1]
        output = torch.baddbmm(model.drift_bias, inputs, model.drift_linear)
        output.baddbmm_(hidden[:members], model.drift_out)
        residual = increment - root_time * (output @ self._whitened_drift)
        raw: Tensor = model.diffusion_bias
        if model.architecture.covariance != "constant":
            raw = torch.baddbmm(raw, hidden[members:], model.diffusion_out)
        return layers, before, residual, raw

    def _gaussian(
        self, residual: Tensor, scatter: Tensor, raw: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """NLL [E, batch] less its constant; gradients by the residual and the raw output."""
        d = residual.shape[-1]
        outputs = raw.unbind(-1)
        matrix = {
            (i, j): torch.nn.functional.softplus(output + SOFTPLUS_ONE) if i == j else output
            for (i, j), output in zip(self._entries, outputs, strict=True)
        }
        solve = _solve_with_scatter if scatter.shape[-1] else _solve
        squares, by_residual, products = solve(residual, scatter, matrix)
        diagonal = torch.stack([matrix[i, i] for i in range(d)], dim=-1)
        nll = torch.add(0.5 * squares, diagonal.log().sum(-1), alpha=self._patches)
        by_raw = []
        for (i, j), output in zip(self._entries, outputs, strict=True):
            slope = -products[i, j]
            if i == j:
                slope = (slope + self._patches / matrix[i, i]) * torch.sigmoid(
                    output + SOFTPLUS_ONE
                )
            by_raw.append(slope)
        return nll, by_residual, torch.stack(by_raw, dim=-1)


Matrix = dict[tuple[int, int], Tensor]


def _solve(residual: Tensor, _: Tensor, matrix: Matrix) -> tuple[Tensor, Tensor, Matrix]:
    """|y|^2, w and the products w_i y_j of the residual alone."""
    d = residual.shape[-1]
    y: list[Tensor] = []
    for i, value in enumerate(residual.unbind(-1)):
        for j in range(i):
            if (i, j) in matrix:
                value = torch.addcmul(value, matrix[i, j], y[j], value=-1.0)
        y.append(value / matrix[i, i])
    w = list(y)
    for i in reversed(range(d)):
        for j in range(i + 1, d):
            if (j, i) in matrix:
                w[i] = torch.addcmul(w[i], matrix[j, i], w[j], value=-1.0)
        w[i] = w[i] / matrix[i, i]
    products = {(i, j): w[i] * y[j] for i, j in matrix}
    return torch.stack(y, dim=-1).square().sum(-1), torch.stack(w, dim=-1), products


def _solve_with_scatter(
    residual: Tensor, scatter: Tensor, matrix: Matrix
) -> tuple[Tensor, Tensor, Matrix]:
    """|Y|^2, the residual's column of W and the entries (W Y^T)_ij.

    Of Y and W only the lower triangle is needed, as c and M are lower triangular: row i is the
    residual's entry and the first i + 1 columns of the scatter, shape [i + 2, E, batch].
    """
    d = residual.shape[-1]
    columns = scatter.expand(*residual.shape[:-1], -1).unbind(-1)
    y: list[Tensor] = []
    for i, value in enumerate(residual.unbind(-1)):
        first = i * (i + 1) // 2
        row = torch.stack([value, *columns[first : first + i + 1]])
        for j in range(i):
            if (i, j) in matrix:
                row[: j + 2].addcmul_(matrix[i, j], y[j], value=-1.0)
        y.append(row.div_(matrix[i, i]))
    w = list(y)
    for i in reversed(range(d)):
        for j in range(i + 1, d):
            if (j, i) in matrix:
                w[i] = torch.addcmul(w[i], matrix[j, i], w[j][: i + 2], value=-1.0)
        w[i] = w[i] / matrix[i, i]
    products = {(i, j): (w[i][: j + 2] * y[j]).sum(0) for i, j in matrix}
    squares = torch.stack([row.square().sum(0) for row in y]).sum(0)
    return squares, torch.stack([row[0] for row in w], dim=-1), products


def _whitened_scatter(data: TransitionData, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Lower triangle of c by rows [N, d (d+1) / 2], and the constant of its NLL [N].

    Without a scatter there are no columns, and the constant is 0.
    """
    if data.scatter is None:
        return reference.new_zeros(len(data), 0), reference.new_zeros(len(data))
    d = data.variables
    rows, columns = torch.tril_indices(d, d)
    scatter = data.scatter.double().cpu() / math.sqrt(data.within)
    scatter = torch.linalg.solve_triangular(reference, scatter, upper=False)
    variance = 2.0 * math.pi * data.within * data.elapsed.double().cpu()
    constant = 0.5 * d * variance.log() + reference.diagonal().log().sum()
    constant = (data.patches - 1) * constant + 0.5 * d * math.log(data.patches)
    return scatter[:, rows, columns], constant


def _triangle_entries(model: EnsembleSDE) -> list[tuple[int, int]]:
    rows, columns = model.triangle_indices()
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
