"""Transforms as the formats define them, written without trxlib, and maps of points that are known everywhere."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (50, 62, 36)


def make_points(count: int = 500, seed: int = 0, reach: float = 25.0) -> np.ndarray:
    """Points around the origin, well inside the grid of `OBLIQUE` and `SHAPE`."""
    return np.random.default_rng(seed).uniform(-reach, reach, (count, 3))


def make_rigid(angles: Any = (0.2, -0.3, 0.25), translation: Any = (7.0, -4.0, 3.0)) -> np.ndarray:
    """A rotation about x, then y, then z, and a translation."""
    x, y, z = angles
    turn_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    turn_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    turn_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(turn_z) @ np.array(turn_y) @ np.array(turn_x)
    matrix[:3, 3] = translation
    return matrix


def make_oblique() -> np.ndarray:
    """Oblique, anisotropic, with the middle of a grid of `SHAPE` at the origin."""
    affine = make_rigid((0.1, 0.2, 0.15), (0, 0, 0)) @ np.diag([2.0, 1.5, 2.5, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) / 2)
    return affine


OBLIQUE = make_oblique()


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def bend(points: np.ndarray, amplitude: float = 5.0) -> np.ndarray:
    """Move points smoothly, each by another way and by up to some mm."""
    x, y, z = points.T
    return points + amplitude * np.stack(
        [np.sin(0.04 * y + 0.3) - 0.4, np.cos(0.05 * z) * np.sin(0.03 * x), 0.5 + np.sin(0.04 * x - 0.02 * y)], axis=1
    )


def grid_points(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """RASMM of all voxels, shape (nx, ny, nz, 3)."""
    voxels = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    return move(affine, voxels.reshape(-1, 3)).reshape(*shape, 3)


def write_image(path: Path, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE) -> Path:
    """A NIfTI image with nothing in it, its qform and sform equal."""
    image = nib.Nifti1Image(np.zeros(shape, dtype=np.uint8), affine)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, path)
    return path


def write_rows(path: Path, matrix: np.ndarray, comment: str = "") -> Path:
    """Four rows of four numbers."""
    rows = "\n".join("  ".join(f"{value:.17g}" for value in row) for row in matrix)
    path.write_text(f"{comment}{rows}\n")
    return path


def write_mrtrix(path: Path, matrix: np.ndarray) -> Path:
    """As mrregister writes it."""
    return write_rows(
        path, matrix, "# command_history: mrregister native.mif template.mif -rigid out.txt  (version=3.0.4)\n"
    )


def itk_text(*parts: tuple[str, Any, Any]) -> str:
    """Text of ITK: (name, Parameters, FixedParameters) of each transform."""
    lines = ["#Insight Transform File V1.0"]
    for number, (name, parameters, fixed) in enumerate(parts):
        lines += [f"#Transform {number}", f"Transform: {name}"]
        if parameters is not None:
            lines += [f"{key}: {' '.join(map(repr, map(float, values)))}" for key, values in
                      (("Parameters", parameters), ("FixedParameters", fixed))]  # fmt: skip
    return "\n".join(lines) + "\n"


def itk_matlab(*parts: tuple[str, Any, Any], code: int = 0) -> bytes:
    """Matlab 4, as ITK writes it: each array a column with its name."""
    dtype = {0: "<f8", 10: "<f4", 1000: ">f8"}[code]
    data = b""
    for name, parameters, fixed in parts:
        for title, values in ((name, parameters), ("fixed", fixed)):
            numbers = np.asarray(values, dtype=dtype)
            data += (
                struct.pack("<5i", code, numbers.size, 1, 0, len(title) + 1)
                + title.encode()
                + b"\0"
                + numbers.tobytes()
            )
    return data


def write_itk_hdf5(path: Path, *parts: tuple[str, Any, Any], misspelled: bool = True) -> Path:
    """HDF5 of ITK; for years it wrote Tranform."""
    prefix = "Tranform" if misspelled else "Transform"
    with h5py.File(path, "w") as file:
        for number, (name, parameters, fixed) in enumerate(parts):
            group = file.create_group(f"TransformGroup/{number}")
            group.create_dataset("TransformType", data=[name], dtype=h5py.string_dtype("ascii"))
            if parameters is not None:
                group.create_dataset(
                    f"{prefix}Parameters",
                    data=np.asarray(parameters),
                    compression="gzip" if len(parameters) > 20 else None,
                )
                group.create_dataset(f"{prefix}FixedParameters", data=np.asarray(fixed, dtype=np.float64))
    return path


def itk_affine(
    matrix: np.ndarray, kind: str = "AffineTransform_double_3_3", centre: Any = (4.0, -9.0, 13.0)
) -> tuple[str, Any, Any]:
    """A RASMM matrix as ITK says it: in LPS, about a centre."""
    lps = LPS @ matrix @ LPS
    centre = np.asarray(centre)
    translation = lps[:3, 3] - centre + lps[:3, :3] @ centre
    return kind, [*lps[:3, :3].ravel(), *translation], centre


def displacements(function: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A displacement field in LPS, shape (nx, ny, nz, 3)."""
    points = grid_points(affine, shape).reshape(-1, 3)
    return ((function(points) - points) * (-1, -1, 1)).reshape(*shape, 3)


