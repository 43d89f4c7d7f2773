"""What a stage costs: microscopic site updates and core seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Cost:
    """Adds up the cost of a stage.

    A site update is one site carried through one unit of the system's time (for Glauber dynamics:
    one attempt), so that costs compare across algorithms.

    Attributes:
        threads: Cores that the stage uses.
        site_updates: Site updates so far.
    """

    threads: int = 1
    site_updates: float = 0.0
    _start: float = field(default_factory=time.perf_counter)

    def add(self, sites: int, duration: float) -> None:
        """Count ``sites`` sites carried through ``duration``."""
        self.site_updates += sites * duration

    def attributes(self) -> dict[str, float]:
        """Return the cost so far as attributes of a file."""
        return {
            "site_updates": float(self.site_updates),
            "core_seconds": (time.perf_counter() - self._start) * self.threads,
        }
