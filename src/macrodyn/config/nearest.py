"""Which known key an unknown one may have been meant to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

# Part of the letters that agree: a transposition or a missing letter in short names.
_ALIKE = 0.7


def nearest_key(model: type[BaseModel], path: Sequence[Any]) -> str | None:
    """Find the known key that is nearest to an unknown one.

    Args:
        model: The model that refused it.
        path: The keys that lead to it, itself the last.

    Returns:
        The key beside it that is spelt most like it; else the path of the key of the same name that
        belongs elsewhere; None if there is neither.
    """
    *parents, unknown = path
    beside = _inside(model, parents)
    if beside is None or not isinstance(unknown, str):
        return None
    spelling = {name.casefold(): name for name in beside.model_fields}
    close = get_close_matches(unknown.casefold(), spelling, n=1, cutoff=_ALIKE)
    if close:
        return spelling[close[0]]
    return next((at for at in _paths(model, "") if at.rpartition(".")[2] == unknown), None)


def _inside(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel] | None:
    """Return the model of a part."""
    annotation: Any = model
    for key in path:
        found = _model(annotation)
        if found is not None:
            if key not in found.model_fields:
                return None
            annotation = found.model_fields[key].annotation
        else:
            annotation = _values(annotation)
    return _model(annotation)


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation is, or has among its forms, but not inside of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if _values(annotation) is not None:
        return None
    return next(filter(None, map(_model, get_args(annotation))), None)


def _values(annotation: Any) -> Any:
    """Return what a mapping's values are; None for what is none."""
    origin = getattr(annotation, "__origin__", None)
    is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return get_args(annotation)[1] if is_mapping else None


def _paths(model: type[BaseModel], before: str) -> Iterator[str]:
    """Yield the paths of all keys that do not stand below names that the user chooses."""
    for name, field in model.model_fields.items():
        path = f"{before}{field.alias or name}"
        yield path
        inner = _model(field.annotation)
        if inner is not None:
            yield from _paths(inner, f"{path}.")
