"""What a trained model is, in words and in numbers: its card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from macrodyn.evaluation.verdict import judge
from macrodyn.evaluation.verdict_parts import get
from macrodyn.lattice import Tiling

if TYPE_CHECKING:
    from macrodyn.methods.partial_forces.model import ForceModel
    from macrodyn.model import MacroModel

# What an evaluation says of a horizon, by the heading of the card.
_MERITS = {
    "test error": ("ours", "test_error", "mean"),
    "exact model": ("sampling_error", "mean"),
    "spread error": ("ours", "spread_error", "mean"),
    "MMD²": ("ours", "mmd", "mean"),
    "share outside": ("ours", "range", "outside"),
}


def merits(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of merit that a card shows.

    Args:
        metrics: Content of a run's metrics.json.

    Returns:
        ``horizons``: of each comparison its figures by name, as the metrics have them: null where
        they cannot be had, ``diverged`` where they are infinite; the ``verdict`` in a sentence;
        and without a reference ``agreement``: how far the members of each prediction differ
        (``mean``), and equal members would (``chance``).
    """
    found: dict[str, Any] = {
        "horizons": {
            name: {what: get(values, *path) for what, path in _MERITS.items()}
            for name, values in (metrics.get("horizons") or {}).items()
        },
        "verdict": judge(metrics).headline,
    }
    if "predicted" in metrics:
        found["agreement"] = {
            name: {key: get(schemes, "ours", "agreement", key) for key in ("mean", "chance")}
            for name, schemes in metrics["predicted"].items()
        }
    return found


