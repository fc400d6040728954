"""Six subjects of one space, each moved away from it by maps that are known, and the files that lead them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.spaces import transform_files as files

COLUMNS = (
    "cohort",
    "subject",
    "bundle",
    "tractogram",
    "reference",
    "transform",
    "transform_format",
    "transform_inverse",
    "transform_source",
)
FOLDER = "moved by others"  # paths with blanks are paths
REFERENCE = "template.nii.gz"
#: A grid around that of the reference, for fields: 3 mm, and larger by 60 mm to each side.
MARGIN = 20
BEND = "bend"


@dataclass
class Moved:
    """A row of the sheet, where its streamlines are to come to, and how far off they may be.

    Parameters
    ----------
    cells : dict
        By column.
    expected : list of ndarray
        Streamlines in the space of the reference.
    tolerance : float
        In mm.
    kinds : list of str
        Of the steps that the record is to tell: the format of each file.
    """

    cells: dict[str, str]
    expected: list[np.ndarray]
    tolerance: float
    kinds: list[str]


def go_back(steps: Sequence[Any], points: np.ndarray) -> np.ndarray:
    """Return the points that steps, matrices and "bend", bring to `points`."""
    found = points.copy()
    for step in reversed(steps):
        if not isinstance(step, str):
            found = files.move(np.linalg.inv(step), found)
            continue
        target, found = found, found.copy()
        for _ in range(40):  # near to the identity, so that repetition leads there
            found += target - files.bend(found)
    return found


class Builder:
    """Writes the files of a cohort into a folder."""

    def __init__(self, folder: Path, cohort_folder: Path) -> None:
        self.folder, self.source = folder, cohort_folder
        (folder / FOLDER).mkdir()
        image = nib.load(cohort_folder / "desc-b0_dwiref.nii.gz")
        self.affine, self.shape = image.affine, image.shape[:3]
        (folder / REFERENCE).write_bytes((cohort_folder / "desc-b0_dwiref.nii.gz").read_bytes())
        self.rows: list[Moved] = []
        self._taken: dict[str, int] = {}

    def field_grid(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return a grid in which a field covers all streamlines."""
        affine = self.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN)
        return affine, tuple(size + 2 * MARGIN for size in self.shape)

    def take(self, subject: str, count: int) -> list[np.ndarray]:
        """Return the next streamlines of a subject's real file, RASMM."""
        (path,) = [*self.source.glob(f"{subject}/dwi/*tractogram.trk"), *self.source.glob(f"{subject}/dwi/*.tck")]
        first = self._taken.get(subject, 0)
        self._taken[subject] = first + count
        streamlines = nib.streamlines.load(path).streamlines[first : first + count]
        return [np.asarray(streamline, dtype=np.float64) for streamline in streamlines]

    def path(self, name: str) -> str:
        """Return a path as the sheet names it."""
        return f"{FOLDER}/{name}"

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file and return its path as the sheet names it."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / FOLDER / name).write_bytes(data)
        return self.path(name)

    def write_tractogram(self, name: str, streamlines: Sequence[np.ndarray], affine: np.ndarray) -> str:
        """Write a TRK, whose header states a grid, or a TCK, which states none."""
        lines = [np.asarray(points, dtype=np.float32) for points in streamlines]
        if name.endswith(".tck"):
            return self.write(name, files.tck_bytes(lines))
        header = {"voxel_to_rasmm": affine, "dimensions": self.shape, "voxel_sizes": nib.affines.voxel_sizes(affine)}
        header["voxel_order"] = "".join(nib.aff2axcodes(affine))
        tractogram = nib.streamlines.Tractogram(lines, affine_to_rasmm=np.eye(4))
        nib.streamlines.save(tractogram, str(self.folder / self.path(name)), header=header)
        return self.path(name)

    def add(
        self,
        subject: str,
        bundle: str,
        steps: Sequence[Any],
        transform: str,
        kinds: Sequence[str],
        *,
        native: np.ndarray | None = None,
        tolerance: float = 0.01,
        count: int = 60,
        **cells: str,
    ) -> None:
        """Move some streamlines away by the inverse of `steps` and note the file that brings them back."""
        expected = self.take(subject, count)
        ends = np.cumsum([len(points) for points in expected])[:-1]
        moved = np.split(go_back(steps, np.concatenate(expected)), ends)
        suffix = "tck" if subject in ("sub-04", "sub-05") else "trk"
        tractogram = self.write_tractogram(
            f"{subject}_{bundle}.{suffix}", moved, self.affine if native is None else native
        )
        row: dict[str, Any] = {"cohort": "back", "subject": subject, "bundle": bundle, "tractogram": tractogram}
        row |= {"reference": REFERENCE, "transform": transform, **cells}
        self.rows.append(Moved(row, expected, tolerance, list(kinds)))

    def write_sheet(self, path: str = "config/samples.tsv") -> None:
        """Write the sample sheet."""
        lines = ["\t".join(COLUMNS), *("\t".join(row.cells.get(name, "") for name in COLUMNS) for row in self.rows)]
        (self.folder / path).write_text("\n".join(lines) + "\n")


