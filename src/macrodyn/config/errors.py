"""What is wrong with a configuration, in words: one line a key, from the errors of its models."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from macrodyn.config.nearest import nearest_key
from macrodyn.config.text import Written

# By type of error; braces take what the model demands.
_MUST = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be finite",
    "literal_error": "must be {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "tuple_type": "must be a list in brackets",
    "list_type": "must be a list in brackets",
    "dict_type": "must have keys below it",
    "model_type": "must have keys below it",
    "string_type": "must be text",
    "invalid_key": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "must be letters, digits, '_', '.' and '-', and begin with a "
    "letter or digit",
    r"^(generator(:.+)?|correlation-[1-9][0-9]{0,5}|moment-[234](:.+)?)$": "must be a feature: "
    "generator, correlation-r with a distance r, or moment-p with p = 2, 3 or 4; "
    "generator:<observable> and moment-p:<observable> are of one observable",
}
_MISSING = "is missing: add it"
_SECTIONS = ("dict_type", "model_type")
_SCALAR = "must be a finite number, text, true, false or null"
_KEY = "[key]"
_LONGEST = 60


def problems(
    error: ValidationError,
    content: Any,
    model: type[BaseModel] | None = None,
    written: Written | None = None,
) -> dict[str, str]:
    """Say what is wrong with each key.

    Args:
        error: The error of a model that was given the content.
        content: What the model was given.
        model: The model, to show the key that is nearest to an unknown one.
        written: Finds the text of a value in the file that it was read from.

    Returns:
        What the key should be, what was given and what to do, by the key's path; the path is empty
        for an error of the content as a whole.
    """
    items: dict[tuple[Any, ...], list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        if not _follows_from_others(item):
            items.setdefault(tuple(_path(item, content)), []).append(item)
    return {
        ".".join(map(_word, path)): _unknown(path, model)
        if found[0]["type"] == "extra_forbidden"
        else _message(found, _Given(path, written))
        for path, found in items.items()
    }


class _Given:
    """Writes the value of a key as it stands in the file, where that is known.

    Args:
        path: The keys that lead to it.
        written: Finds its text.
    """

    def __init__(self, path: tuple[Any, ...], written: Written | None) -> None:
        self.path, self.written = path, written

    def __call__(self, value: Any) -> str:
        found = self.written(self.path, value) if self.written else None
        return shown(value) if found is None else _cut(found)


def _unknown(path: tuple[Any, ...], model: type[BaseModel] | None) -> str:
    """Say what to do about a key that is unknown."""
    nearest = nearest_key(model, path) if model else None
    hint = f"; the nearest one is {nearest}" if nearest else ""
    return f"unknown key: remove it or correct its spelling{hint}"


def _follows_from_others(item: ErrorDetails) -> bool:
    """Whether a list is too short only because its entries are wrong, which is said of them."""
    context = item.get("ctx", {})
    return item["type"] == "too_short" and len(item["input"]) > context["actual_length"]


def _path(item: ErrorDetails, content: Any) -> list[Any]:
    """Return the keys that lead to an error, without the marks of the forms a value may have."""
    location = list(item["loc"])
    if _KEY in location[-1:]:
        # The key itself, which the location holds in another form: 0 for false.
        return [*_known(location[:-2], content), item["input"]]
    path = _known(location, content)
    if item["type"] == "missing" and isinstance(location[-1], str):
        path.append(location[-1])
    return path


def _known(location: list[int | str], content: Any) -> list[Any]:
    """Return the parts of a location that stand in the content."""
    path = []
    for part in location:
        inside = isinstance(content, dict) and part in content
        if isinstance(content, list | tuple) and isinstance(part, int):
            inside = part < len(content)
        if inside:
            path.append(part)
            content = content[part]
    return path


def _message(items: list[ErrorDetails], write: _Given) -> str:
    """Say what is wrong with one key, of which there may be several forms."""
    keys = [item for item in items if item["loc"] and item["loc"][-1] == _KEY]
    first = (keys or items)[0]
    kind, given = first["type"], first["input"]
    if kind == "missing":
        place = first["loc"][-1]
        if isinstance(place, int):
            return f"entry {place + 1} is missing: add it to the list"
        return _MISSING
    if kind == "too_short" and not given:
        return f"is empty: give at least {first['ctx']['min_length']} entry"
    if given is None and kind in _SECTIONS:
        return "is empty: write its keys below it, or remove it"
    if keys or kind == "invalid_key":
        return f"the name {_must(first)}, not {shown(given)}{_quotes(first)}"
    should = _alternatives(items)
    if given is None:
        return f"is empty, but {should}: give it a value, or remove it"
    if kind in ("too_long", "too_short"):
        return f"{should}, not {len(given)}"
    return should if isinstance(given, dict) else f"{should}, not {write(given)}{_quotes(first)}"


def _alternatives(items: list[ErrorDetails]) -> str:
    """Join what is demanded by the forms of one value."""
    if items[0]["loc"][-3:-2] == ("parameters",):
        return _SCALAR
    first, *others = dict.fromkeys(map(_must, items))
    return ", or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _must(item: ErrorDetails) -> str:
    """Say what a value must be."""
    context = item.get("ctx", {})
    if item["type"] in _MUST:
        numbers = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        return _MUST[item["type"]].format(**numbers)
    if item["type"] == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match the pattern {context['pattern']}")
    message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = " ".join(message.split()).replace("Input should ", "must ", 1)
    return f"{message[:1].lower()}{message[1:]}"


def _quotes(item: ErrorDetails) -> str:
    """Say what to do about text that YAML has taken for something else."""
    if item["type"] not in ("string_type", "invalid_key", "literal_error"):
        return ""
    if isinstance(item["input"], bool):
        return ": put it in quotes, as YAML reads yes, no, on and off as true and false"
    # A number, or a date.
    is_plain = not isinstance(item["input"], str | list | dict | None)
    return ": put it in quotes" if is_plain and item["type"] != "literal_error" else ""


def shown(value: object) -> str:
    """Write a value of a configuration as it stands in the file, cut to a part of a line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return _cut(repr(value))


def _word(part: object) -> str:
    """Write one key of a path, on the same line."""
    if isinstance(part, str):
        return _cut(part if part.isprintable() else repr(part))
    return shown(part)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
