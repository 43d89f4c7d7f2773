"""What a trained model tells of itself."""

from __future__ import annotations

from typing import Any

from macrodyn.model_card import in_words, merits
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from tests.evaluation.test_verdict import ERROR, changed


def evaluated(error: Any) -> dict[str, Any]:
    """Figures of merit of a run with a test error, as a model's folder keeps them."""
    return merits(changed(ERROR, error))


def test_a_prediction_that_diverged_is_written_and_told(tmp_path):
    found = evaluated("diverged")
    write_sealed_json(tmp_path / "model.json", {"evaluation": found})
    kept = read_sealed_json(tmp_path / "model.json")["evaluation"]
    assert kept["horizons"]["short"]["test error"] == "diverged"
    assert in_words(kept) == {}


def test_errors_are_told_beside_those_of_an_exact_model():
    found = evaluated(2e-4)
    exact = found["horizons"]["short"]["exact model"]
    assert in_words(found) == {"test error, short": f"2.0e-04 (an exact model {exact:.1e})"}


def test_without_a_reference_the_members_agreement_is_told():
    agreement = {"large": {"mean": 3e-5, "chance": 1e-5}, "lost": {"mean": "diverged", "chance": 0}}
    assert in_words({"agreement": agreement, "horizons": {}}) == {
        "reference": "none: the large system was not simulated",
        "squared difference of the members, large": "3.0e-05 (equal members, by chance, 1.0e-05)",
    }
