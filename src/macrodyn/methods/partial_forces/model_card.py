"""What a trained model of partial forces is, in words and in numbers: its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from macrodyn.evaluation.verdict_parts import get, plain
from macrodyn.model_card import sheet

if TYPE_CHECKING:
    from macrodyn.methods.partial_forces.model import ForceModel


def merits(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of merit that a card shows, of a run's metrics.json; null where there are none."""
    from macrodyn.methods.partial_forces.report import PartialForcesReport

    return {
        "verdict": PartialForcesReport().verdict(metrics).headline,
        "error": {key: get(metrics, "error", key) for key in ("mean", "std", "worst")},
        "without_forces": dict(get(metrics, "without_forces") or {}),
        "unresolved": get(metrics, "unresolved", "median"),
        "condition_number": get(metrics, "condition_number", "median"),
        "forces": get(metrics, "forces"),
    }


def facts(model: ForceModel) -> dict[str, Any]:
    """What a model is, as plain JSON values.

    Returns:
        Latent model, members, step, unit of time, size, and the range of the training data of each
        variable.
    """
    domain = model.ensemble.domain
    return {
        "latent_model": model.ensemble.kind,
        "members": model.ensemble.members,
        "step": model.step,
        "time_unit": model.system.time_unit,
        "size": list(model.size),
        "variables": {
            name: {"learned_on": [low, high]}
            for name, low, high in zip(model.variables, domain.low, domain.high, strict=True)
        },
    }


def in_words(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """What an evaluation says, in words; empty if there was none.

    Args:
        evaluation: Result of `merits`.
    """
    found = {}
    error = evaluation.get("error") or {}
    if (mean := plain(error.get("mean"))) is not None:
        found["relative error of held-out trajectories"] = (
            f"{mean:.1e}, worst member {_written(error.get('worst'))}"
        )
    for name, value in (evaluation.get("without_forces") or {}).items():
        found[f"the same without forces, {name}"] = _written(value)
    return found


def described(model: ForceModel) -> dict[str, Any]:
    """Describe a model for other programs, as plain values.

    Returns:
        As `macrodyn.model_card.described`, with ``step`` in place of ``dt`` and without conditions.
    """
    told, metadata = facts(model), model.ensemble.metadata
    return {
        **{key: model.origin.get(key) for key in ("study", "run", "system")},
        "parameters": model.system.parameters.model_dump(mode="json"),
        "size": told["size"],
        "members": told["members"],
        "step": told["step"],
        "time_unit": told["time_unit"],
        "variables": [
            {"name": name, "low": row["learned_on"][0], "high": row["learned_on"][1]}
            for name, row in told["variables"].items()
        ],
        "merit": in_words(model.origin.get("evaluation") or {}),
        **{key: metadata.get(key) for key in ("macrodyn_version", "git_commit")},
    }


def card(model: ForceModel) -> str:
    """See `ForceModel.card`."""
    return sheet(model, _what(model), _how_good(model), _limits(model))


def _what(model: ForceModel) -> Iterator[str]:
    told = facts(model)
    unit = "" if told["time_unit"] == "1" else f" {told['time_unit']}"
    parameters = model.system.parameters.model_dump(mode="json")
    given = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    forces = (model.origin.get("evaluation") or {}).get("forces") or {}
    read = (
        f" It was learned from the forces on {forces['each']:,} of each of "
        f"{forces['configurations']:,} configurations."
        if forces
        else ""
    )
    yield (
        f"A model of the macroscopic dynamics dz/dt = g(z) of `{model.origin.get('system')}` "
        f"({given}), size {' x '.join(map(str, model.size))}.{read} It is an ensemble of "
        f"{told['members']} ({model.origin.get('latent_model', told['latent_model'])}), stepped by "
        f"{model.step:g}{unit}."
    )
    yield ""
    yield "| variable | learned on |"
    yield "|---|---|"
    for name, row in told["variables"].items():
        low, high = row["learned_on"]
        yield f"| {name} | {low:.4g} to {high:.4g} |"


def _how_good(model: ForceModel) -> Iterator[str]:
    found = model.origin.get("evaluation") or {}
    if not found:
        return
    yield "## How good it was"
    yield ""
    yield found["verdict"]
    yield ""
    yield from (f"- {name}: {value}" for name, value in in_words(found).items())
    unresolved, condition = (_written(found[key]) for key in ("unresolved", "condition_number"))
    yield f"- share of the forces that the encoder leaves unresolved: {unresolved}"
    yield f"- condition number of its Jacobian: {condition}"
    yield ""


def _limits(model: ForceModel) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        "- Outside of the ranges it was learned on it guesses; every prediction says what share of "
        "it does."
    )
    yield "- Its closure variables are those of one size: it predicts no other."
    yield "- Of initial states unlike those of the study nothing is known."
    name = str(model.origin.get("system", ""))
    if ":" in name:
        yield f"- To read it, the module `{name.partition(':')[0]}` must be importable."


def _written(value: Any) -> str:
    number = plain(value)
    return str(value or "-") if number is None else f"{number:.1e}"
