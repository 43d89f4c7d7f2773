"""The keys of a configuration, derived from its models."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from macrodyn.config.models import study_model
from macrodyn.config.section import Section
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun

STUDY = study_model(PartialEvolutionRun)


def leaves(model: type[Section] = STUDY, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path of every key that holds a value, with its type.

    Of a mapping, the keys that it must have are keys of their own; a name that the user chooses
    is ``*``.
    """
    for name, field in model.model_fields.items():
        path, kind = prefix + (field.alias or name), field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from leaves(kind, f"{path}.")
        elif get_origin(kind) is dict and get_origin(get_args(kind)[0]) is Literal:
            named, value = get_args(kind)
            for key in get_args(named):
                yield f"{path}.{key}", value
        else:
            yield path, kind
            # A section that may be left out has no names of the user's in between.
            alone = get_origin(kind) in (Union, types.UnionType)
            here = [k for k in get_args(kind) if alone and isinstance(k, type)]
            for section in _sections(kind):
                yield from leaves(section, f"{path}." if section in here else f"{path}.*.")


def choices(kind: Any) -> set[str]:
    """Return the words among which a key of this type lets one choose."""
    if get_origin(kind) is Literal:
        return {word for word in get_args(kind) if isinstance(word, str)}
    if get_origin(kind) in (Union, types.UnionType, Annotated, tuple):
        return set().union(*(choices(part) for part in get_args(kind)))
    return set()


def _sections(kind: Any) -> list[type[Section]]:
    if isinstance(kind, type) and issubclass(kind, Section):
        return [kind]
    return [section for part in get_args(kind) for section in _sections(part)]
