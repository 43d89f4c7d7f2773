"""Where every key of a configuration arrives: the function that uses its value, and how it is seen.

A row says: with this value in place of the base's, this part of the work sees that instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch

from .bench import BASE, OursAlone, Seen, value_at
from .spies import Fake


class _Differs:
    """Stands for values that are not those seen without the change: seeds, and what is drawn."""

    def __repr__(self) -> str:
        return "DIFFERS"


DIFFERS = _Differs()
_AS_WRITTEN = object()


@dataclass(frozen=True)
class Row:
    """One place at which the value of a key must arrive.

    Attributes:
        key: Path of the key; ``*`` is a name that the user chooses.
        value: Another value than the base's.
        work: Stage that uses it, see `Bench.observe`.
        at: The functions that use it, see `spying`; none if the stage's result shows it.
        seen: Reads what was used.
        was: What is seen without the change; the base's value if left out. `DIFFERS`: whatever is
            seen, with the change it is something else, and so is each entry of a tuple.
        then: What is seen with it; ``value`` if left out.
        also: Further changes, with and without this one.
        fakes: Functions to replace, with and without the change.
        whole: Do all of the work; otherwise it ends once each function has been called.
    """

    key: str
    value: Any
    work: str
    at: str | tuple[str, ...]
    seen: Callable[[Seen], Any]
    was: Any = _AS_WRITTEN
    then: Any = _AS_WRITTEN
    also: Mapping[str, Any] = field(default_factory=dict)
    fakes: Mapping[str, Fake] = field(default_factory=dict)
    whole: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The functions to spy on."""
        return (self.at,) if isinstance(self.at, str) else self.at

    @property
    def stops(self) -> bool:
        """Whether the work may end early."""
        return bool(self.targets) and not self.whole

    @property
    def expected(self) -> tuple[Any, Any]:
        """What is to be seen without and with the change."""
        was = value_at(BASE, self.key) if self.was is _AS_WRITTEN else self.was
        return was, self.value if self.then is _AS_WRITTEN else self.then

    def __str__(self) -> str:
        places = ", ".join(t.rpartition(":")[2] for t in self.targets) or "its result"
        return f"{self.key}={self.value}, {self.work}: {places}"


# What the Ising system does, of which the stages make their work.
_ISING = "macrodyn.systems.ising:Ising"
INITIAL, EVOLVE, PATCH = f"{_ISING}.initial_states", f"{_ISING}.evolve", f"{_ISING}.evolve_patch"
EQUILIBRATE = f"{_ISING}.equilibrate"
PAIRS = f"{_ISING}.evolve_compensated"
CHOSEN = "macrodyn.methods.partial_evolution.sample:chosen"
MOMENTS = f"{_ISING}.exact_moments"
TRAIN_CLOSURE = "macrodyn.methods.partial_evolution.learn:train_closure"
TRAIN_DYNAMICS = "macrodyn.methods.partial_evolution.learn:train_ensemble"
FIT_POLYNOMIALS = "macrodyn.methods.partial_evolution.learn:fit_polynomials"
PREDICT = "macrodyn.model_core:integrate"
UPDATE = "torch.optim:AdamW.step"
LIKELIHOOD = "macrodyn.dynamics.train:PartialLikelihood"
ESTIMATE = "macrodyn.methods.partial_evolution.transitions:estimate_covariance_factor"
COMPARE = "macrodyn.methods.partial_evolution.compare"
WARM = {"temperature": [2.3, 2.8]}


def temperatures(calls: list[Any]) -> list[float]:
    """Temperatures of the systems whose method was called."""
    return sorted({call.self.parameters.temperature for call in calls})


def swept(seen: Seen) -> list[int]:
    """Sweeps of the first few cluster updates."""
    return [call.sweeps for call in seen.cluster_updates][:3]


def durations(calls: list[Any]) -> list[float]:
    """Times for which systems or patches were evolved, in order, each once."""
    return list(dict.fromkeys(round(float(call.duration), 9) for call in calls))


def macrostates(seen: Seen) -> list[float]:
    """Initial macrostates that were asked for, each once."""
    return sorted({float(m) for call in seen.initial_states for m in call.macrostate.ravel()})


def patches_evolved(seen: Seen) -> float:
    """Patches that were evolved, from lag to lag of the base's two."""
    return sum(len(call.windows) for call in seen.evolve_compensated) / 2


def within(seen: Seen) -> bool:
    """Whether the initial macrostates lie in the range of the rows below."""
    return all(0.25 <= m <= 0.5 for m in macrostates(seen))


def layers(seen: Seen) -> list[str]:
    """Names of the layers of the encoder's that was trained."""
    return [type(layer).__name__ for layer in seen.result.model.encoder]


def shape_of_covariance(seen: Seen) -> tuple[bool, bool]:
    """Whether a trained covariance has entries off the diagonal, and depends on z."""
    model = seen.result.model
    with torch.no_grad():
        at = model.covariance(torch.eye(model.variables))
    off = at - torch.diag_embed(at.diagonal(dim1=-2, dim2=-1))
    return bool(off.any()), bool((at[:, 0] != at[:, 1]).any())


def likelihoods(seen: Seen, name: str) -> list[Any]:
    """An attribute of the data that an ensemble was trained and validated on."""
    given = seen.PartialLikelihood[0]
    return [getattr(data, name) for data in (given.training, given.validation)]


