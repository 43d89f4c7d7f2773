"""What sampling costs, in microscopic site updates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cost:
    """Adds up the site updates of a stage.

    A site update is one site carried through one unit of the system's time (for Glauber dynamics:
    one attempt), so that costs compare across algorithms.

    Attributes:
        site_updates: Site updates so far.
    """

    site_updates: float = 0.0

    def add(self, sites: int, duration: float) -> None:
        """Count ``sites`` sites carried through ``duration``."""
        self.site_updates += sites * duration
