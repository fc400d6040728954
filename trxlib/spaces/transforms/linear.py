"""Linear transforms: 4x4 matrices that move points in RASMM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderWarning, warn
from trxlib.model.header import check_affine
from trxlib.model.space import invert_affine

__all__ = ["LPS", "Linear", "check_linear", "invert", "move_columns", "multiply"]

Affine = npt.NDArray[np.float64]
Columns = npt.NDArray[np.float64]
#: RAS to LPS, and back: they differ by the sign of the first two axes.
LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Linear:
    """A matrix that moves points.

    Parameters
    ----------
    matrix : ndarray, float64 of shape (4, 4)
        RASMM to RASMM, mm.
    """

    matrix: Affine

    def inverse(self) -> Linear:
        """Return the way back."""
        return Linear(invert(self.matrix, "transform"))

    def then(self, other: Linear) -> Linear:
        """Return one matrix for this one and then `other`."""
        return Linear(multiply(other.matrix, self.matrix))

    def to_json(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {"kind": "linear", "matrix": self.matrix.tolist()}


def multiply(*matrices: Affine) -> Affine:
    """Return the product of affines, with sums of one order and no BLAS, so that every machine gives the same bits."""
    product = matrices[0].tolist()
    for matrix in matrices[1:]:
        columns = matrix.T.tolist()
        product = [[_dot(row, column) for column in columns] for row in product]
    return np.array(product)


def _dot(first: list[float], second: list[float]) -> float:
    a, b, c, d = (x * y for x, y in zip(first, second, strict=True))
    return float(a + b + c + d)


def invert(matrix: Affine, what: str) -> Affine:
    """Return the inverse of an affine, by cofactors, so that every machine gives the same bits.

    Raises
    ------
    HeaderError
        If it is singular.
    """
    invert_affine(matrix, what)
    (a, b, c, x), (d, e, f, y), (g, h, i, z), _ = matrix.tolist()
    cofactors = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    rows = [[value / determinant for value in row] for row in cofactors]
    return np.array([*([*row, -(row[0] * x + row[1] * y + row[2] * z)] for row in rows), [0.0, 0.0, 0.0, 1.0]])


def check_linear(matrix: npt.ArrayLike, what: str) -> Linear:
    """Return a checked matrix.

    Raises
    ------
    HeaderError
        If it is not 4 x 4, finite and invertible with 0 0 0 1 as its last row.
    """
    checked = check_affine(matrix, what)
    invert_affine(checked, what)
    if np.linalg.det(checked[:3, :3]) < 0:
        warn(
            f"{what} mirrors: its determinant is negative, so left and right change sides; registrations do not do so, "
            "so look whether format and images are the right ones",
            HeaderWarning,
        )
    return Linear(checked)


def move_columns(matrix: Affine, columns: Columns, out: Columns, term: Columns) -> None:
    """Apply a matrix to points that lie in three rows.

    The sums have one order and no BLAS, so that every machine gives the same bits. Terms with a zero are left out.

    Parameters
    ----------
    matrix : ndarray, float64 of shape (4, 4)
        What to apply.
    columns : ndarray, float64 of shape (3, n)
        x, y and z of the points.
    out : ndarray, float64 of shape (3, n)
        Where to put them; not `columns` itself.
    term : ndarray, float64 of shape (n,)
        Memory for one product.
    """
    for row, target in zip(matrix[:3].tolist(), out, strict=True):
        target.fill(row[3])
        for factor, column in zip(row[:3], columns, strict=True):
            if factor:
                np.multiply(column, factor, out=term)
                np.add(target, term, out=target)
