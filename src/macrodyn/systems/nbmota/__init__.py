"""A bcc alloy of Nb, Mo and Ta, whose atoms move by jumps of vacancies."""

from macrodyn.lazy import lazy_names
from macrodyn.systems.nbmota.parameters import NbMoTaParameters

__getattr__, _ = lazy_names(__name__, {"system": ("NbMoTa",)})
__all__ = ["NbMoTa", "NbMoTaParameters"]
