"""Drop-in for ``trx.io`` of the TRX reference package: load and save a tractogram of any format.

Examples
--------
>>> import trxlib.io
>>> sft = trxlib.io.load("sub-01.trk")
>>> trxlib.io.save(sft, "from_trk.trx")
>>> len(trxlib.io.load("from_trk.trx"))
4
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from trxlib.container.atomic import temporary_root
from trxlib.errors import HeaderWarning, InputError, UnsupportedFormatError, warn
from trxlib.trxfile import functions, tractograms
from trxlib.trxfile.trxfile import TrxFile

__all__ = ["dipy_available", "get_trx_tmp_dir", "load", "load_sft_with_reference", "save"]

dipy_available = tractograms.dipy_available()
_WITHOUT_SPACE = (".tck", ".fib", ".vtk", ".dpy")


def get_trx_tmp_dir() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for temporary data, under ``TRX_TMPDIR`` or the system's folder.

    Returns
    -------
    tempfile.TemporaryDirectory
        Its ``name`` is the path; ``cleanup()``, or the end of a with block, removes it.

    Examples
    --------
    >>> from pathlib import Path
    >>> with trxlib.io.get_trx_tmp_dir() as folder:
    ...     Path(folder).is_dir()
    True
    """
    return tempfile.TemporaryDirectory(prefix="trx_", dir=temporary_root(), ignore_cleanup_errors=True)


def load_sft_with_reference(
    filepath: str | os.PathLike[str], reference: Any = None, bbox_check: bool = True, from_space: Any = None
) -> Any:
    """Load a TRK, TCK, VTK, FIB or DPY file with dipy.

    Parameters
    ----------
    filepath : path
        The tractogram.
    reference : path or nibabel image, optional
        Gives the space of formats that have none; a TRK file has its own, and another is left alone.
    bbox_check : bool
        Whether streamlines outside of the reference are an error.
    from_space : dipy.io.stateful_tractogram.Space, optional
        In which a VTK, FIB or DPY file was written.

    Returns
    -------
    dipy.io.stateful_tractogram.StatefulTractogram

    Raises
    ------
    InputError
        If a reference is needed; it is an OSError, too, as in the reference package.
    UnsupportedFormatError
        If the suffix is another one; an OSError, too.

    Examples
    --------
    >>> len(trxlib.io.load_sft_with_reference("sub-01.tck", "b0.nii.gz"))
    4
    """
    from dipy.io.streamline import load_tractogram  # slow to import

    path = os.fspath(filepath)
    suffix = Path(path).suffix
    if suffix == ".trk":
        if reference is not None and reference != "same":
            warn(f"{path}: a TRK file has a space of its own; the reference is not looked at", HeaderWarning)
        reference = "same"
    elif suffix not in _WITHOUT_SPACE:
        raise _UnsupportedFileError(f"{path}: is no .trk, .tck, .fib, .vtk or .dpy; trxlib.convert reads more formats")
    elif reference is None or (isinstance(reference, str) and reference == "same"):
        raise _ReferenceNeededError(f"{path}: a {suffix} file has no space; give an image as reference")
    return load_tractogram(path, reference, bbox_valid_check=bbox_check, from_space=from_space)


def load(tractogram_filename: str | os.PathLike[str], reference: Any = None, from_space: Any = None) -> Any:
    """Load a tractogram of any of these formats.

    Parameters
    ----------
    tractogram_filename : path
        A TRX archive or folder, or a file that `load_sft_with_reference` takes.
    reference : path or nibabel image, optional
        Gives the space of formats that have none.
    from_space : dipy.io.stateful_tractogram.Space, optional
        In which a VTK, FIB or DPY file was written.

    Returns
    -------
    TrxFile or dipy.io.stateful_tractogram.StatefulTractogram
        A TrxFile of a TRX archive or folder.

    Examples
    --------
    >>> type(trxlib.io.load("sub-01.trx")).__name__, type(trxlib.io.load("sub-01.trk")).__name__
    ('TrxFile', 'StatefulTractogram')
    """
    if Path(tractogram_filename).suffix == ".trx" or Path(tractogram_filename).is_dir():
        return functions.load(tractogram_filename)
    return load_sft_with_reference(tractogram_filename, reference, bbox_check=False, from_space=from_space)


def save(tractogram_obj: Any, tractogram_filename: str | os.PathLike[str], bbox_valid_check: bool = False) -> None:
    """Save a tractogram in the format that the name's suffix says.

    Parameters
    ----------
    tractogram_obj : TrxFile or dipy.io.stateful_tractogram.StatefulTractogram
        A TrxFile that is saved as ``.trx`` is closed after that, as in the reference package.
    tractogram_filename : path
        ``.trx`` gives an archive; anything else is written by dipy.
    bbox_valid_check : bool
        Whether streamlines outside of the grid are an error, in other formats than TRX.

    Examples
    --------
    >>> trxlib.io.save(trxlib.load("sub-01.trx"), "again.trk")
    >>> len(trxlib.io.load("again.trk"))
    4
    """
    if Path(tractogram_filename).suffix == ".trx":
        trx = tractogram_obj if isinstance(tractogram_obj, TrxFile) else TrxFile.from_sft(tractogram_obj)
        functions.save(trx, tractogram_filename)
        trx.close()
        return
    from dipy.io.streamline import save_tractogram  # slow to import

    sft = tractogram_obj.to_sft() if isinstance(tractogram_obj, TrxFile) else tractogram_obj
    save_tractogram(sft, os.fspath(tractogram_filename), bbox_valid_check=bbox_valid_check)


class _ReferenceNeededError(InputError, OSError):  # who calls the reference package catches OSError
    """A reference is needed and was not given."""


class _UnsupportedFileError(UnsupportedFormatError, OSError):
    """A file of another format."""
