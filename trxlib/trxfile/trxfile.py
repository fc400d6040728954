"""TrxFile: a tractogram in memory or mapped from disk, with the names of the TRX reference API."""

from __future__ import annotations

from typing import Any

import numpy as np

from trxlib.errors import InputError
from trxlib.model.header import Header
from trxlib.model.select import Selection
from trxlib.model.space import Space
from trxlib.trxfile import append, edit, lazy_tractograms, tractograms
from trxlib.trxfile.content import Content, Loaded
from trxlib.trxfile.operations import Operations
from trxlib.trxfile.preallocated import check_count

__all__ = ["TrxFile"]

_DTYPES: dict[str, Any] = {"positions": np.float32, "offsets": np.uint32, "dpv": {}, "dps": {}}


class TrxFile(Operations):
    """Streamlines with their data, groups and header.

    The attributes are ordinary: assign to them, or write into the arrays. Nothing reaches a file on disk before
    `save`, unless it was loaded with ``mode="r+"``.

    Parameters
    ----------
    nb_vertices, nb_streamlines : int, optional
        How many to make room for, in a temporary file; give both, or none. `append` and `concatenate` fill the room,
        and `resize` removes what is left of it.
    init_as : TrxFile, optional
        The preallocated file gets the space, types, dps and dpv keys of this one, and no values.
    reference : str, dict, nibabel image, header or TrkFile, optional
        The file gets the space of this one, see `trxlib.convert`. By default it has one voxel of 1 mm, which the first
        streamlines that are appended replace by their space.

    Attributes
    ----------
    header : dict
        ``VOXEL_TO_RASMM`` (4 x 4), ``DIMENSIONS`` (3 uint16), ``NB_STREAMLINES``, ``NB_VERTICES``, and any keys
        that the file had besides.

    Raises
    ------
    InputError
        If only one of the numbers is given, or `init_as` without them.

    Examples
    --------
    >>> trx = trxlib.load("cohort.trx")
    >>> len(trx), len(trx[2:4]), len(trx[trx.data_per_streamline["weight"].ravel() > 3])
    (8, 2, 2)

    A file of two streamlines, in the space of an image:

    >>> from nibabel.streamlines import ArraySequence
    >>> trx = trxlib.TrxFile(reference="b0.nii.gz")
    >>> trx.streamlines = ArraySequence([np.zeros((3, 3), np.float32), np.ones((2, 3), np.float32)])
    >>> trx.data_per_streamline["weight"] = np.array([[0.5], [1.0]], np.float32)
    >>> trxlib.save(trx, "two.trx")
    >>> trxlib.describe("two.trx")["nb_vertices"]
    5
    """

    def __init__(
        self,
        nb_vertices: int | None = None,
        nb_streamlines: int | None = None,
        init_as: TrxFile | None = None,
        reference: Any = None,
    ) -> None:
        if (nb_vertices is None) != (nb_streamlines is None):
            raise InputError("give both nb_vertices and nb_streamlines to preallocate, or none of them")
        if init_as is not None and nb_vertices is None:
            raise InputError("init_as needs nb_vertices and nb_streamlines; use deepcopy() for a full copy")
        nb_vertices = check_count(nb_vertices or 0, "nb_vertices")
        nb_streamlines = check_count(nb_streamlines or 0, "nb_streamlines")
        if init_as is not None and not isinstance(init_as, TrxFile):
            raise TypeError(f"init_as is a {type(init_as).__name__}, expected a TrxFile")
        space = Space(np.eye(4), (1, 1, 1))
        if init_as is not None:
            space = _space_from(init_as.header)
        elif reference is not None:
            space = _space_from(reference)
        self._content = Content.empty(Header(space.voxel_to_rasmm, space.dimensions, nb_streamlines, nb_vertices))
        if nb_vertices or nb_streamlines or init_as is not None:
            like = init_as._content if init_as is not None else None
            self._content.hold(edit.allocate_as(nb_streamlines, nb_vertices, like))

    # ---- preallocation

    def _copy_fixed_arrays_from(
        self, trx: TrxFile, strs_start: int = 0, pts_start: int = 0, nb_strs_to_copy: int | None = None
    ) -> tuple[int, int]:
        """Write streamlines of another file into this one's arrays.

        Parameters
        ----------
        trx : TrxFile
            Not modified. Has all dps and dpv keys of this file.
        strs_start, pts_start : int
            First streamline and first vertex to write to.
        nb_strs_to_copy : int, optional
            By default all that are filled.

        Returns
        -------
        tuple of 2 int
            Streamline and vertex where they end.

        Raises
        ------
        CapacityError
            If they do not fit; nothing is written then.

        Examples
        --------
        >>> trx = trxlib.load("sub-01.trx")
        >>> room = trxlib.TrxFile(nb_vertices=20, nb_streamlines=8, init_as=trx)
        >>> end = room._copy_fixed_arrays_from(trx)
        >>> end
        (4, 10)
        >>> room._copy_fixed_arrays_from(trxlib.load("sub-02.trx"), *end)
        (8, 20)
        """
        at = (check_count(strs_start, "strs_start"), check_count(pts_start, "pts_start"))
        if nb_strs_to_copy is not None:
            nb_strs_to_copy = check_count(nb_strs_to_copy, "nb_strs_to_copy")
        selection = trx._content.selection()
        preallocated = edit.as_preallocated(self._content)
        return preallocated.write(selection.arrays, selection.known_runs(), at, nb_strs_to_copy)

    @staticmethod
    def _initialize_empty_trx(nb_streamlines: int, nb_vertices: int, init_as: TrxFile | None = None) -> TrxFile:
        """Return a preallocated file."""
        return TrxFile(nb_vertices=nb_vertices, nb_streamlines=nb_streamlines, init_as=init_as)

    def _create_trx_from_pointer(  # type: ignore[misc]
        header: dict[str, Any],  # noqa: N805 (the reference has no self here)
        dict_pointer_size: dict[str, tuple[int, int]],
        root_zip: str | None = None,
        root: str | None = None,
    ) -> TrxFile:
        """Return a TrxFile over arrays whose places are known.

        Parameters
        ----------
        header : dict
            As `TrxFile.header`.
        dict_pointer_size : dict of str to (int, int)
            Entry or file -> first byte, and number of elements.
        root_zip : str, optional
            The archive in which the entries lie.
        root : str, optional
            The folder in which the files lie.
        """
        arrays = edit.map_pointers(Header.from_dict(header), dict_pointer_size, root_zip, root)
        return TrxFile._of(Content(dict(header), Loaded(Selection(arrays, None))))

    # ---- operations

    def append(self, obj: Any, extra_buffer: int = 0) -> None:
        """Add all streamlines of another tractogram behind those of this one.

        Parameters
        ----------
        obj : TrxFile, nibabel Tractogram or dipy StatefulTractogram
            In the same space, with the same dps and dpv keys; not modified. Types become the widest of both.
        extra_buffer : int
            Where room has to be made, it is made for so many streamlines more, which makes further calls quicker; then
            `resize` removes what is left of it.

        Raises
        ------
        SpaceMismatchError, MetadataMismatchError
            If it does not fit; this file is unchanged then.
        TypeError
            If `obj` is something else.
        ClosedError
            If one of both was closed.

        Examples
        --------
        >>> trx = trxlib.load("sub-01.trx")
        >>> trx.append(trxlib.load("sub-02.trx"))
        >>> len(trx), len(trxlib.load("sub-01.trx"))
        (8, 4)
        """
        extra_buffer = check_count(extra_buffer, "extra_buffer")
        if tractograms.is_sft(obj):
            obj = TrxFile.from_sft(obj)
        elif tractograms.is_tractogram(obj):
            obj = TrxFile.from_tractogram(obj, self.header, dtype_dict={})
        elif not isinstance(obj, TrxFile):
            raise TypeError(
                f"cannot append a {type(obj).__name__}; expected a TrxFile, nibabel Tractogram or StatefulTractogram"
            )
        self._append_trx(obj, extra_buffer)

    def _append_trx(self, trx: TrxFile, extra_buffer: int = 0) -> None:
        """Add all streamlines of another TrxFile behind those of this one, see `append`."""
        append.append(self._content, trx._content, extra_buffer)

    # ---- other libraries

    @staticmethod
    def from_lazy_tractogram(
        obj: Any,
        reference: Any,
        extra_buffer: int = 0,
        chunk_size: int = 10000,
        dtype_dict: dict[str, Any] = _DTYPES,
    ) -> TrxFile:
        """Convert a nibabel LazyTractogram, chunk by chunk, in bounded memory.

        Parameters
        ----------
        obj : LazyTractogram
            Affines that it has still to apply, and its `affine_to_rasmm`, are applied.
        reference : str, dict, nibabel image, header or TrkFile
            Gives the space of the result.
        extra_buffer : int
            Room for at least so many streamlines is made at a time.
        chunk_size : int
            Streamlines held in memory at a time.
        dtype_dict : dict
            dtypes of positions, offsets, and of keys in ``dpv`` and ``dps``; other keys get the widest that their
            streamlines have. None is the default, as in later versions of the reference package.

        Raises
        ------
        ShapeError, MetadataMismatchError, DtypeError
            Name the streamline that does not fit those before it.

        Returns
        -------
        TrxFile
            Positions in RASMM, mm, in a temporary file.

        Examples
        --------
        >>> import nibabel as nib
        >>> lazy = nib.streamlines.load("sub-01.trk", lazy_load=True).tractogram
        >>> trx = trxlib.TrxFile.from_lazy_tractogram(lazy, "sub-01.trk")
        >>> len(trx), list(trx.data_per_vertex)
        (4, ['fa'])
        """
        wanted = _DTYPES if dtype_dict is None else dtype_dict
        header, preallocated = lazy_tractograms.copy_lazy(obj, _space_from(reference), extra_buffer, chunk_size, wanted)
        return TrxFile._of_filled(header, preallocated)

    @staticmethod
    def from_sft(sft: Any, dtype_dict: dict[str, Any] = {}) -> TrxFile:  # noqa: B006 (never modified)
        """Convert a dipy StatefulTractogram, in any space and origin, which is not modified.

        Parameters
        ----------
        sft : StatefulTractogram
            Positions in RASMM with the origin at the voxel's centre are copied bit for bit.
        dtype_dict : dict
            dtypes wanted, in the form that `from_tractogram` takes; what it does not name keeps its own.

        Returns
        -------
        TrxFile
            Positions in RASMM, mm; it shares nothing with `sft`.

        Examples
        --------
        >>> from dipy.io.streamline import load_tractogram
        >>> trx = trxlib.TrxFile.from_sft(load_tractogram("sub-01.trk", "same"))
        >>> trx.streamlines[1].tolist(), trx.header["DIMENSIONS"].tolist()
        ([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [80, 96, 64])
        """
        return TrxFile._of_filled(*tractograms.copy_sft(sft, dtype_dict))

    @staticmethod
    def from_tractogram(
        tractogram: Any,
        reference: Any,
        dtype_dict: dict[str, Any] = _DTYPES,
    ) -> TrxFile:
        """Convert a nibabel Tractogram, which is not modified.

        Parameters
        ----------
        tractogram : Tractogram
            Its `affine_to_rasmm` is applied; without one it is taken to be in RASMM.
        reference : str, dict, nibabel image, header or TrkFile
            Gives the space of the result.
        dtype_dict : dict
            dtypes of positions, offsets, and of keys in ``dpv`` and ``dps``; other keys keep theirs. None is the
            default, as in later versions of the reference package.

        Returns
        -------
        TrxFile
            Positions in RASMM, mm; it shares nothing with `tractogram`.

        Examples
        --------
        >>> from nibabel.streamlines import Tractogram
        >>> tractogram = Tractogram([np.zeros((3, 3)), np.ones((2, 3))], affine_to_rasmm=np.eye(4))
        >>> trx = trxlib.TrxFile.from_tractogram(tractogram, "b0.nii.gz")
        >>> len(trx), trx.get_dtype_dict()["positions"].name
        (2, 'float32')
        """
        if lazy_tractograms.is_lazy(tractogram):
            return TrxFile.from_lazy_tractogram(tractogram, reference, dtype_dict=dtype_dict)
        wanted = _DTYPES if dtype_dict is None else dtype_dict
        return TrxFile._of_filled(*tractograms.copy_tractogram(tractogram, _space_from(reference), wanted))


def _space_from(reference: Any) -> Space:
    from trxlib.formats.reference import space_from  # which few callers need, with the headers of other formats

    return space_from(reference)