def in_words(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """What an evaluation says of each prediction; or that there is no reference.

    Without a reference, how far the members' predictions differ.

    Args:
        evaluation: Result of `merits`; empty if there was none.
    """
    found = {}
    if "agreement" in evaluation:
        found["reference"] = "none: the large system was not simulated"
    for name, agreed in evaluation.get("agreement", {}).items():
        if _known(agreed["mean"]):
            chance = f"{agreed['chance']:.1e}"
            text = f"{agreed['mean']:.1e} (equal members, by chance, {chance})"
            found[f"squared difference of the members, {name}"] = text
    for name, values in evaluation.get("horizons", {}).items():
        if _known(error := values["test error"]):
            exact = values["exact model"]
            beside = f" (an exact model {exact:.1e})" if _known(exact) else ""
            found[f"test error, {name}"] = f"{error:.1e}{beside}"
    return found


def facts(model: MacroModel) -> dict[str, Any]:
    """What a model is, as plain JSON values.

    Returns:
        Variables with their bounds (null where open) and the range of the training data,
        conditions with theirs, linear relations z = z0 + B y among the variables, members, step,
        sites n, and patches K = n / n_s.
    """
    domain, ensemble = model.ensemble.domain, model.ensemble
    constraint = ensemble.constraint
    return {
        "latent_model": ensemble.kind,
        "members": ensemble.members,
        "kept": list(model.kept),
        "noise": ensemble.noisy,
        "step": model.step,
        "time_unit": model.system.time_unit,
        "sites": math.prod(model.large),
        "patches": Tiling(model.large, model.patch).number,
        "variables": {
            name: {"bounds": [_finite(low), _finite(high)], "learned_on": [least, most]}
            for name, (low, high), least, most in zip(
                model.variables, model.known_bounds, domain.low, domain.high, strict=True
            )
        },
        "conditions": {
            name: {"learned_on": [low, high]}
            for name, low, high in zip(
                model.conditions, domain.condition_low, domain.condition_high, strict=True
            )
        },
        "constraint": None if constraint is None else constraint.as_dict(),
    }


def described(model: MacroModel) -> dict[str, Any]:
    """Describe a model for other programs, as plain values.

    Args:
        model: The model.

    Returns:
        ``study``, ``run``, ``system``, ``parameters``, ``size`` (sites along each axis),
        ``members`` of the ensemble and ``kept``: those of its mean model, ``dt`` that it was
        learned over, ``time_unit``, ``variables`` and ``conditions`` (``name``, and ``low`` and
        ``high`` of what it was learned on), ``merit`` (what its evaluation says, in words), and
        ``macrodyn_version`` and ``git_commit`` that made it (None if unknown).
    """
    told, metadata = facts(model), model.ensemble.metadata

    def ranges(rows: Mapping[str, Any]) -> list[dict[str, Any]]:
        ends = {name: row["learned_on"] for name, row in rows.items()}
        return [{"name": name, "low": low, "high": high} for name, (low, high) in ends.items()]

    return {
        **{key: model.origin.get(key) for key in ("study", "run", "system")},
        "parameters": model.system.parameters.model_dump(mode="json"),
        "size": list(model.large),
        "members": told["members"],
        "kept": told["kept"],
        "dt": told["step"],
        "time_unit": told["time_unit"],
        "variables": ranges(told["variables"]),
        "conditions": ranges(told["conditions"]),
        "merit": in_words(model.origin.get("evaluation") or {}),
        **{key: metadata.get(key) for key in ("macrodyn_version", "git_commit")},
    }


def card(model: MacroModel) -> str:
    """See `MacroModel.card`."""
    return sheet(model, _what(model), _how_good(model), _limits(model))


def sheet(
    model: MacroModel | ForceModel,
    what: Iterable[str],
    how_good: Iterable[str],
    limits: Iterable[str],
) -> str:
    """Put a card together of its lines: what a model is, how good it was, where it holds."""
    origin = model.origin
    return "\n".join(
        [
            f"# {origin.get('study', 'a model')}, run {origin.get('run', '')}".rstrip(),
            "",
            *what,
            "",
            *how_good,
            *limits,
            "",
            *_example(model),
            *_made(model),
            "",
        ]
    )


def _what(model: MacroModel) -> Iterator[str]:
    told, unit = facts(model), model.system.time_unit
    parameters = model.system.parameters.model_dump(mode="json")
    given = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    yield (
        f"A model of the macroscopic dynamics dz = mu dt + L dB of `{model.origin.get('system')}` "
        f"({given}) on {'x'.join(map(str, model.large))} sites. It was learned from patches of "
        f"{'x'.join(map(str, model.patch))} sites, K = {told['patches']} of which make the whole, "
        f"over dt = {model.step:g} {unit}. It is an ensemble of {told['members']}; "
        f"{len(told['kept'])} of them make its mean model."
    )
    yield ""
    yield "| variable | bounds | learned on |"
    yield "|---|---|---|"
    for name, row in told["variables"].items():
        low, high = row["learned_on"]
        yield f"| {name} | {_interval(row['bounds'])} | {low:.4g} to {high:.4g} |"
    for name, row in told["conditions"].items():
        low, high = row["learned_on"]
        yield f"| {name} (condition) | | {low:g} to {high:g} |"
    constraint = model.ensemble.constraint
    if constraint is not None:
        fixed = len(model.variables) - constraint.free
        yield ""
        yield f"{fixed} linear relation(s) among the variables hold exactly (`model.json`)."


def _how_good(model: MacroModel) -> Iterator[str]:
    found = model.origin.get("evaluation") or {}
    words, horizons = in_words(found), found.get("horizons")
    if found:
        yield "## How good it was"
        yield ""
        yield found["verdict"]
        yield ""
    if words:
        yield from (f"- {name}: {value}" for name, value in words.items())
        yield ""
    if horizons:
        yield f"| comparison | {' | '.join(_MERITS)} |"
        yield f"|---|{'---|' * len(_MERITS)}"
        for name, values in horizons.items():
            yield f"| {name} | {' | '.join(_written(values.get(what)) for what in _MERITS)} |"
        yield ""
        yield (
            "Test error: squared, relative, of mean trajectories; an exact model would score what "
            "stands beside it, as the reference is finite."
        )
        yield ""
    if model.calibrations:
        yield "| bands | level | within, of those left aside | at all times until |"
        yield "|---|---|---|---|"
        for one in model.calibrations:
            yield (
                f"| {one.name} | {one.level:.0%} | {one.coverage:.1%} ± {one.coverage_error:.1%} "
                f"of {one.tested} | {one.until:g}, every {one.spacing:g} |"
            )
        yield ""


def _limits(model: MacroModel) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        "- Outside of the ranges it was learned on it guesses; every prediction says what share of "
        "it does."
    )
    yield (
        f"- It knows nothing within a step of {model.step:g}, nor of what its variables leave out."
    )
    yield (
        "- For another size its noise is scaled by the root of the sites; corrections of order 1/n "
        "are left out."
    )
    if model.calibrations:
        yield (
            "- Bands hold for initial states, conditions and sizes like those of the comparison, "
            "at its record times."
        )
    else:
        yield "- It has no bands around trajectories: it was not compared with enough of them."
    name = str(model.origin.get("system", ""))
    if ":" in name:
        yield f"- To read it, the module `{name.partition(':')[0]}` must be importable."


def _example(model: MacroModel | ForceModel) -> Iterator[str]:
    """A prediction in Python, as lines of a card."""
    initial = json.dumps({name: 0.5 for name in model.system.component_names})
    step = model.step
    yield "```python"
    yield "import macrodyn"
    yield ""
    yield 'model = macrodyn.load("this folder")'
    yield f"model.predict({initial}, times=[0, {step:g}, {100 * step:g}])"
    yield "```"
    yield ""


def _made(model: MacroModel | ForceModel) -> Iterator[str]:
    yield "## What it was made from"
    yield ""
    metadata, origin = model.ensemble.metadata, model.origin
    made = {k: metadata[k] for k in ("macrodyn_version", "git_commit") if metadata.get(k)}
    made |= {k: origin[k] for k in ("method", "seed", "system_origin") if k in origin}
    for name, value in made.items():
        yield f"- {name.replace('_', ' ')}: {value}"
    for name, stage in (origin.get("stages") or {}).items():
        yield f"- {name}: {stage}"


def _known(value: Any) -> bool:
    return isinstance(value, float)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _interval(bounds: list[float | None]) -> str:
    low, high = bounds
    if low is None and high is None:
        return "none"
    return f"{'-inf' if low is None else f'{low:g}'} to {'inf' if high is None else f'{high:g}'}"


def _written(value: Any) -> str:
    return f"{value:.1e}" if _known(value) else str(value or "-")
