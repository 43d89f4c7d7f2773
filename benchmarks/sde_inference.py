"""Drift and covariance from the same increments: this package and StochasticForceInference.

The library is not among the package's requirements. Without torch it is small enough to stand
beside everything else:

    pip install --target /tmp/sde-inference StochasticForceInference==2.0.4
    PYTHONPATH=/tmp/sde-inference python benchmarks/sde_inference.py

Two sets of data: a double well coupled to a relaxing mode, whose drift and covariance are
polynomials and so in the library's basis; and patches of Curie-Weiss, whose exact drift and
diffusion are no polynomials. Each increment begins at a snapshot of its own, so the library gets as
many trajectories of two frames. Of these it can use the estimators that read no third: Ito moments
with the rectangular Gram matrix ("KM") for the drift, which is the optimum for such data, and "MSD"
for the diffusion, here of what is left of the increments without the fitted drift. Its degrees are
chosen by the error of held-out groups; or terms of a rich basis by its own criterion, PASTIS.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

# Before either library starts its threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import numpy as np
import torch
from numpy.typing import NDArray

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, train_ensemble
from macrodyn.dynamics.compensation import compensate, control_variates
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.lattice import PatchGeometry
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import evolve_patches
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeiss

try:
    import jax

    jax.config.update("jax_enable_x64", True)
    from SFI import OverdampedLangevinInference, TrajectoryCollection
    from SFI.bases import monomials_up_to
except ImportError as error:
    raise SystemExit(f"StochasticForceInference is not here ({error}): {__doc__}") from None

Floats = NDArray[np.float64]
Field = Callable[[Floats], Floats]

DATA_SEEDS = 3
HELD_OUT = 0.15
# Of the data, between quantiles of each variable, where errors are measured.
CENTRAL = 0.99
# Of the library's bases, by number of variables, and the one that PASTIS chooses terms of.
DEGREES = {1: (3, 5, 7, 9), 2: (2, 3, 4, 5)}
RICH = {1: 7, 2: 4}
DIFFUSION_DEGREES = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Transitions, and what is exactly known of them."""

    data: TransitionData
    drift: Field
    covariance: Field

    def points(self) -> Floats:
        """States in the central part of the data, shape [N', d]."""
        z = self.data.z.double().numpy()
        low, high = np.quantile(z, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=0)
        return z[((z >= low) & (z <= high)).all(axis=1)]


def double_well(seed: int) -> Problem:
    """Trajectories of a double well and a mode that follows x^2, noise correlated, two variables.

    An increment has eight times the covariance that the trajectory has: one of eight patches.
    """
    groups, each, kept, dt, factor = 60, 8, 20, 0.1, 8.0

    def drift(z: Floats) -> Floats:
        x, y = z.T
        return np.stack([x - x**3 + 0.5 * (y - x**2), -0.7 * (y - x**2)], axis=1)

    def cholesky(z: Floats) -> Floats:
        x, y = z.T
        found = np.zeros((len(z), 2, 2))
        found[:, 0, 0], found[:, 1, 0], found[:, 1, 1] = 1 + 0.3 * x, 0.5, 0.7 + 0.2 * y
        return 0.05 * found

    rng = np.random.default_rng(seed)

    def step(z: Floats, scale: float) -> Floats:
        noise = np.einsum("nij,nj->ni", cholesky(z), rng.normal(size=z.shape))
        return drift(z) * dt + np.sqrt(scale * dt) * noise

    x = np.repeat(rng.uniform(-1.5, 1.5, groups), each)
    z = np.stack([x, x**2 + 0.3 * rng.normal(size=x.size)], axis=1)
    states, increments = [], []
    for _ in range(kept):
        states.append(z)
        increments.append(step(z, factor))
        for _ in range(3):
            z = z + step(z, 1.0)
    group = np.tile(np.repeat(np.arange(groups), each), kept)
    data = transitions(np.concatenate(states), np.concatenate(increments), dt, group, factor)
    return Problem(data=data, drift=drift, covariance=lambda z: cholesky(z) @ cholesky(z).mT)


