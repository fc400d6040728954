"""The linear transforms of ITK: from a class's parameters to a matrix.

Each class turns about a centre: x' = M (x - c) + c + t, in LPS. Definitions: the classes' headers in ITK,
``Modules/Core/Transform``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trxlib.errors import HeaderError, UnsupportedFormatError
from trxlib.spaces.transforms.linear import LPS, Affine, Linear, check_linear, multiply

__all__ = ["FIELD_CLASSES", "linear_from_itk", "split_class"]

Numbers = npt.NDArray[np.float64]
#: Of these, the parameters are a field.
FIELD_CLASSES = (
    "DisplacementFieldTransform",
    "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
)
_NAME = re.compile(r"(\w+?)_(double|float)_(\d+)_(\d+)")


class _Parts(NamedTuple):
    matrix: Numbers
    translation: Numbers
    centre: Numbers


def split_class(name: str, what: str) -> str:
    """Return the class of a transform's full name, such as ``AffineTransform_double_3_3``.

    Raises
    ------
    HeaderError
        If the name is none.
    UnsupportedFormatError
        If it is a transform of another dimension.
    """
    found = _NAME.fullmatch(name.strip())
    if found is None:
        raise HeaderError(
            f"{what}: {name.strip()!r} is no transform of ITK; expected a name as AffineTransform_double_3_3"
        )
    if found[3] != "3" or found[4] != "3":
        raise UnsupportedFormatError(f"{what}: {name.strip()} is of dimension {found[3]}; streamlines have three")
    return found[1]


def linear_from_itk(kind: str, parameters: Numbers, fixed: Numbers, what: str) -> Linear:
    """Return the matrix of a linear transform, RASMM to RASMM.

    Parameters
    ----------
    kind : str
        The class, without numbers' type and dimensions.
    parameters, fixed : ndarray
        ``Parameters`` and ``FixedParameters`` of the file.
    what : str
        For messages.

    Raises
    ------
    UnsupportedFormatError
        If the class is not linear, or not known.
    HeaderError
        If the numbers are not its parameters.
    """
    try:
        count, nb_fixed, parts_from = _CLASSES[kind]
    except KeyError:
        raise UnsupportedFormatError(
            f"{what} holds a {kind} of ITK, which is not read; make a displacement field of it (antsApplyTransforms -t "
            "file -r image -o [field.nii.gz,1]) or a linear transform (c3d_affine_tool)"
        ) from None
    if parameters.size != count or fixed.size < nb_fixed:
        raise HeaderError(
            f"{what}: a {kind} with {parameters.size} Parameters and {fixed.size} FixedParameters, expected {count} "
            f"and {nb_fixed}"
        )
    if not (np.isfinite(parameters).all() and np.isfinite(fixed).all()):
        raise HeaderError(f"{what}: a {kind} with parameters that are not finite")
    matrix, translation, centre = parts_from(parameters, fixed)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    offset = np.eye(4)
    offset[:3, 3] = translation + centre
    back = np.eye(4)
    back[:3, 3] = -centre
    return check_linear(multiply(LPS, offset, affine, back, LPS), f"{what}: {kind}")


def _affine(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(p[:9].reshape(3, 3), p[9:12], fixed[:3])


def _centred_affine(p: Numbers, _: Numbers) -> _Parts:
    return _Parts(p[:9].reshape(3, 3), p[12:15], p[9:12])


def _euler_matrix(angles: Numbers, is_zyx: bool) -> Numbers:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).tolist(), np.sin(angles).tolist()
    x: Affine = np.array([[1, 0, 0, 0], [0, cx, -sx, 0], [0, sx, cx, 0], [0, 0, 0, 1.0]])
    y: Affine = np.array([[cy, 0, sy, 0], [0, 1, 0, 0], [-sy, 0, cy, 0], [0, 0, 0, 1.0]])
    z: Affine = np.array([[cz, -sz, 0, 0], [sz, cz, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return (multiply(z, y, x) if is_zyx else multiply(z, x, y))[:3, :3]


def _euler(p: Numbers, fixed: Numbers) -> _Parts:
    # Files of older programs do not have the flag: then the order is ZXY.
    return _Parts(_euler_matrix(p[:3], fixed.size > 3 and fixed[3] != 0), p[3:6], fixed[:3])


def _centred_euler(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(_euler_matrix(p[:3], fixed.size > 3 and fixed[3] != 0), p[6:9], p[3:6])


def _quaternion_matrix(x: float, y: float, z: float, w: float) -> Numbers:
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _versor_matrix(right: Numbers) -> Numbers:
    """Three numbers of a unit quaternion; the fourth is not negative. Rounded ones may be a little too long."""
    x, y, z = right.tolist()
    norm = float(np.sqrt(x * x + y * y + z * z))
    if norm > 1:
        x, y, z, norm = x / norm, y / norm, z / norm, 1.0
    return _quaternion_matrix(x, y, z, float(np.sqrt(1 - norm * norm)))


def _versor(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(_versor_matrix(p[:3]), np.zeros(3), fixed[:3])


def _versor_rigid(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(_versor_matrix(p[:3]), p[3:6], fixed[:3])


def _similarity(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(_versor_matrix(p[:3]) * p[6], p[3:6], fixed[:3])


def _scale_versor(p: Numbers, fixed: Numbers) -> _Parts:
    # ITK adds the scales to the diagonal.
    return _Parts(_versor_matrix(p[:3]) + np.diag(p[6:9] - 1), p[3:6], fixed[:3])


def _scale_skew_versor(p: Numbers, fixed: Numbers) -> _Parts:
    matrix = _versor_matrix(p[:3]) + np.diag(p[6:9] - 1)
    matrix[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] += p[9:15]
    return _Parts(matrix, p[3:6], fixed[:3])


def _compose_scale_skew_versor(p: Numbers, fixed: Numbers) -> _Parts:
    skew = np.eye(4)
    skew[[0, 0, 1], [1, 2, 2]] = p[9:12]
    turn, scale = np.eye(4), np.diag([*p[6:9], 1.0])
    turn[:3, :3] = _versor_matrix(p[:3])
    return _Parts(multiply(turn, scale, skew)[:3, :3], p[3:6], fixed[:3])


def _quaternion_rigid(p: Numbers, fixed: Numbers) -> _Parts:
    x, y, z, w = p[:4].tolist()
    matrix = _quaternion_matrix(x, y, z, w)
    # Of a quaternion that is no unit one, ITK makes the matrix of the unit one times its squared length.
    matrix += np.eye(3) * (x * x + y * y + z * z + w * w - 1)
    return _Parts(matrix, p[4:7], fixed[:3])


def _translation(p: Numbers, _: Numbers) -> _Parts:
    return _Parts(np.eye(3), p[:3], np.zeros(3))


def _scale(p: Numbers, fixed: Numbers) -> _Parts:
    return _Parts(np.diag(p[:3]), np.zeros(3), fixed[:3] if fixed.size >= 3 else np.zeros(3))


def _scale_logarithmic(p: Numbers, fixed: Numbers) -> _Parts:
    return _scale(np.exp(p), fixed)


def _identity(*_: Any) -> _Parts:
    return _Parts(np.eye(3), np.zeros(3), np.zeros(3))


#: Class: how many parameters it has, how many fixed ones it needs, and what they mean.
_CLASSES: dict[str, tuple[int, int, Callable[[Numbers, Numbers], _Parts]]] = {
    "AffineTransform": (12, 3, _affine),
    "MatrixOffsetTransformBase": (12, 3, _affine),
    "FixedCenterOfRotationAffineTransform": (12, 3, _affine),
    "Rigid3DTransform": (12, 3, _affine),
    "CenteredAffineTransform": (15, 0, _centred_affine),
    "Euler3DTransform": (6, 3, _euler),
    "CenteredEuler3DTransform": (9, 0, _centred_euler),
    "VersorTransform": (3, 3, _versor),
    "VersorRigid3DTransform": (6, 3, _versor_rigid),
    "Similarity3DTransform": (7, 3, _similarity),
    "ScaleVersor3DTransform": (9, 3, _scale_versor),
    "ScaleSkewVersor3DTransform": (15, 3, _scale_skew_versor),
    "ComposeScaleSkewVersor3DTransform": (12, 3, _compose_scale_skew_versor),
    "QuaternionRigidTransform": (7, 3, _quaternion_rigid),
    "TranslationTransform": (3, 0, _translation),
    "ScaleTransform": (3, 0, _scale),
    "ScaleLogarithmicTransform": (3, 0, _scale_logarithmic),
    "IdentityTransform": (0, 0, _identity),
}
