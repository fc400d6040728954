"""The data of the demonstration: bundles of five people that come with DIPY, so that nothing is downloaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from trxlib.container.atomic import writing

__all__ = ["make_demo_data"]

Paths = Iterable[str | Path]


def make_demo_data(trk: Paths, tck: Paths, reference: str | Path) -> None:
    """Unpack the bundles of five people that come with DIPY.

    Parameters
    ----------
    trk, tck : iterable of path
        Files to write, ``<folder>/sub-0<number>/<bundle>.<format>``.
    reference : path
        Image to write, in the space of all bundles.
    """
    import dipy
    import nibabel as nib
    import numpy as np

    # Their headers say 1 x 1 x 1 voxels, and so does this image: it is their affine that counts.
    nib.save(nib.Nifti1Image(np.zeros((1, 1, 1), dtype=np.uint8), np.eye(4)), reference)
    with zipfile.ZipFile(Path(dipy.__file__).parent / "data" / "files" / "minimal_bundles.zip") as bundles:
        for target in map(Path, [*trk, *tck]):
            target.parent.mkdir(parents=True, exist_ok=True)
            number = int(target.parent.name.removeprefix("sub-"))
            data = bundles.read(f"sub_{number}/{target.stem}.trk")
            with writing(target) as partial:
                partial.write_bytes(data)
                if target.suffix == ".tck":
                    tractogram = nib.streamlines.TrkFile.load(partial).tractogram
                    nib.streamlines.TckFile(tractogram).save(partial)
