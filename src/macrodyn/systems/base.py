"""The interface of a microscopic system.

A system is one class. It knows its physics (how states begin, evolve and are observed) and nothing
of upsampling, closures or learning. Everything else in macrodyn sees only this interface, and that
of the method it is used with: `PatchSystem` or `ForceSystem`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.streams import Seeds
from macrodyn.systems.parameters import Parameters
from macrodyn.systems.space import Component, Observable, Space

DEVICES = ("cpu", "cuda")
Prepared = Mapping[str, Mapping[str, Path]]
"""Files of the stages that a system prepared: by role, then by the name of the output."""


class System(ABC):
    """A microscopic system.

    States are arrays whose first axis is the batch; ``space`` says the others. Times are physical
    times of the system, in the unit that ``time_unit`` names. Every method that draws random
    numbers takes one seed per state and must give the same state for the same seed, whatever else
    is in the batch.

    Args:
        parameters: Its parameters.
        device: Where it computes, one of ``devices``.
        prepared: What its own stages made, as `prepare` named them; nothing where a system is only
            asked what it is like, as when a configuration is checked. So read it when it is needed;
            `initial_states`, `observe` and `exact_moments` must do without.

    Attributes:
        space: What a state is.
        observables: The macroscopic observables z*, in order.
        macrostate: What ``initial_states`` takes: the numbers that describe an initial macrostate,
            in order.
        time_unit: Name of the unit of time.
        devices: Where it can compute: ``cpu``, and ``cuda`` where there are kernels for it.
        version: Raise it when the same parameters give other results: what was computed with
            another version is then not used again.
        Parameters: The pydantic model of its parameters.

    Raises:
        ValueError: If there are no kernels for the device.
    """

    space: ClassVar[Space]
    observables: ClassVar[tuple[Observable, ...]]
    macrostate: ClassVar[tuple[Component, ...]] = (Component("macrostate"),)
    time_unit: ClassVar[str] = "1"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Parameters]]

    def __init__(
        self, parameters: Any, *, device: str = "cpu", prepared: Prepared | None = None
    ) -> None:
        if device not in self.devices:
            raise ValueError(f"{type(self).__name__} runs on {', '.join(self.devices)} only")
        self.parameters = parameters
        self.device = device
        self.prepared: Prepared = prepared or {}

    @classmethod
    def prepare(cls, parameters: Any, planner: Any) -> Mapping[str, Any]:
        """Return the stages that must run before the system can be used, by role.

        They run before every stage that uses the system, and their files are then found in
        ``prepared``, by the same roles. A system without such stages has nothing to do here.

        Args:
            parameters: Its parameters, an instance of ``Parameters``.
            planner: Makes the stages: ``planner.stage(kind, config, parents)``, with a
                `macrodyn.pipeline.kind.StageKind`, plain values that the result depends on, and the
                stages that it reads, by role. Parameters must stand in ``config`` where they
                matter, a ``version`` too where the system's own code does.

        Returns:
            Stages by role.
        """
        return {}

    @property
    def is_ready(self) -> bool:
        """Whether there is nothing that the system must prepare, or it is at hand."""
        overridden = any("prepare" in vars(cls) for cls in type(self).__mro__ if cls is not System)
        return bool(self.prepared) or not overridden

    def lacks(self) -> Iterator[tuple[str, str]]:
        """Yield what the parameters name and is not here, such as a file; nothing by default.

        It is asked for before any job. A model that was trained is read without it.

        Yields:
            Name of the parameter, and what to do.
        """
        yield from ()

    def prepared_figures(self, title: str) -> Iterator[tuple[str, Any]]:
        """Yield names and figures of what was prepared, for the report; none by default.

        Args:
            title: Of the figures.
        """
        yield from ()

    def with_parameters(self, **changes: float) -> Self:
        """Return the same system with some parameters changed, validated anew."""
        parameters = type(self.parameters)(**{**self.parameters.model_dump(), **changes})
        return type(self)(parameters, device=self.device, prepared=self.prepared)

    @property
    def observable_names(self) -> tuple[str, ...]:
        """Names of the observables, in order."""
        return tuple(observable.name for observable in self.observables)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Lowest and highest possible value of each observable."""
        return tuple(observable.bounds for observable in self.observables)

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names of the components of an initial macrostate, in order."""
        return tuple(component.name for component in self.macrostate)

    @property
    def labels(self) -> dict[str, str]:
        """How components and observables are written in figures, by name, with their units."""
        found = {component.name: component.label for component in self.macrostate}
        for observable in self.observables:
            text = observable.label
            if observable.unit != "1":
                text = f"{text or observable.name.replace('_', ' ')} [{observable.unit}]"
            found[observable.name] = text or found.get(observable.name, "")
        return {name: text for name, text in found.items() if text}

    @abstractmethod
    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray:
        """Draw initial states.

        Args:
            macrostate: The initial macrostate of each state, shape [batch, component], a column
                for each of ``macrostate`` (for spins: the expected magnetisation). One value must
                mean the same at every size.
            shape: Sites along each axis; of particles their number, (n,).
            seeds: One stream per state, shape [batch], uint64.

        Returns:
            States, shape [batch, channel, *shape] on a grid, [batch, particle, component] of
            particles.
        """

    @abstractmethod
    def observe(self, states: NDArray) -> NDArray[np.float64]:
        """Measure the intensive observables z* of whole systems.

        Args:
            states: Shape [batch, ...], as ``space`` says.

        Returns:
            Shape [batch, observable]; defined in the same way at every size.
        """

    def relations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Exact linear relations A z = b among the observables, such as that shares add up to 1.

        They are built into the model of the dynamics.

        Returns:
            A, shape [relation, observable], and b, shape [relation]; None if there are none.
        """
        return None

    def exact_moments(
        self, observables: NDArray[np.float64], shape: Shape
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Exact drift and covariance rate of the observables, where the rates give them.

        Learned drift and diffusion are compared with them.

        Args:
            observables: Values of the observables, shape [batch, observable].
            shape: Sites along each axis.

        Returns:
            Drift per unit time, shape [batch, observable], and covariance per unit time, shape
            [batch, observable, observable], of a whole system of that shape; NaN for what is not a
            function of the observables. None if nothing is known.
        """
        return None