def never_improving(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make validation losses that only rise."""
    losses = count(1)
    return lambda *args: float(next(losses))


def never_improving_members(original: Callable[..., Any]) -> Callable[..., Any]:
    """The same for the two members of an ensemble."""
    losses = count(1)
    return lambda *args: torch.full((2,), float(next(losses)))


def unrelaxed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave states as they are."""
    return lambda system, states, *args: states


def knowing_all(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make exact moments of the two observables of a system that knows none."""

    def exact_moments(self: Any, observables: Any, shape: Any) -> Any:
        return np.zeros((len(observables), 2)), np.ones((len(observables), 2, 2))

    return exact_moments


def estimating(factor: float) -> Fake:
    """Make an estimator of the covariance factor that finds this."""
    return lambda original: (
        lambda *args, **kwargs: replace(original(*args, **kwargs), estimated=factor, reason=None)
    )


SEED = [
    Row(
        "seed",
        6,
        "simulate",
        (INITIAL, EVOLVE),
        lambda s: (macrostates(s), s.initial_states[0].seeds, s.evolve[0].seeds),
        DIFFERS,
    ),
    Row(
        "seed", 6, "upsample", "macrodyn.sampling.upsample:generator", lambda s: s.generator[0].seed
    ),
    Row("seed", 6, "upsample", PATCH, lambda s: s.evolve_patch[0].seeds, DIFFERS),
    Row("seed", 6, "evolve", PAIRS, lambda s: s.evolve_compensated[0].seeds, DIFFERS),
    Row("seed", 6, "evolve:naive", PAIRS, lambda s: s.evolve_compensated[0].seeds, DIFFERS),
    Row(
        "seed",
        6,
        "recommend",
        PAIRS,
        lambda s: s.evolve_compensated[0].seeds,
        DIFFERS,
        also={"evolve": {"dt": "auto"}},
    ),
    Row(
        "seed",
        6,
        "closure",
        ("macrodyn.closure.train:PatchAutoencoder", "macrodyn.closure.train:hold_out"),
        lambda s: (s.PatchAutoencoder[0].seed, s.hold_out[0].seed),
        DIFFERS,
    ),
    Row(
        "seed",
        6,
        "closure",
        "macrodyn.methods.partial_evolution.learn:generator",
        lambda s: s.generator[0].seed,
    ),
    Row("seed", 6, "dynamics", ESTIMATE, lambda s: s.estimate_covariance_factor[0].seed),
    Row(
        "seed",
        6,
        "dynamics",
        "macrodyn.methods.partial_evolution.transitions:TransitionData.split",
        lambda s: s.split[0].seed,
    ),
    Row(
        "seed",
        6,
        "dynamics",
        "macrodyn.dynamics.train:Ensemble",
        lambda s: s.Ensemble[0].seed,
        DIFFERS,
    ),
    Row(
        "seed",
        6,
        "predict",
        (INITIAL, PREDICT),
        lambda s: (s.initial_states[0].seeds, s.integrate[0].seed),
        DIFFERS,
    ),
    Row(
        "seed",
        6,
        "reference",
        (INITIAL, EVOLVE),
        lambda s: (s.initial_states[0].seeds, s.evolve[0].seeds),
        DIFFERS,
    ),
    Row(
        "seed",
        6,
        "equilibrium",
        (INITIAL, EQUILIBRATE),
        lambda s: (s.initial_states[0].seeds, s.equilibrate[0].seeds),
        DIFFERS,
    ),
    *(
        Row("seed", 6, "evaluate", f"{COMPARE}:{name}", lambda s, n=name: s.calls[n][0].seed)
        for name in ("mmd_at_times", "mmd_over_times", "mmd_at_equilibrium", "sampling_error")
    ),
    Row(
        "seed",
        6,
        "evaluate",
        "macrodyn.methods.partial_evolution.evaluate:learned_moments",
        lambda s: s.learned_moments[0].seed,
    ),
]

SYSTEM = [
    Row(
        "system.name",
        "curie-weiss",
        work,
        ("macrodyn.systems.curie_weiss:CurieWeiss.initial_states", INITIAL),
        lambda s: [type(call.self).__name__ for call in s.initial_states],
        was=["Ising"],
        then=["CurieWeiss"],
    )
    for work in ("simulate", "reference", "predict")
] + [
    Row(
        "system.parameters",
        {"temperature": 3.0},
        work,
        at,
        lambda s: temperatures(next(iter(s.calls.values()))),
        was=[2.5],
        then=[3.0],
        whole=True,
    )
    for work, at in {
        "simulate": EVOLVE,
        "upsample": PATCH,
        "evolve": PAIRS,
        "evolve:naive": PAIRS,
        "predict": INITIAL,
        "reference": EVOLVE,
        "equilibrium": EQUILIBRATE,
        "evaluate": MOMENTS,
    }.items()
]

CONDITIONS = [
    Row(
        "conditions",
        WARM,
        work,
        at,
        lambda s: temperatures(next(iter(s.calls.values()))),
        was=[2.5],
        then=[2.3, 2.8],
        fakes={MOMENTS: knowing_all},
        whole=True,
    )
    for work, at in {
        "simulate": EVOLVE,
        "upsample": PATCH,
        "evolve": PAIRS,
        "evolve:naive": PAIRS,
        "evaluate": MOMENTS,
    }.items()
] + [
    Row("conditions", WARM, "encode", (), lambda s: s.result.condition.values, [], ["temperature"]),
    Row(
        "conditions",
        WARM,
        "dynamics",
        LIKELIHOOD,
        lambda s: s.PartialLikelihood[0].training.conditions.unique().tolist(),
        was=[],
        then=[torch.tensor(t).item() for t in WARM["temperature"]],
    ),
    # Evaluated at the system's own value.
    Row("conditions", WARM, "predict", PREDICT, lambda s: s.integrate[0].conditions, None, [[2.5]]),
]

BOTH = [[8, 8], [4, 4]]
SIZES = [
    Row(
        "sizes.small",
        [4, 2],
        "simulate",
        INITIAL,
        lambda s: s.initial_states[0].shape,
    ),
    Row("sizes.small", [4, 2], "evolve", PAIRS, lambda s: s.evolve_compensated[0].patch.shape),
    *(
        Row("sizes.large", [8, 16], work, INITIAL, lambda s: s.initial_states[0].shape)
        for work in ("reference", "equilibrium", "predict")
    ),
    Row("sizes.large", [8, 16], "upsample", (), lambda s: s.result.states.shape[2:]),
    *(
        Row("sizes.large", [8, 16], work, (), lambda s: s.result.attrs["patches_total"], 4, 8)
        for work in ("evolve", "encode")
    ),
    # What is learned is the noise of the large size, and exact moments are those of it.
    Row("sizes.large", [8, 16], "evaluate", MOMENTS, lambda s: s.exact_moments[0].shape),
    *(
        Row(
            "sizes.patch",
            [4, 2],
            work,
            at,
            lambda s: next(iter(s.calls.values()))[0].patch.shape,
            was=[4, 4],
        )
        for work, at in {"upsample": PATCH, "evolve": PAIRS}.items()
    ),
    Row(
        "sizes.patch",
        [4, 2],
        "closure",
        TRAIN_CLOSURE,
        lambda s: s.train_closure[0].patches.shape[2:],
        was=[4, 4],
    ),
    *(
        Row(
            "sizes.patch",
            [4, 2],
            work,
            "macrodyn.closure.model:PatchAutoencoder.encode_snapshot",
            lambda s: s.encode_snapshot[0].patches.shape[-2:],
            was=[4, 4],
        )
        for work in ("encode", "predict")
    ),
    Row(
        "sizes.train",
        BOTH,
        "plan",
        (),
        lambda s: [
            list(stage.config["large"])
            for role, stage in s.result.run.roles.items()
            if role.startswith("snapshots")
        ],
        was=[[8, 8]],
        then=BOTH,
    ),
    # Two of four patches, and the whole of a system of a quarter of the sites.
    Row(
        "sizes.train",
        BOTH,
        "dynamics",
        LIKELIHOOD,
        lambda s: np.unique(s.PartialLikelihood[0].training.factor),
        was=[2.0],
        then=[2.0, 4.0],
    ),
    Row(
        "sizes.train",
        BOTH,
        "evaluate",
        (),
        lambda s: [
            [size["sites"], size["patches_evolved"], size["patches_total"], size["used"]]
            for size in s.result["covariance_factor"]["ours"].get("sizes", [])
        ],
        was=[],
        then=[[64, 2, 4, 2.0], [16, 1, 1, 1.0]],
    ),
    # Sigma is that of the large size, though another is learned from.
    Row(
        "sizes.train",
        [[4, 4]],
        "dynamics",
        LIKELIHOOD,
        lambda s: np.unique(s.PartialLikelihood[0].training.factor),
        was=[2.0],
        then=[4.0],
    ),
]

SIMULATE = [
    Row(
        "simulate.initial_range", [0.25, 0.5], "simulate", INITIAL, within, False, True, whole=True
    ),
    Row(
        "simulate.initial_range",
        {"magnetisation": [0.25, 0.5]},
        "simulate",
        INITIAL,
        within,
        False,
        True,
        whole=True,
    ),
    Row("simulate.groups", 5, "simulate", INITIAL, lambda s: len(macrostates(s)), whole=True),
    Row(
        "simulate.replicas",
        6,
        "simulate",
        INITIAL,
        lambda s: len(s.initial_states[0].seeds),
        12,
        18,
    ),
    Row(
        "simulate.times",
        [0, 2, 5],
        "simulate",
        EVOLVE,
        lambda s: durations(s.evolve),
        was=[1, 3],
        then=[2, 3],
        whole=True,
    ),
]

CHAIN = {"from": 1, "after": [0.5, 1]}


def ages(seen: Seen) -> list[float]:
    """Ages of large snapshots, each once."""
    return sorted(set(seen.result.time.values.tolist()))


UPSAMPLE = [
    *(
        Row(
            "upsample.method",
            method,
            "upsample",
            tuple(
                f"macrodyn.sampling.upsample:METHODS.{name}"
                for name in ("tile", "replicate", "interpolate")
            ),
            lambda s: [name for name, calls in s.calls.items() if calls],
            was=["tile"],
            then=[method],
            whole=True,
        )
        for method in ("replicate", "interpolate")
    ),
    Row(
        "upsample.equilibrate",
        7,
        "upsample",
        "macrodyn.systems.ising.system:cluster_updates",
        lambda s: [call.sweeps for call in s.cluster_updates][:1],
        [],
        [7],
        whole=True,
    ),
    *(
        Row(
            f"upsample.records.{name}",
            value,
            "upsample",
            "macrodyn.systems.ising.system:cluster_updates",
            read,
            was,
            then,
            whole=True,
            also={
                "upsample": {
                    "snapshots": 12,
                    "equilibrate": 7,
                    "records": {"number": 2, "spacing": 1},
                }
            },
        )
        for name, value, read, was, then in (
            (
                "number",
                3,
                lambda s: [c.sweeps for c in s.cluster_updates][:3],
                [7, 1, 7],
                [7, 1, 1],
            ),
            ("spacing", 5, lambda s: [c.sweeps for c in s.cluster_updates][:2], [7, 1], [7, 5]),
        )
    ),
    Row(
        "upsample.records",
        {"number": 3},
        "upsample",
        "macrodyn.systems.ising.system:cluster_updates",
        swept,
        [7, 7, 7],
        [7, 1, 1],
        whole=True,
        also={"upsample": {"snapshots": 12, "equilibrate": 7}},
    ),
    Row("upsample.snapshots", 3, "upsample", (), lambda s: s.result.sizes["sample"], 18, 27),
    # The naive scheme evolves as many small systems as there are patches evolved of large ones.
    Row("upsample.snapshots", 1, "evolve:naive", (), lambda s: s.result.sizes["sample"], 36, 18),
    Row(
        "upsample.relaxation.duration",
        0.25,
        "upsample",
        PATCH,
        lambda s: durations(s.evolve_patch),
        was=[1.0],
        then=[0.25],
        also={"upsample": {"relaxation": {"sweep": 8.0}}},
        whole=True,
    ),
    Row(
        "upsample.relaxation.sweep",
        0.25,
        "upsample",
        PATCH,
        lambda s: durations(s.evolve_patch),
        was=[0.5],
        then=[0.25],
        whole=True,
    ),
    Row(
        "upsample.relaxation.boundary",
        "periodic",
        "upsample",
        PATCH,
        lambda s: s.evolve_patch[0].patch.boundary,
    ),
    Row(
        "upsample.relaxation.up_to_age",
        False,
        "upsample",
        PATCH,
        lambda s: durations(s.evolve_patch),
        was=[1, 4],
        then=[8],
        also={"upsample": {"relaxation": {"duration": 8, "sweep": 8}}},
        whole=True,
    ),
    Row("upsample.chains", [CHAIN], "upsample", (), lambda s: ages(s), [0, 1, 4], [1.5, 2]),
    *(
        Row(
            f"upsample.chains.*.{key}",
            value,
            "upsample",
            (),
            lambda s: ages(s),
            was=[1.5, 2],
            then=then,
            also={"upsample": {"chains": [CHAIN]}},
        )
        for key, value, then in (("from", 4, [4.5, 5]), ("after", [2, 3, 8], [3, 4, 9]))
    ),
]

EVOLVE_ROWS = [
    Row(
        "evolve.dt",
        0.5,
        "evolve",
        PAIRS,
        lambda s: durations(s.evolve_compensated),
        was=[0.25],
        then=[0.5],
        whole=True,
    ),
    Row(
        "evolve.dt",
        0.5,
        "evolve:naive",
        PAIRS,
        lambda s: durations(s.evolve_compensated),
        [0.25],
        [0.5],
        whole=True,
    ),
    Row("evolve.dt", 0.5, "dynamics", (), lambda s: s.result.model.metadata["dt"]),
    Row("evolve.dt", 0.5, "predict", PREDICT, lambda s: s.integrate[0].step),
    *(
        Row(
            "evolve.lags",
            [1, 3],
            work,
            at,
            lambda s: durations(next(iter(s.calls.values()))),
            was=[0.25],
            then=[0.25, 0.5],
            whole=True,
        )
        for work, at in {"evolve": PAIRS, "evolve:naive": PAIRS}.items()
    ),
    Row("evolve.lags", [1, 3], "evaluate", (), lambda s: list(drifts(s)), ["1", "2"], ["1", "3"]),
    Row("evolve.patches", 3, "evolve", PAIRS, lambda s: patches_evolved(s) / 18, whole=True),
    Row("evolve.patches", 1, "evolve:naive", (), lambda s: s.result.sizes["sample"], 36, 18),
    # The factor K/m by theory.
    Row(
        "evolve.patches",
        1,
        "dynamics",
        LIKELIHOOD,
        lambda s: likelihoods(s, "factor"),
        was=[2.0, 2.0],
        then=[4.0, 4.0],
        whole=True,
    ),
    *(
        Row(f"evolve.{key}", "auto", work, (CHOSEN,), lambda s: len(s.chosen), 0, 1, whole=True)
        for key, work in (("dt", "evolve"), ("dt", "evolve:naive"), ("buffer", "evolve"))
    ),
    Row("evolve.buffer", 1, "evolve", PAIRS, lambda s: s.evolve_compensated[0].patch.buffer),
    Row(
        "evolve.boundary",
        "periodic",
        "evolve",
        PAIRS,
        lambda s: s.evolve_compensated[0].patch.boundary,
    ),
    # As many events as the patch has sites.
    Row(
        "evolve.stop",
        "events",
        "evolve",
        PATCH,
        lambda s: sorted({call.events for call in s.evolve_patch}),
        was=[],
        then=[16],
        whole=True,
    ),
]


def drifts(seen: Seen) -> dict[str, float]:
    """The Markov diagnostic's excess of the drift, by lag."""
    return seen.result["markov"]["magnetisation"]["drift"]


def first_rate(seen: Seen) -> float:
    """Learning rate of torch's optimiser at a step that was not taken yet."""
    return seen.step[0].self.param_groups[0]["lr"]


CLOSURE = [
    Row(
        "closure.features",
        ["correlation-2"],
        "encode",
        (),
        lambda s: s.result["variable"].values[2:].tolist(),
        ["closure_0"],
        ["correlation_2", "closure_0"],
    ),
    Row(
        "closure.features",
        ["correlation-2"],
        "predict",
        "macrodyn.model_core:integrate",
        lambda s: s.integrate[0].bounds[2:-1],
        [],
        [(-1.0, 1.0)],
    ),
    Row(
        "closure.candidates",
        ["generator"],
        "encode",
        (),
        lambda s: list(s.result["candidate"].values) if "candidate" in s.result else [],
        [],
        ["generator_magnetisation", "generator_domain_wall_density"],
    ),
    Row("closure.dimension", 2, "closure", (), lambda s: s.result.model.encoder[-1].out_features),
    Row("closure.dimension", 2, "encode", (), lambda s: s.result.sizes["variable"] - 2),
    Row(
        "closure.encoder",
        "pooled",
        "closure",
        (),
        lambda s: layers(s)[-2],
        "Flatten",
        "_MeanOverSites",
    ),
    Row(
        "closure.encoder",
        "dense",
        "closure",
        (),
        lambda s: layers(s)[:2],
        ["Conv2d", "SiLU"],
        ["Flatten", "Linear"],
    ),
    Row(
        "closure.objective",
        "prediction",
        "closure",
        (),
        lambda s: s.result.model.architecture.decoder,
        "patch",
        "none",
    ),
    Row(
        "closure.objective",
        "reconstruction",
        "closure",
        (),
        lambda s: s.result.model.architecture.decoder,
        "none",
        "patch",
        also={"closure": {"objective": "prediction"}},
    ),
    Row(
        "closure.decoder",
        "whole",
        "closure",
        (),
        lambda s: type(s.result.model.decoder).__name__,
        "Sequential",
        "PatchMixture",
    ),
    Row("closure.channels", [6, 5], "closure", (), lambda s: widths(s), [4], [6, 5]),
    Row("closure.hidden", 12, "closure", (), lambda s: s.result.model.decoder[0].out_features),
    Row("closure.steps", 9, "closure", (), lambda s: validated(s)[-1]),
    Row(
        "closure.batch",
        32,
        "closure",
        "macrodyn.closure.train:PatchAutoencoder.loss",
        lambda s: len(s.loss[0].patches),
        # All that train, where they are fewer than 64.
        was=48,
    ),
    Row(
        "closure.learning_rate",
        0.003,
        "closure",
        UPDATE,
        first_rate,
    ),
    Row(
        "closure.patience",
        2,
        "closure",
        (),
        lambda s: len(validated(s)) - 1,
        also={"closure": {"validation_every": 1}},
        fakes={"macrodyn.closure.train:reconstruction_error": never_improving},
    ),
    Row("closure.validation_every", 2, "closure", (), lambda s: validated(s)[0]),
    # One or two of the three groups.
    Row(
        "closure.validation_fraction",
        0.6,
        "closure",
        "macrodyn.closure.train:hold_out",
        lambda s: len(set(s.hold_out[0].group[s.hold_out[0].result[1]])),
        was=1,
        then=2,
        whole=True,
    ),
]


def validated(seen: Seen) -> list[int]:
    """Steps at which a training was validated."""
    return seen.result.training["history"]["steps"]


def widths(seen: Seen) -> list[int]:
    """Widths of the encoder's convolutions that its configuration gives."""
    found = [layer.out_channels for layer in seen.result.model.encoder if layers_of(layer)]
    return found[: len(set(found))]


def layers_of(layer: torch.nn.Module) -> bool:
    """Whether a layer is a convolution."""
    return isinstance(layer, torch.nn.Conv2d)


DYNAMICS = [
    Row("dynamics.members", 3, "dynamics", (), lambda s: s.result.model.members),
    Row(
        "dynamics.hidden",
        [6, 5],
        "dynamics",
        (),
        lambda s: [
            len(bias[0])
            for name, bias in s.result.model.parameters_by_name().items()
            if name.startswith("drift.layers") and name.endswith("bias")
        ],
    ),
    *(
        Row(
            "dynamics.activation",
            "tanh",
            work,
            "macrodyn.dynamics.latent:ACTIVATIONS.tanh",
            lambda s: bool(s.tanh),
            was=False,
            then=True,
            whole=True,
        )
        for work in ("dynamics", "predict")
    ),
    *(
        Row("dynamics.covariance", form, "dynamics", (), shape_of_covariance, (True, True), then)
        for form, then in {"diagonal": (False, True), "constant": (True, False)}.items()
    ),
    *(
        Row(
            "dynamics.covariance_factor",
            value,
            "dynamics",
            LIKELIHOOD,
            lambda s: likelihoods(s, "factor"),
            was=[2.0, 2.0],
            then=[then, then],
            fakes={ESTIMATE: estimating(1.7)},
            whole=True,
        )
        for value, then in {"estimated": 1.7, 1.3: 1.3}.items()
    ),
    Row(
        "dynamics.covariance_factor",
        1.3,
        "dynamics",
        LIKELIHOOD,
        lambda s: likelihoods(s, "within"),
        was=[4.0, 4.0],
        then=[2.6, 2.6],
        also={"dynamics": {"likelihood": "patches"}},
        whole=True,
    ),
    Row(
        "dynamics.likelihood",
        "patches",
        "dynamics",
        LIKELIHOOD,
        lambda s: likelihoods(s, "patches"),
        was=[1, 1],
        then=[2, 2],
        whole=True,
    ),
    Row(
        "dynamics.buffer_noise",
        "ignored",
        "dynamics",
        "macrodyn.methods.partial_evolution.transitions:count_buffer",
        lambda s: len(s.count_buffer),
        was=1,
        then=0,
        also={"evolve": {"buffer": 1}},
        whole=True,
    ),
    Row(
        "dynamics.covariance_from",
        "rates",
        "dynamics",
        LIKELIHOOD,
        lambda s: likelihoods(s, "known"),
        was=[False, False],
        then=[True, True],
        also={"closure": {"dimension": 0}},
        whole=True,
    ),
    Row(
        "dynamics.covariance_from",
        "rates",
        "encode",
        (),
        lambda s: "covariance_rate" in s.result,
        was=False,
        then=True,
        also={"closure": {"dimension": 0}},
    ),
    Row(
        "dynamics.increments",
        "rates",
        "dynamics",
        "macrodyn.methods.partial_evolution.transitions:compensate_by_rates",
        lambda s: len(s.compensate_by_rates),
        was=0,
        then=1,
        also={"closure": {"dimension": 0}},
        whole=True,
    ),
    Row(
        "dynamics.increments",
        "rates",
        "encode",
        (),
        lambda s: "rate" in s.result,
        was=False,
        then=True,
        also={"closure": {"dimension": 0}},
    ),
    Row(
        "dynamics.increments",
        "plain",
        "dynamics",
        LIKELIHOOD,
        lambda s: s.PartialLikelihood[0].training.compensated is not None,
        was=True,
        then=False,
    ),
    Row(
        "dynamics.output_ridge",
        0.02,
        "dynamics",
        "macrodyn.dynamics.train:solve_output_layer",
        lambda s: s.solve_output_layer[0].ridge,
        was=1e-4,
    ),
    Row("dynamics.steps", 30, "dynamics", UPDATE, lambda s: len(s.step), whole=True),
    Row(
        "dynamics.batch",
        4,
        "dynamics",
        "macrodyn.dynamics.train:PartialLikelihood.loss",
        lambda s: s.loss[0].index.shape[1],
    ),
    Row(
        "dynamics.learning_rate",
        0.003,
        "dynamics",
        UPDATE,
        first_rate,
    ),
    Row(
        "dynamics.weight_decay",
        0.3,
        "dynamics",
        UPDATE,
        lambda s: s.step[0].self.param_groups[0]["weight_decay"],
    ),
    Row(
        "dynamics.patience",
        2,
        "dynamics",
        (),
        lambda s: len(validated(s)) - 1,
        also={"dynamics": {"validation_every": 1}},
        fakes={"macrodyn.dynamics.train:PartialLikelihood.validate": never_improving_members},
    ),
    Row("dynamics.validation_every", 5, "dynamics", (), lambda s: validated(s)[0]),
    Row(
        "dynamics.validation_fraction",
        0.6,
        "dynamics",
        TRAIN_DYNAMICS,
        lambda s: len(s.train_ensemble[0].data_val) > len(s.train_ensemble[0].data_train),
        was=False,
        then=True,
    ),
    Row(
        "dynamics.model",
        "polynomial",
        "dynamics",
        (),
        lambda s: s.result.model.kind,
        was="neural-sde",
    ),
    *(
        Row(
            "dynamics.model",
            name,
            "dynamics",
            (),
            lambda s: (s.result.model.kind, s.result.model.options["hidden"]),
            was=("neural-sde", [12]),
            then=(name, [12]),
            also={"dynamics": {"hidden": [12]}},
        )
        for name in ("onsagernet", "gfinn")
    ),
    Row(
        "dynamics.polynomial.degrees",
        [1],
        "dynamics",
        FIT_POLYNOMIALS,
        lambda s: list(s.fit_polynomials[0].settings.polynomial.degrees),
        was=[1, 2, 3, 4, 5, 6, 7, 8],
        also={"dynamics": {"model": "polynomial"}},
    ),
    Row(
        "dynamics.polynomial.ridges",
        [1e-3],
        "dynamics",
        FIT_POLYNOMIALS,
        lambda s: len(s.fit_polynomials[0].settings.polynomial.ridges),
        was=8,
        then=1,
        also={"dynamics": {"model": "polynomial"}},
    ),
]

EVALUATE = [
    Row(
        "evaluate.reference",
        "none",
        "plan",
        (),
        lambda s: [
            list(stage.config["large"])
            for role, stage in s.result.run.roles.items()
            if role.startswith("reference")
        ],
        was=[[8, 8]],
        then=[[4, 4]],
    ),
    Row(
        "evaluate.reference",
        "none",
        "evaluate",
        (),
        lambda s: [list(s.result["horizons"]), list(s.result.get("predicted", {}))],
        was=[["transient"], []],
        then=[["transient-size-4x4"], ["transient"]],
    ),
    *(
        Row("evaluate.initial", value, work, INITIAL, macrostates, then=[0.25])
        for work in ("reference", "equilibrium", "predict")
        for value in ([0.25], {"magnetisation": [0.25]})
    ),
    *(
        Row(
            "evaluate.conditions",
            {"temperature": [2.8]},
            work,
            at,
            read,
            was,
            then,
            also={"conditions": WARM},
        )
        for work, at, read, was, then in (
            ("predict", PREDICT, lambda s: s.integrate[0].conditions, [[2.5]], [[2.8]]),
            ("predict", INITIAL, lambda s: temperatures(s.initial_states), [2.5], [2.8]),
            ("reference", EVOLVE, lambda s: temperatures(s.evolve), [2.5], [2.8]),
            ("equilibrium", EQUILIBRATE, lambda s: temperatures(s.equilibrate), [2.5], [2.8]),
            (
                "evaluate",
                (),
                lambda s: list(s.result["horizons"]),
                ["transient"],
                ["transient-temperature-2.8"],
            ),
        )
    ),
    *(
        Row("evaluate.sizes", [[4, 8]], work, at, read, was, then)
        for work, at, read, was, then in (
            ("predict", INITIAL, lambda s: s.initial_states[0].shape, [8, 8], [4, 8]),
            ("predict", PREDICT, lambda s: s.integrate[0].noise, 1.0, 2**0.5),
            # That of the small system is taken for that of the large one, whatever its size.
            ("predict:naive", PREDICT, lambda s: s.integrate[0].noise, 1.0, 1.0),
            ("reference", INITIAL, lambda s: s.initial_states[0].shape, [8, 8], [4, 8]),
            ("equilibrium", INITIAL, lambda s: s.initial_states[0].shape, [8, 8], [4, 8]),
            (
                "evaluate",
                (),
                lambda s: list(s.result["horizons"]),
                ["transient"],
                ["transient-size-4x8"],
            ),
        )
    ),
    Row("evaluate.replicas", 5, "reference", (), lambda s: s.result.sizes["replica"]),
    Row("evaluate.predicted_replicas", 3, "predict", PREDICT, lambda s: len(s.integrate[0].z0) / 2),
    Row(
        "evaluate.horizons",
        {"late": {"spacing": 2.0, "points": 5}},
        "evaluate",
        (),
        lambda s: sorted(s.result["horizons"]),
        was=["transient"],
        then=["late", "transient"],
    ),
    Row(
        "evaluate.horizons",
        {"late": {"spacing": 2.0, "points": 5}},
        "reference",
        (),
        lambda s: s.result.time.values[-1],
        was=4.0,
        then=8.0,
    ),
    *(
        Row(f"evaluate.horizons.*.{key}", value, work, at, read, was, then, whole=True)
        for key, value, was, then in (
            ("spacing", 0.25, [0.5, 4.0], [0.25, 2.0]),
            ("points", 5, [0.5, 4.0], [0.5, 2.0]),
        )
        for work, at, read in (
            ("predict", PREDICT, lambda s: [s.integrate[0].times[1], s.integrate[0].times[-1]]),
            ("reference", EVOLVE, lambda s: [s.evolve[0].duration, total(s)]),
        )
    ),
    Row("evaluate.horizons.*.step", 0.1, "predict", PREDICT, lambda s: s.integrate[0].step, 0.25),
    Row(
        "evaluate.equilibrium_fraction",
        0.5,
        "evaluate",
        f"{COMPARE}:equilibrium",
        lambda s: s.equilibrium[0].fraction,
    ),
    Row(
        "evaluate.equilibrium_fraction",
        0.5,
        "evaluate",
        f"{COMPARE}:mmd_at_equilibrium",
        lambda s: s.mmd_at_equilibrium[0].fraction,
    ),
    Row(
        "evaluate.equilibrium_fraction",
        0.5,
        "evaluate",
        f"{COMPARE}:sampled_equilibrium",
        lambda s: s.sampled_equilibrium[0].fraction,
    ),
    Row(
        "evaluate.equilibrium",
        None,
        "evaluate",
        (),
        lambda s: "sampled_equilibrium" in s.result,
        was=True,
        then=False,
    ),
    Row(
        "evaluate.equilibrium.replicas",
        3,
        "equilibrium",
        (),
        lambda s: s.result.sizes["replica"],
    ),
    Row("evaluate.equilibrium.samples", 5, "equilibrium", (), lambda s: s.result.sizes["sample"]),
    *(
        Row(f"evaluate.equilibrium.{key}", 6, "equilibrium", EQUILIBRATE, read, whole=True)
        for key, read in (
            ("burn_in", lambda s: s.equilibrate[0].sweeps),
            ("spacing", lambda s: s.equilibrate[-1].sweeps),
        )
    ),
]


def total(seen: Seen) -> float:
    """Time for which all trajectories of a reference are evolved."""
    trajectories = len(seen.initial_states[0].seeds) if "initial_states" in seen.calls else 8
    return sum(call.duration * len(call.states) for call in seen.evolve) / trajectories


METHODS = [
    Row(
        "method",
        f"{OursAlone.__module__}:OursAlone",
        "plan",
        (),
        lambda s: sorted(s.result.run.below("model")),
        was=["naive", "ours"],
        then=["ours"],
    ),
    Row(
        "baselines",
        ["naive", "full"],
        "evaluate",
        (),
        lambda s: sorted({"ours", "naive", "full"} & s.result["horizons"]["transient"].keys()),
        was=["naive", "ours"],
        then=["full", "naive", "ours"],
    ),
    Row(
        "baselines",
        ["full"],
        "plan",
        (),
        lambda s: {
            scheme: [pairs.config["scope"], pairs.parents["states"].name]
            for scheme, pairs in s.result.run.below("pairs").items()
        },
        was={"ours": ["partial", "upsample"], "naive": ["small", "simulate"]},
        then={"ours": ["partial", "upsample"], "full": ["whole", "upsample"]},
    ),
    Row(
        "baselines",
        ["polynomial"],
        "plan",
        (),
        lambda s: {
            scheme: model.config["dynamics"].get("model", "mlp")
            for scheme, model in s.result.run.below("model").items()
        },
        was={"ours": "mlp", "naive": "mlp"},
        then={"ours": "mlp", "polynomial": "polynomial"},
    ),
    Row(
        "published",
        {"transient": {"paper": 0.01}},
        "analysis",
        "macrodyn.methods.partial_evolution.analyses:error_against_patch_size",
        lambda s: [
            [series.name, *series.errors] for series in s.error_against_patch_size[0].published
        ],
        was=[],
        then=[["paper", [0.01]]],
        also={"analyses": {"spent": {"kind": "error_against_size", "horizon": "transient"}}},
    ),
]

EXECUTION = [
    *(
        Row("execution.shards", {name: 3}, "plan", (), lambda s, n=name: shards(s)[n], 1, 3)
        for name in ("simulate", "upsample", "evolve", "reference", "equilibrium")
    ),
    *(
        Row(
            f"execution.{key}",
            {"evolve": 77},
            "plan",
            (),
            lambda s, k=key: {
                name: getattr(stage, k)
                for (name, _), stage in s.result.run.stages().items()
                if getattr(stage, k) == 77
            },
            {},
            {"evolve": 77},
        )
        for key in ("memory", "minutes")
    ),
    *(
        Row(
            "execution.device",
            "cuda",
            work,
            f"macrodyn.methods.partial_evolution.{module}:stage_system",
            lambda s: s.stage_system[0].device,
        )
        for work, module in {"upsample": "upsample", "evolve": "sample"}.items()
    ),
    *(
        Row(
            "execution.device",
            "cuda",
            work,
            at,
            lambda s: next(iter(s.calls.values()))[0].device,
        )
        for work, at in {"closure": TRAIN_CLOSURE, "dynamics": TRAIN_DYNAMICS}.items()
    ),
    Row("execution.device", "cuda", "predict", PREDICT, lambda s: s.integrate[0].device),
    Row(
        "execution.checkpoint_minutes",
        7.0,
        "job",
        "macrodyn.pipeline.job:Checkpoints",
        lambda s: s.Checkpoints[0].every / 60,
    ),
]


def shards(seen: Seen) -> dict[str, int]:
    """Number of shards of the sampling stages."""
    return {name: stage.shards for (name, _), stage in seen.result.run.stages().items()}


STUDY = [
    Row(
        "title",
        "Spins",
        "summarise",
        (),
        lambda s: "Spins" in s.result,
        was=False,
        then=True,
    ),
    # Without a title, the study goes by its name.
    Row(
        "study",
        "t1",
        "summarise",
        (),
        lambda s: "t1" in s.result,
        was=False,
        then=True,
    ),
    Row(
        "runs",
        {"base": {"evolve": {"dt": 0.5}}, "other": None},
        "plan",
        (),
        lambda s: {name: plan.config.evolve.dt for name, plan in s.result.plans.items()},
        was={"base": 0.25},
        then={"base": 0.5, "other": 0.25},
    ),
    Row(
        "sweep",
        {"evolve.dt": [0.25, 0.5]},
        "plan",
        (),
        lambda s: {name: plan.config.evolve.dt for name, plan in s.result.plans.items()},
        was={"base": 0.25},
        then={"base-dt-0.25": 0.25, "base-dt-0.5": 0.5},
    ),
    Row(
        "analyses",
        {"more": {"kind": "all_runs"}},
        "plan",
        (),
        lambda s: {name: stage.name for name, stage in s.result.plans.analyses.items()},
        was={"spent": "costs"},
        then={"spent": "costs", "more": "all_runs"},
    ),
    Row(
        "analyses.*.kind",
        "covariance_factors",
        "plan",
        (),
        lambda s: s.result.plans.analyses["spent"].kind.name,
    ),
    Row(
        "analyses.*.runs",
        ["other"],
        "analysis",
        (),
        lambda s: sorted(s.result["findings"]),
        also={"runs": {"other": {}}},
    ),
]

ROWS = [
    *SEED,
    *SYSTEM,
    *CONDITIONS,
    *SIZES,
    *SIMULATE,
    *UPSAMPLE,
    *EVOLVE_ROWS,
    *CLOSURE,
    *DYNAMICS,
    *EVALUATE,
    *METHODS,
    *EXECUTION,
    *STUDY,
]