def curie_weiss(seed: int) -> Problem:
    """Four of sixteen patches of 64 x 64 spins along relaxations, with compensated increments."""
    groups, kept, every, dt, shape, patch, number = 60, 80, 0.1, 0.05, (64, 64), (16, 16), 4
    system = CurieWeiss(CurieWeiss.Parameters(temperature=1.1, field=0.1))
    macrostates = np.random.default_rng(seed).uniform(-0.95, 0.95, (groups, 1))
    states = system.initial_states(macrostates, shape, seeds(seed, "initial", index=groups))
    ages = []
    for age in range(kept):
        ages.append(states)
        states = system.evolve(states, every, seeds(seed, "age", age, index=groups))
    snapshots = np.concatenate(ages)
    keys = seeds(seed, "pairs", index=len(snapshots))
    geometry = PatchGeometry(patch, halo=0)
    pairs = evolve_patches(
        system, snapshots, geometry, number=number, dt=dt, lags=(1,), keys=keys, cost=Cost()
    )
    controls = control_variates(
        pairs.increments, pairs.elapsed, pairs.compensators, pairs.rate_excess
    )
    arrays = LatentArrays(
        z=system.observe(snapshots),
        increment=pairs.increments[:, :, 0],
        elapsed=pairs.elapsed[:, :, 0],
        controls=controls[:, :, 0],
        conditions=np.empty((len(snapshots), 0)),
        group=np.tile(np.arange(groups), kept),
        patches_total=16,
        n_observables=1,
    )
    compensation = compensate(arrays)
    assert compensation is not None
    data = transitions(
        arrays.z, arrays.increment.mean(axis=1), dt, arrays.group, arrays.theoretical_factor
    )
    data = replace(data, compensated=torch.as_tensor(compensation.increment, dtype=torch.float32))
    return Problem(
        data=data,
        drift=lambda z: system.exact_moments(z, shape)[0],
        covariance=lambda z: system.exact_moments(z, shape)[1],
    )


def transitions(
    z: Floats, increment: Floats, dt: float, group: NDArray[np.int64], factor: float
) -> TransitionData:
    """Lay them out without conditions."""
    return TransitionData(
        z=torch.as_tensor(z, dtype=torch.float32),
        increment=torch.as_tensor(increment, dtype=torch.float32),
        elapsed=torch.full((len(z),), dt),
        conditions=torch.zeros(len(z), 0),
        group=torch.as_tensor(group),
        factor=factor,
    )


def of_ensemble(ensemble: Ensemble) -> tuple[Field, Field]:
    """Mean of the members' drifts and covariances."""

    def tensor(z: Floats) -> torch.Tensor:
        return torch.as_tensor(z, dtype=torch.float32)

    def drift(z: Floats) -> Floats:
        return ensemble.drift(tensor(z)).mean(0).double().numpy()

    def covariance(z: Floats) -> Floats:
        return ensemble.covariance(tensor(z)).mean(0).double().numpy()

    return drift, covariance


def polynomial(problem: Problem) -> tuple[Field, Field]:
    """The package's polynomials: degree and ridge by cross-validation, five resamples."""
    settings = DynamicsSettings(model="polynomial")
    return of_ensemble(fit_polynomials(*problem.data.split(HELD_OUT, seed=0), settings)[0])


def networks(problem: Problem) -> tuple[Field, Field]:
    """The package's networks: the default settings, five members."""
    data = problem.data.split(HELD_OUT, seed=0)
    return of_ensemble(train_ensemble(*data, DynamicsSettings())[0])


