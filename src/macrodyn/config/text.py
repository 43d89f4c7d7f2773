"""A configuration as its author wrote it: the text of each value, and notations read otherwise.

YAML 1.1, which Python and Snakemake read, knows numbers that nobody means: ``1:30`` is 90, ``010``
is 8. YAML 1.2, which most editors read, takes them for text or for other numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

from macrodyn.config.section import is_free

# Writes a value, given the keys that lead to it and itself.
Written = Callable[[Sequence[Any], Any], str | None]

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_MERGE = "tag:yaml.org,2002:merge"
# Why a number is not what it looks like, by what is peculiar about it.
_PECULIAR = {
    re.compile(r".*:.*"): "to the base 60",
    re.compile(r"[-+]?0b.*"): "to the base 2",
    re.compile(r"[-+]?0[0-7_]+"): "to the base 8",
    re.compile(r".*_.*"): "in YAML 1.1 alone",
}


class Loader(yaml.SafeLoader):
    """Reads plain values only, and notes keys that stand twice in one mapping."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compare a mapping's own keys, before merge keys (<<) add those of others."""
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                name, line = self.construct_object(key), key.start_mark.line + 1
                if name in lines:
                    first = lines[name]
                    self.repeated.append(f"line {line}: {key.value} stands in line {first} already")
                lines.setdefault(name, line)
        return node


class Document:
    """A YAML document: what it holds, and the text that it was read from.

    Attributes:
        content: What it holds.
        repeated: A line for each key that stands twice in one mapping.
    """

    def __init__(self, text: bytes) -> None:
        """Read it.

        Raises:
            yaml.YAMLError: If it is not YAML.
            ValueError: If it is not UTF-8, or a value is none of its kind.
            RecursionError: If it is nested too deeply.
        """
        self._loader = Loader(text.decode("utf-8"))
        self._root = self._loader.get_single_node()
        # The nodes of mappings afterwards hold what merge keys add, before their own.
        self.content = None if self._root is None else self._loader.construct_document(self._root)
        self.repeated = self._loader.repeated

    def text(self, path: Sequence[Any], value: Any) -> str | None:
        """Return a value's text as it stands in the file.

        Args:
            path: The keys and places in lists that lead to it.
            value: What it was read as.

        Returns:
            The text; None if no such value stands there, or it is text or has parts.
        """
        node = self._root
        for part in path:
            node = self._inside(node, part)
        if not isinstance(node, yaml.ScalarNode) or isinstance(value, str):
            return None
        read = self._loader.construct_object(node)
        return node.value if type(read) is type(value) and read == value else None

    def peculiar(self) -> list[str]:
        """Return a line for each number in a notation that YAML 1.1 alone reads so."""
        return list(self._peculiar(self._root, "", set()))

    def _inside(self, node: yaml.Node | None, part: Any) -> yaml.Node | None:
        """Return the node of a part, the last of that name."""
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            return node.value[part] if part < len(node.value) else None
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                if isinstance(key, yaml.ScalarNode) and self._loader.construct_object(key) == part:
                    return value
        return None

    def _peculiar(self, node: yaml.Node | None, path: str, known: set[int]) -> Iterator[str]:
        if id(node) in known:
            return
        known.add(id(node))
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            for notation, how in _PECULIAR.items():
                if node.tag in (_INT, _FLOAT) and notation.fullmatch(node.value):
                    read = self._loader.construct_object(node)
                    yield (
                        f"{path}: {node.value} would be {read}, a number {how}: write {read}, or "
                        "what you mean without other signs; text goes in quotes"
                    )
                    return
        elif isinstance(node, yaml.SequenceNode):
            for place, value in enumerate(node.value):
                yield from self._peculiar(value, f"{path}.{place}", known)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
                if not is_free(name):
                    inner = f"{path}.{name}" if path else name
                    yield from self._peculiar(key, inner, known)
                    yield from self._peculiar(value, inner, known)
