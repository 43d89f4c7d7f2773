"""What partial forces say of a macroscopic drift g: |f - psi' g|^2 as a quadratic form of g.

With the encoder's Jacobian phi' at a configuration, [d, N], and its pseudo-inverse
psi' = phi'^T (phi' phi'^T)^-1, the squared distance of the microscopic forces from what g makes of
them, over any coordinates S, is

    |f_S - psi'_S g|^2 = c - 2 b.g + g^T A g,  A = psi'_S^T psi'_S,  b = psi'_S^T f_S,  c = |f_S|^2:

d^2 + d + 1 numbers a configuration, however many coordinates there are. All follow from

    G = phi' phi'^T,  H = phi'_S phi'_S^T,  u = phi'_S f_S,  c,

as A = G^-1 H G^-1 and b = G^-1 u; `ForceProducts` holds these, so that every loss of the same
forces is made of one pass over the states.

Source: eqs. (7) and (10) of arXiv:2410.23938; the quadratic form follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Loss = Literal["microscopic", "latent", "controlled"]


@dataclass(frozen=True, kw_only=True)
class ForceProducts:
    """What the forces on some coordinates of n configurations say, seen through an encoder.

    Attributes:
        gram: G = phi' phi'^T over all coordinates, shape [n, d, d].
        chosen: H = phi'_S phi'_S^T over the coordinates that were drawn, shape [n, d, d].
        push: u = phi'_S f_S, shape [n, d].
        size: c = |f_S|^2, shape [n].
        known: The same as `chosen` over the coordinates whose rates are known, shape [n, d, d].
        known_push: The same as `push`, shape [n, d].
        known_size: The same as `size`, shape [n].
        share: Number of drawn coordinates over that of those which they were drawn from.
    """

    gram: Array
    chosen: Array
    push: Array
    size: Array
    known: Array
    known_push: Array
    known_size: Array
    share: float

    @classmethod
    def of(
        cls,
        jacobian: Array,
        coordinates: NDArray[np.int64],
        forces: Array,
        known: NDArray[np.int64],
        rates: Array,
    ) -> ForceProducts:
        """Multiply forces into a Jacobian.

        Args:
            jacobian: phi', shape [n, d, N].
            coordinates: The p coordinates that were drawn, shape [n, p].
            forces: Forces on them, shape [n, p].
            known: Coordinates whose rates are known, the same for all, shape [k]; may be empty.
            rates: Their rates, shape [n, k].

        Raises:
            ValueError: If a drawn coordinate is one of the known.
        """
        if np.isin(coordinates, known).any():
            raise ValueError("A coordinate whose rate is known needs no force")
        rows = np.take_along_axis(jacobian, coordinates[:, None, :], axis=2)
        columns = jacobian[:, :, known]
        return cls(
            gram=jacobian @ jacobian.swapaxes(1, 2),
            chosen=rows @ rows.swapaxes(1, 2),
            push=np.einsum("nip,np->ni", rows, forces),
            size=np.square(forces).sum(1),
            known=columns @ columns.swapaxes(1, 2),
            known_push=np.einsum("nik,nk->ni", columns, rates),
            known_size=np.square(rates).sum(1),
            share=coordinates.shape[1] / (jacobian.shape[2] - len(known)),
        )

    def __len__(self) -> int:
        return len(self.gram)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> ForceProducts:
        """Some of the configurations."""
        names = (field.name for field in fields(self) if field.name != "share")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @classmethod
    def join(cls, parts: list[ForceProducts]) -> ForceProducts:
        """All configurations of several parts, of one share."""
        names = [field.name for field in fields(cls) if field.name != "share"]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
        return cls(**joined, share=parts[0].share)

    def microscopic(self, *, known: bool = True) -> QuadraticForm:
        """L_{x,p}: squares over coordinates, those that were drawn counted N/p times.

        Of all coordinates it is L_x. Its expectation over the draws is that of L_x.

        Args:
            known: Whether known rates are compared as well.

        Source: eq. (10) of arXiv:2410.23938.
        """
        h, u, c = self.chosen / self.share, self.push / self.share, self.size / self.share
        if known:
            h, u, c = h + self.known, u + self.known_push, c + self.known_size
        inverse = np.linalg.inv(self.gram)
        return QuadraticForm(
            matrix=_symmetric(inverse @ h @ inverse),
            vector=np.einsum("nij,nj->ni", inverse, u),
            constant=c,
        )

    def latent(self) -> QuadraticForm:
        """L_{z,p}: |g - phi' f|^2 with phi' f estimated by N/p times the drawn part of the sum.

        Of all coordinates it is L_z. Its expectation over the draws differs from L_z by a constant.
        Known rates enter the sum in full.

        Source: eq. (7) of arXiv:2410.23938.
        """
        target = self.push / self.share + self.known_push
        n, d = target.shape
        matrix = np.broadcast_to(np.eye(d), (n, d, d))
        return QuadraticForm(matrix=matrix, vector=target, constant=np.square(target).sum(1))

    def controlled(self) -> tuple[Array, Array]:
        """P and t of the target g + t - P g, with g held fixed where it stands in the target.

        The target's expectation over the draws is phi' f, as that of L_{z,p}; its noise is that of
        what psi' g leaves over, as in L_{x,p}: g is the control variate of the sum over the drawn
        coordinates.

        Returns:
            P, shape [n, d, d], and t, shape [n, d].
        """
        products = self.chosen / self.share + self.known
        found = products @ np.linalg.inv(self.gram)
        return found, self.push / self.share + self.known_push

    def condition_numbers(self, scale: Array | None = None) -> Array:
        """Condition numbers of G, shape [n].

        Args:
            scale: Factors of the rows of phi', shape [d], as observables have other units than
                closure variables; 1 if left out.
        """
        gram = self.gram if scale is None else self.gram * scale[:, None] * scale
        values = np.linalg.eigvalsh(gram)
        return values[:, -1] / np.maximum(values[:, 0], np.finfo(float).tiny)


@dataclass(frozen=True, kw_only=True)
class QuadraticForm:
    """c - 2 b.g + g^T A g for each of n configurations.

    Attributes:
        matrix: A, shape [n, d, d].
        vector: b, shape [n, d].
        constant: c, shape [n].
    """

    matrix: Array
    vector: Array
    constant: Array

    def __call__(self, drift: Array) -> Array:
        """Evaluate it at a drift g of each configuration, shape [n, d], to shape [n]."""
        bent = np.einsum("ni,nij,nj->n", drift, self.matrix, drift)
        found: Array = self.constant - 2 * np.einsum("ni,ni->n", self.vector, drift) + bent
        return found

    def scaled(self, scale: Array) -> QuadraticForm:
        """The form of h where g = scale h.

        Args:
            scale: Units of g, shape [d].
        """
        return QuadraticForm(
            matrix=self.matrix * scale[:, None] * scale,
            vector=self.vector * scale,
            constant=self.constant,
        )

    def minimisers(self, ridge: float = 1e-3) -> Array:
        """The g of each configuration that makes its form least, shape [n, d].

        Args:
            ridge: Added to A, in units of its mean diagonal: fewer forces than variables leave A
                singular.
        """
        d = self.vector.shape[1]
        level = ridge * np.trace(self.matrix, axis1=1, axis2=2) / d
        bent = self.matrix + level[:, None, None] * np.eye(d)
        return np.linalg.solve(bent, self.vector[..., None])[..., 0]


def unresolved_fraction(products: ForceProducts) -> Array:
    """U = |x' - psi' phi' x'|^2 / |x'|^2: what an encoder cannot tell of the rates of change.

    It is the noise of L_{x,p}: a drift, however right, leaves this much of the forces over.

    Args:
        products: Of all coordinates.

    Returns:
        Shape [n].

    Raises:
        ValueError: If they are of a part of the coordinates.
    """
    if products.share != 1:
        raise ValueError("The unresolved fraction needs the forces on all coordinates")
    whole = products.size + products.known_size
    push = products.push + products.known_push
    resolved = np.einsum("ni,ni->n", push, np.linalg.solve(products.gram, push[..., None])[..., 0])
    return 1.0 - resolved / whole


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.swapaxes(1, 2)) / 2