class Library:
    """The library on standardised variables; see the module's docstring.

    Args:
        problem: The data.
        sparse: Whether PASTIS chooses the terms of the drift; else held-out groups its degree.
    """

    def __init__(self, problem: Problem, *, sparse: bool) -> None:
        data = problem.data
        self.mean, self.scale = data.z.double().mean(0).numpy(), data.z.double().std(0).numpy()
        self.dt, self.d = float(data.elapsed[0]), data.variables
        training, held = data.split(HELD_OUT, seed=0)
        z, target = held.z.double().numpy(), held.drift_increment.double().numpy()
        spread = data.drift_increment.double().std(0).numpy()

        def score(degree: int) -> float:
            left = target - self.force(training, degree, False)(z) * self.dt
            return float(np.square(left / spread).mean())

        degree = RICH[self.d] if sparse else min(DEGREES[self.d], key=score)
        self.drift = self.force(data, degree, sparse)
        self.covariance = self.diffusion(data, training, held)

    def collection(self, z: Floats, increment: Floats) -> TrajectoryCollection:
        """Trajectories of two frames, one for each increment."""
        before = (z - self.mean) / self.scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that two frames are few
            return TrajectoryCollection.from_arrays(
                X=np.stack([before, before + increment / self.scale]), dt=self.dt
            )

    def force(self, data: TransitionData, degree: int, sparse: bool) -> Field:
        """Drift by a linear fit of so high a degree."""
        z, increment = data.z.double().numpy(), data.drift_increment.double().numpy()
        inference = OverdampedLangevinInference(self.collection(z, increment))
        # What `compute_diffusion_constant` sets from three frames: the weight of the components.
        scaled = increment / self.scale
        inference.diffusion_average = scaled.T @ scaled / (2 * self.dt * len(z))
        inference.A = 2 * inference.diffusion_average
        inference.A_inv = np.linalg.inv(inference.A)
        basis = monomials_up_to(order=degree, dim=self.d, rank="vector")
        inference.infer_force_linear(basis, preset="KM")
        if sparse:
            inference.sparsify_force(criterion="PASTIS")
        found = inference.force_inferred
        return lambda z: np.asarray(found((z - self.mean) / self.scale)) * self.scale

    def diffusion(
        self, data: TransitionData, training: TransitionData, held: TransitionData
    ) -> Field:
        """Covariance rate of the whole: 2 D over the factor, its degree by held-out groups."""

        def residual(part: TransitionData) -> tuple[Floats, Floats]:
            z = part.z.double().numpy()
            return z, part.increment.double().numpy() - self.drift(z) * self.dt

        def fit(part: TransitionData, degree: int) -> Field:
            inference = OverdampedLangevinInference(self.collection(*residual(part)))
            basis = monomials_up_to(order=degree, dim=self.d, rank="symmetric_matrix")
            inference.infer_diffusion_linear(basis, M_mode="MSD")
            found, scale = inference.diffusion_inferred, np.outer(self.scale, self.scale)

            def covariance(z: Floats) -> Floats:
                doubled = 2 * np.asarray(found((z - self.mean) / self.scale))
                return doubled.reshape(len(z), self.d, self.d) * scale / data.factor

            return covariance

        def score(degree: int) -> float:
            z, left = residual(held)
            seen = left[:, :, None] * left[:, None, :] / (data.factor * self.dt)
            typical = np.square(seen).mean(axis=0)
            return float((np.square(seen - fit(training, degree)(z)) / typical).mean())

        return fit(data, min(DIFFUSION_DEGREES, key=score))


def library(sparse: bool) -> Callable[[Problem], tuple[Field, Field]]:
    """What `Library` finds, as the others."""

    def run(problem: Problem) -> tuple[Field, Field]:
        found = Library(problem, sparse=sparse)
        return found.drift, found.covariance

    return run


def drift_error(problem: Problem, drift: Field) -> float:
    """RMS error over the RMS of the exact drift, each component in units of its own."""
    z = problem.points()
    exact = problem.drift(z)
    relative = np.square(drift(z) - exact).mean(axis=0) / np.square(exact).mean(axis=0)
    return float(np.sqrt(relative.mean()))


def covariance_error(problem: Problem, covariance: Field) -> float:
    """RMS of |Sigma - exact| over that of |exact|, in the Frobenius norm."""
    z = problem.points()
    exact = problem.covariance(z)
    return float(np.sqrt(np.square(covariance(z) - exact).mean() / np.square(exact).mean()))


METHODS = {
    "StochasticForceInference, degree by held-out groups": library(False),
    "StochasticForceInference, terms by PASTIS": library(True),
    "macrodyn, polynomial": polynomial,
    "macrodyn, five networks": networks,
}


def report(title: str, problems: Iterable[Problem]) -> None:
    """Run all methods on each set of data in turn, and print medians."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
    for problem in problems:
        for name, method in METHODS.items():
            start = time.process_time()
            drift, covariance = method(problem)
            seconds = time.process_time() - start
            errors = drift_error(problem, drift), covariance_error(problem, covariance)
            rows[name].append((*errors, seconds))
    print(f"\n{title}\n{'':54}{'drift':>18}{'covariance':>18}{'seconds':>9}")
    for name, values in rows.items():
        drift_errors, covariance_errors, seconds = zip(*values, strict=True)
        print(
            f"{name:54}{percent(drift_errors):>18}{percent(covariance_errors):>18}"
            f"{statistics.median(seconds):9.1f}",
            flush=True,
        )


def percent(values: tuple[float, ...]) -> str:
    """Median and range in per cent."""
    low, middle, high = (100 * f(values) for f in (min, statistics.median, max))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    torch.set_num_threads(1)
    names = ("StochasticForceInference", "jax", "torch", "numpy")
    print(", ".join(f"{name} {found(name)}" for name in names))
    print(f"error in %, median and range of {DATA_SEEDS} data sets; median CPU seconds")
    numbers = range(DATA_SEEDS)
    report("double well with a relaxing mode", [double_well(seed) for seed in numbers])
    problems = [curie_weiss(seed) for seed in numbers]
    plain = [replace(p, data=replace(p.data, compensated=None)) for p in problems]
    report("Curie-Weiss, plain increments", plain)
    report("Curie-Weiss, compensated increments", problems)


def found(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    main()