def itk_field(function: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE) -> tuple[str, Any, Any]:
    """A displacement field as it stands in a composite."""
    lps = LPS @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(axis=0))
    fixed = [*shape, *lps[:3, 3], *spacing, *(lps[:3, :3] / spacing).ravel()]
    # x runs fastest, and the three numbers of a voxel lie side by side.
    parameters = displacements(function, affine, shape).transpose(2, 1, 0, 3).ravel()
    return "DisplacementFieldTransform_float_3_3", parameters.astype(np.float32), fixed


def write_itk_warp(
    path: Path, function: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE, **fields: Any
) -> Path:
    """A warp as ANTs writes it: five axes, intent 1007, LPS."""
    data = displacements(function, affine, shape)[:, :, :, None, :].astype(fields.pop("dtype", np.float32))
    return write_field(path, data, affine, intent_code=1007, **fields)


def write_field(path: Path, data: np.ndarray, affine: np.ndarray = OBLIQUE, **fields: Any) -> Path:
    """An image with fields of its header set."""
    image = nib.Nifti1Image(data, affine)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    for key, value in fields.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def deformation(function: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Positions in RAS, shape (nx, ny, nz, 3)."""
    return function(grid_points(affine, shape).reshape(-1, 3)).reshape(*shape, 3)


def write_mrtrix_warp(path: Path, function: Any, affine: np.ndarray = OBLIQUE, shape: tuple[int, ...] = SHAPE) -> Path:
    """A deformation field as MRtrix writes it in NIfTI."""
    data = deformation(function, affine, shape).astype(np.float32)
    return write_field(path, data, affine, descrip=b"MRtrix version: 3.0.4")


def mif_bytes(
    data: np.ndarray, affine: np.ndarray, layout: str = "+1,+2,+3,+0", datatype: str = "Float32LE", **fields: Any
) -> bytes:
    """An image of MRtrix; the layout says how fast each axis runs in the file."""
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    dtype = {"Float32LE": "<f4", "Float64BE": ">f8"}[datatype]
    lines = [
        "mrtrix image",
        f"dim: {','.join(map(str, data.shape))}",
        f"vox: {','.join(repr(float(edge)) for edge in edges)},nan",
        f"layout: {layout}",
        f"datatype: {datatype}",
        *(f"transform: {','.join(repr(float(v)) for v in [*row[:3] / edges, row[3]])}" for row in affine[:3]),
        *(f"{key}: {value}" for key, value in fields.items()),
    ]
    head = "\n".join(lines) + "\nfile: . "
    offset = len(head) + 20
    ranks = [abs(int(item)) for item in layout.split(",")]
    flips = tuple(slice(None, None, -1 if item.startswith("-") else 1) for item in layout.split(","))
    raw = data[flips].transpose(sorted(range(data.ndim), key=lambda axis: -ranks[axis]))
    return (head + f"{offset}\nEND\n").encode().ljust(offset, b"\0") + np.ascontiguousarray(raw, dtype=dtype).tobytes()


def lta_volume(name: str, affine: np.ndarray, shape: tuple[int, ...], valid: int = 1) -> str:
    """A volume's grid as FreeSurfer says it: direction of each axis, and where the middle of the grid is."""
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    rows = [
        f"{key}   = {' '.join(f'{v:.15e}' for v in affine[:3, k] / edges[k])}"
        for k, key in enumerate(("xras", "yras", "zras"))
    ]
    centre = move(affine, np.array(shape) / 2)
    return "\n".join(
        [
            f"{name} volume info",
            f"valid = {valid}  # volume info valid",
            f"filename = /data/{name}.mgz",
            f"volume = {' '.join(map(str, shape))}",
            f"voxelsize = {' '.join(f'{edge:.15e}' for edge in edges)}",
            *rows,
            f"cras   = {' '.join(f'{v:.15e}' for v in centre)}",
        ]
    )


def lta_text(
    matrix: np.ndarray, kind: int, source: tuple[Any, Any], destination: tuple[Any, Any], **options: Any
) -> str:
    """An LTA file of a RASMM matrix from source to destination; a pair is affine and shape."""
    names = {0: "LINEAR_VOX_TO_VOX", 1: "LINEAR_RAS_TO_RAS"}
    if kind == 0:
        matrix = np.linalg.inv(destination[0]) @ matrix @ source[0]
    rows = "\n".join(" ".join(f"{value:.15e}" for value in row) for row in matrix)
    return (
        f"# transform file /data/out.lta\n# created by somebody\n\ntype      = {kind} # {names.get(kind, 'OTHER')}\n"
        f"nxforms   = {options.get('nxforms', 1)}\nmean      = 0.0000 0.0000 0.0000\nsigma     = 10000.0000\n1 4 4\n"
        f"{rows}\n{lta_volume('src', *source, valid=options.get('valid', 1))}\n{lta_volume('dst', *destination)}\n"
        "subject fsaverage\nfscale 0.150000\n"
    )


def flirt_point(affine: np.ndarray, shape: tuple[int, ...], point: np.ndarray) -> np.ndarray:
    """Where FLIRT says a RASMM point is: mm along the image's axes, x from the other end if left is on the left."""
    edges = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    voxel = np.linalg.solve(affine, [*point, 1])[:3]
    if np.linalg.det(affine[:3, :3]) > 0:
        voxel[0] = shape[0] - 1 - voxel[0]
    return voxel * edges


def flirt_matrix(matrix: np.ndarray, source: tuple[Any, Any], reference: tuple[Any, Any]) -> np.ndarray:
    """What FLIRT writes for a RASMM matrix from source to reference, fitted to where it moves points."""
    points = make_points(20, seed=5)
    before = np.array([[*flirt_point(*source, point), 1] for point in points])
    after = np.array([flirt_point(*reference, point) for point in move(matrix, points)])
    rows, *_ = np.linalg.lstsq(before, after, rcond=None)
    return np.vstack([rows.T, [0, 0, 0, 1]])


def tck_bytes(streamlines: list[np.ndarray]) -> bytes:
    """A TCK file."""
    head = b"mrtrix tracks\ndatatype: Float32LE\ncount: %d\nfile: . 100\nEND\n" % len(streamlines)
    rows = [part for streamline in streamlines for part in (streamline, np.full((1, 3), np.nan))]
    return head.ljust(100, b"\0") + np.vstack([*rows, np.full((1, 3), np.inf)]).astype("<f4").tobytes()


def read_tck(path: Path) -> np.ndarray:
    """The vertices of a TCK file."""
    data = path.read_bytes()
    offset = int(data.split(b"file: . ")[1].split()[0])
    rows = np.frombuffer(data[offset:], "<f4").reshape(-1, 3)
    return rows[np.isfinite(rows).all(axis=1)]
