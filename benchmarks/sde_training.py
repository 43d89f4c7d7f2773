"""Steps a second of our training against a per-sample DataLoader with matrix inverses.

Both train the same networks (drift and Cholesky factor, 2 variables, two hidden layers of 64) by
the same likelihood on the same data with AdamW and the same batch size, on one thread.

    python benchmarks/sde_training.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, fit_scalers
from macrodyn.dynamics.train import PartialLikelihood
from macrodyn.learning.loop import Course

SAMPLES, VARIABLES, BATCH, HIDDEN = 20_000, 2, 512, 64
REPEATS, SECONDS_PER_REPEAT = 5, 1.0


def make_data() -> TransitionData:
    """A linear drift with correlated noise."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(SAMPLES, VARIABLES, generator=generator)
    mix = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    noise = torch.randn(SAMPLES, VARIABLES, generator=generator) @ mix.T
    return TransitionData(
        z=z,
        increment=-0.1 * z + noise,
        elapsed=torch.ones(SAMPLES),
        conditions=torch.zeros(SAMPLES, 0),
        group=torch.arange(SAMPLES) % 100,
        factor=4.0,
    )


class PerSample(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """One transition at a time from arrays, as a file gives them, to be collated."""

    def __init__(self, data: TransitionData) -> None:
        self.arrays = [v.double().numpy() for v in (data.z, data.increment, data.elapsed)]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        z, increment, elapsed = (torch.as_tensor(a[index]).float() for a in self.arrays)
        return z, increment, elapsed


class Baseline(nn.Module):
    """Drift and Cholesky factor of one member as two sequential networks."""

    def __init__(self) -> None:
        super().__init__()
        triangle = VARIABLES * (VARIABLES + 1) // 2

        def network(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(VARIABLES, HIDDEN),
                nn.SiLU(),
                nn.Linear(HIDDEN, HIDDEN),
                nn.SiLU(),
                nn.Linear(HIDDEN, outputs),
            )

        self.drift, self.triangle = network(VARIABLES), network(triangle)

    def loss(self, z: Tensor, increment: Tensor, elapsed: Tensor, factor: float) -> Tensor:
        """Negative log likelihood by the inverse and the determinant of each covariance."""
        rows, columns = torch.tril_indices(VARIABLES, VARIABLES)
        cholesky = z.new_zeros(len(z), VARIABLES, VARIABLES)
        cholesky[:, rows, columns] = self.triangle(z)
        diagonal = nn.functional.softplus(cholesky.diagonal(dim1=-2, dim2=-1))
        cholesky = cholesky.tril(-1) + torch.diag_embed(diagonal)
        sigma = factor * elapsed[:, None, None] * cholesky @ cholesky.mT
        residual = (increment - self.drift(z) * elapsed[:, None])[..., None]
        quadratic = (residual.mT @ torch.linalg.inv(sigma) @ residual)[:, 0, 0]
        return 0.5 * (quadratic + torch.logdet(sigma)).mean()


def baseline_stepper(data: TransitionData) -> Callable[[], None]:
    """Steps of the baseline: each call takes the next minibatch of an endless loader."""
    model = Baseline()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(PerSample(data), batch_size=BATCH, shuffle=True, drop_last=True)

    def endless() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    batches = endless()

    def step() -> None:
        z, increment, elapsed = next(batches)
        loss = model.loss(z, increment, elapsed, data.factor)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def resident_stepper(data: TransitionData, members: int) -> Callable[[], None]:
    """Steps of `train_ensemble`, moving average included, validation and checkpoints not."""
    train, validation = data.split(0.1, seed=0)
    settings = DynamicsSettings(members=members, batch=BATCH, hidden=(HIDDEN, HIDDEN))
    scalers, linear = fit_scalers(train)
    ensemble = Ensemble(
        variables=VARIABLES,
        members=members,
        options={"hidden": [HIDDEN, HIDDEN]},
        scalers=scalers,
        linear_drift=linear,
    )
    problem = PartialLikelihood(ensemble, train, validation, settings)
    return Course(problem, settings, seed=0).advance


def rate(step: Callable[[], None]) -> float:
    """Calls a second over a fixed time."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS_PER_REPEAT:
        step()
        count += 1
    return count / elapsed


def main() -> None:
    """Interleave the repeats, so that a load on the machine falls on all alike."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = make_data()
    steppers = {
        ("DataLoader, matrix inverses", 1): baseline_stepper(data),
        ("macrodyn, data resident", 1): resident_stepper(data, 1),
        ("macrodyn, data resident", 5): resident_stepper(data, 5),
    }
    for step in steppers.values():
        for _ in range(5):
            step()
    rates: dict[tuple[str, int], list[float]] = {name: [] for name in steppers}
    for _ in range(REPEATS):
        for name, step in steppers.items():
            rates[name].append(rate(step))
    reference = statistics.median(next(iter(rates.values())))
    print(f"batch {BATCH}, {VARIABLES} variables, hidden {HIDDEN} x {HIDDEN}, one thread")
    print(f"{'':30}{'members':>8}{'steps/s':>10}{'range':>16}{'ratio':>8}{'per member':>12}")
    for (title, members), values in rates.items():
        median = statistics.median(values)
        span = f"{min(values):.0f} to {max(values):.0f}"
        ratio = median / reference
        print(f"{title:30}{members:8d}{median:10.1f}{span:>16}{ratio:8.1f}{ratio * members:12.1f}")


if __name__ == "__main__":
    main()
