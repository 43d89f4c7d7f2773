"""Training on forces on 2,500 of 40,000 coordinates: quadratic form beside the plain comparison.

    python benchmarks/force_forms.py

One row a batch of configurations. Plain is what the loss says: the forces f_S, [p], and the rows
psi'_S of the Jacobian's pseudo-inverse, [p, d], are kept, and a step computes |f_S - psi'_S g|^2
and its gradient. The quadratic form keeps A, b and c, d^2 + d + 1 numbers. Both steps hold the same
network with the same gradient, which is checked; times are of the whole step, optimiser included,
and of the loss alone. Each figure is the median of several that alternate between the two.

One thread; single precision, as in training.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

CHOSEN, COORDINATES, VARIABLES, REPEATS = 2500, 40_000, 16, 15
BATCHES = (64, 256)


def data(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """States, rows of psi' and forces of some configurations."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(batch, VARIABLES))
    # Rows of an orthonormal Jacobian, of which the drawn coordinates show a part.
    lift = rng.normal(size=(batch, CHOSEN, VARIABLES)) / np.sqrt(COORDINATES)
    forces = np.einsum("npd,nd->np", lift, np.tanh(z)) + 0.01 * rng.normal(size=(batch, CHOSEN))
    found = [torch.as_tensor(v, dtype=torch.float32) for v in (z, lift, forces)]
    return found[0], found[1], found[2]


def network() -> nn.Sequential:
    """The drift."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(VARIABLES, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, VARIABLES)
    )


def plain_loss(drift: Tensor, lift: Tensor, forces: Tensor) -> Tensor:
    """|f_S - psi'_S g|^2."""
    return (forces - (lift @ drift.unsqueeze(-1)).squeeze(-1)).square().sum(-1).mean()


def form_loss(drift: Tensor, matrix: Tensor, vector: Tensor, constant: Tensor) -> Tensor:
    """c - 2 b.g + g^T A g."""
    bent = (matrix @ drift.unsqueeze(-1)).squeeze(-1)
    return (constant + (drift * (bent - 2.0 * vector)).sum(-1)).mean()


def seconds(run: Callable[[], object]) -> float:
    """Time of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure(batch: int) -> dict[str, float]:
    """Medians in milliseconds, and bytes of a configuration."""
    z, lift, forces = data(batch)
    matrix, vector = lift.mT @ lift, (lift.mT @ forces.unsqueeze(-1)).squeeze(-1)
    form = (matrix, vector, forces.square().sum(-1))
    model = network()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step(loss: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> list[Tensor]:
        optimiser.zero_grad(set_to_none=True)
        loss(model(z), *parts).backward()
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        optimiser.step()
        return found

    def alone(loss: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> None:
        drift = model(z).detach().requires_grad_(True)
        loss(drift, *parts).backward()

    before = {name: value.clone() for name, value in model.state_dict().items()}
    one = step(plain_loss, (lift, forces))
    model.load_state_dict(before)
    other = step(form_loss, form)
    for a, b in zip(one, other, strict=True):
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max())):
            raise SystemExit("the gradients differ")
    rows = {
        "plain": lambda: step(plain_loss, (lift, forces)),
        "form": lambda: step(form_loss, form),
        "plain, loss": lambda: alone(plain_loss, (lift, forces)),
        "form, loss": lambda: alone(form_loss, form),
    }
    samples: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, run in rows.items():
            samples[name].append(1e3 * seconds(run))
    kept = {"plain, bytes": 4.0 * (CHOSEN * VARIABLES + CHOSEN)}
    kept["form, bytes"] = 4.0 * (VARIABLES**2 + VARIABLES + 1)
    return {name: float(np.median(values)) for name, values in samples.items()} | kept


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; torch {torch.__version__}")
    print(f"p = {CHOSEN:,}, d = {VARIABLES}; medians of {REPEATS} timings, milliseconds\n")
    print(f"{'batch':>6} | {'':>12} {'plain':>10} {'form':>10} {'plain/form':>10}")
    for batch in BATCHES:
        r = measure(batch)
        for name, suffix in (("step", ""), ("loss", ", loss"), ("bytes", ", bytes")):
            one, other = r[f"plain{suffix}"], r[f"form{suffix}"]
            print(f"{batch:6} | {name:>12} {one:10.4g} {other:10.4g} {one / other:10.1f}")


if __name__ == "__main__":
    main()
