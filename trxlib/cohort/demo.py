"""The data of the demonstration: bundles of five people that come with DIPY, and how they come into one space."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.atomic import writing

__all__ = ["make_demo_data", "register_demo"]

Paths = Iterable[str | Path]
_BUNDLES = ("AF_L", "CST_R", "CC_ForcepsMajor")
_SUBJECTS = (1, 2, 3, 4, 5)


def make_demo_data(trk: Paths, tck: Paths) -> None:
    """Unpack the bundles of five people that come with DIPY, as they are: each person in a space of their own.

    Parameters
    ----------
    trk, tck : iterable of path
        Files to write, ``<folder>/sub-0<number>/<bundle>.<format>``.
    """
    import nibabel as nib

    with _open_bundles() as bundles:
        for target in map(Path, [*trk, *tck]):
            target.parent.mkdir(parents=True, exist_ok=True)
            number = int(target.parent.name.removeprefix("sub-"))
            data = bundles.read(f"sub_{number}/{target.stem}.trk")
            with writing(target) as partial:
                partial.write_bytes(data)
                if target.suffix == ".tck":
                    tractogram = nib.streamlines.TrkFile.load(partial).tractogram
                    nib.streamlines.TckFile(tractogram).save(partial)


def register_demo(folder: str | Path) -> None:
    """Register the five people of the demonstration, and write the transforms that its sample sheet names.

    DIPY's streamline-based linear registration turns and shifts each person's streamlines onto those of the first.
    Lengths and volumes stay those of the person, since nothing is scaled. Then all are moved together, so that the
    cohort's space lies in the middle of the five and not where the first person happened to lie.

    The transforms are part of the repository (``config/demo``) and not made by the workflow: the last digits of an
    optimiser's result depend on processor and library, and an archive has to have the same bytes everywhere.

    Parameters
    ----------
    folder : path
        Gets ``sub-0<number>_to_cohort.txt``: four rows of four numbers, RAS mm of the person to RAS mm of the cohort.
    """
    from dipy.align.streamlinear import StreamlineLinearRegistration

    with _open_bundles() as bundles:
        people = [_read_streamlines(bundles, number) for number in _SUBJECTS]
    # Each streamline is compared with the nearest one of the other person; here that is always one of the same bundle.
    registration = StreamlineLinearRegistration(x0="rigid", num_threads=1)
    to_first = [registration.optimize(people[0], person).matrix for person in people]
    middle = _mean_rigid([np.linalg.inv(matrix) for matrix in to_first])
    for number, matrix in zip(_SUBJECTS, to_first, strict=True):
        rows = [" ".join(f"{value:11.6f}" for value in row) for row in middle @ matrix]
        comments = [f"# trxlib ras: RASMM of sub-0{number} (mm) to RASMM of the cohort (mm)"]
        comments += ["# Made by trxlib.cohort.demo.register_demo from the bundles of all five."]
        with writing(Path(folder) / f"sub-0{number}_to_cohort.txt") as partial:
            partial.write_text("\n".join([*comments, *rows, ""]), encoding="ascii", newline="\n")


def _open_bundles() -> zipfile.ZipFile:
    import dipy

    return zipfile.ZipFile(Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip")


def _read_streamlines(bundles: zipfile.ZipFile, number: int) -> Any:
    """Return the streamlines of all bundles of a person, as DIPY's Streamlines."""
    import nibabel as nib
    from dipy.tracking.streamline import Streamlines

    streamlines = Streamlines()
    for name in _BUNDLES:
        with bundles.open(f"sub_{number}/{name}.trk") as file:
            streamlines.extend(nib.streamlines.TrkFile.load(file).streamlines)
    return streamlines


def _mean_rigid(matrices: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the mean of transforms that turn and shift, as one that does no more either."""
    mean = np.mean(matrices, axis=0)
    left, _, right = np.linalg.svd(mean[:3, :3])
    mean[:3, :3] = left @ right  # the rotation nearest to a mean of rotations
    return np.asarray(mean)