def make_moved_cohort(folder: Path, cohort_folder: Path) -> list[Moved]:
    """Write six subjects, two files each, the files of their transforms and the sheet; return its rows."""
    make = Builder(folder, cohort_folder)
    turn, shift = files.make_rigid(), files.make_rigid((0.05, 0.1, -0.1), (-6, 9, 4))
    grid = make.field_grid()
    native = np.linalg.inv(turn) @ make.affine  # the image of a subject whose brain lies elsewhere

    # RAS text, and the same the other way.
    rows = files.write_rows(folder / FOLDER / "01.txt", turn)
    make.add("sub-01", "one", [turn], make.path(rows.name), ["ras"], native=native, transform_format="ras")
    rows = files.write_rows(folder / FOLDER / "01_back.txt", np.linalg.inv(turn))
    make.add("sub-01", "two", [turn], make.path(rows.name), ["ras"], transform_format="ras", transform_inverse="yes")

    # ITK: text, Matlab.
    text = make.write("02.tfm", files.itk_text(files.itk_affine(turn)))
    make.add("sub-02", "one", [turn], text, ["itk"], native=native)
    matlab = make.write("02_0GenericAffine.mat", files.itk_matlab(files.itk_affine(np.linalg.inv(shift))))
    make.add("sub-02", "two", [shift], matlab, ["itk"], transform_inverse="yes")

    # FreeSurfer, and FLIRT, which needs both images.
    image = files.write_image(folder / FOLDER / "native image.nii.gz", native, make.shape)
    lta = make.write("03.lta", files.lta_text(turn, 0, (native, make.shape), (make.affine, make.shape)))
    make.add("sub-03", "one", [turn], lta, ["lta"], native=native)
    flirt = files.flirt_matrix(turn, (native, make.shape), (make.affine, make.shape))
    rows = files.write_rows(folder / FOLDER / "03_flirt.mat", flirt)
    make.add(
        "sub-03",
        "two",
        [turn],
        make.path(rows.name),
        ["fsl"],
        native=native,
        transform_format="fsl",
        transform_source=make.path(image.name),
    )

    # MRtrix: linear, which is a rule for images, and a warp.
    rows = files.write_mrtrix(folder / FOLDER / "04.txt", np.linalg.inv(shift))
    make.add("sub-04", "one", [shift], make.path(rows.name), ["mrtrix"])
    rows = files.write_mrtrix_warp(folder / FOLDER / "04 warp.nii.gz", files.bend, *grid)
    make.add("sub-04", "two", [BEND], make.path(rows.name), ["mrtrix"], tolerance=0.05)

    # ANTs: a displacement field, and a composite of a matrix behind a field.
    rows = files.write_itk_warp(folder / FOLDER / "05_1InverseWarp.nii.gz", files.bend, *grid)
    make.add("sub-05", "one", [BEND], make.path(rows.name), ["itk"], tolerance=0.05)
    composite = ("CompositeTransform_double_3_3", None, None)
    # The last in a composite is applied to points first.
    parts = (composite, files.itk_affine(shift), files.itk_field(files.bend, *grid))
    rows = files.write_itk_hdf5(folder / FOLDER / "05_Composite.h5", *parts)

    make.add("sub-05", "two", [BEND, shift], make.path(rows.name), ["itk"], tolerance=0.05)

    # Several in a row, as antsRegistration leaves them: the matrix the other way, then the inverse warp.
    chain = f"{matlab};{make.path('05_1InverseWarp.nii.gz')}"
    make.add("sub-06", "one", [shift, BEND], chain, ["itk", "itk"], tolerance=0.05, transform_inverse="yes; no")
    chain = f"{make.path('04 warp.nii.gz')}; {make.path('01_back.txt')} ;{make.path('03_flirt.mat')}"
    make.add(
        "sub-06",
        "two",
        [BEND, turn, turn],
        chain,
        ["mrtrix", "ras", "fsl"],
        tolerance=0.05,
        transform_format=";ras;fsl",
        transform_inverse="no;yes;no",
        transform_source=f";;{make.path(image.name)}",
    )
    make.write_sheet()
    return make.rows
