"""TrxFile: a tractogram in memory or mapped from disk, with the names of the TRX reference API."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.reader import SECTIONS, Container
from trxlib.errors import GroupNotFoundError, InputError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.rules import check_members
from trxlib.model.select import Selection, select_runs
from trxlib.model.space import Space
from trxlib.trxfile import append, edit, lazy_tractograms, tractograms
from trxlib.trxfile.attributes import Attributes
from trxlib.trxfile.content import Content, Loaded, Pending, Shown
from trxlib.trxfile.joined import Joined
from trxlib.trxfile.preallocated import Preallocated, check_count
from trxlib.trxfile.views import Views

__all__ = ["TrxFile"]

_DTYPES: dict[str, Any] = {"positions": np.float32, "offsets": np.uint32, "dpv": {}, "dps": {}}


class TrxFile(Attributes):
    """Streamlines with their data, groups and header.

    The attributes are ordinary: assign to them, or write into the arrays. Nothing reaches a file on disk before
    `save`, unless it was loaded with ``mode="r+"``.

    Parameters
    ----------
    nb_vertices, nb_streamlines : int, optional
        Preallocate for so many (in a temporary file); both or none.
    init_as : TrxFile, optional
        Whose space, dtypes, dps and dpv keys the preallocated file gets.
    reference : str, dict, nibabel image, header or TrkFile, optional
        Whose space it gets; by default one voxel of 1 mm, to be replaced later.

    Attributes
    ----------
    header : dict
        ``VOXEL_TO_RASMM`` (4 x 4), ``DIMENSIONS`` (3 uint16), ``NB_STREAMLINES``, ``NB_VERTICES``, and any keys
        that the file had besides.
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

    @classmethod
    def _of(cls, content: Content) -> TrxFile:
        trx = cls.__new__(cls)
        trx._content = content
        return trx

    @classmethod
    def _of_arrays(cls, selection: Selection, container: Container | None = None) -> TrxFile:
        return cls._of(Content(selection.arrays.header, Loaded(selection, container)))

    @classmethod
    def _of_preallocated(cls, header: Header, room: Preallocated, other: TrxArrays | None = None) -> TrxFile:
        return cls._of(Content(header, Shown(Views.of_preallocated(room, other))))

    @classmethod
    def _of_container(cls, container: Container) -> TrxFile:
        return cls._of_arrays(Selection(container.arrays, None), container)

    @classmethod
    def _of_pickle(cls, arrays: TrxArrays, capacity: tuple[int, int] | None) -> TrxFile:
        if capacity is None:
            return cls._of_arrays(Selection(arrays, None))
        room, small = edit.copy_selection(Selection(arrays, None), capacity)
        return cls._of_preallocated(arrays.header.with_counts(*capacity), room, small)

    @classmethod
    def _of_joined(cls, joined: Joined) -> TrxFile:
        return cls._of(Content(joined.plan.header, Pending(joined)))

    @classmethod
    def _of_filled(cls, header: Header, room: Preallocated) -> TrxFile:
        """Return a file of what is filled of preallocated arrays."""
        trx = cls._of_preallocated(header, room)
        trx.resize()
        return trx

    def __str__(self) -> str:
        """Describe space, counts and keys."""
        return edit.describe(self._content)

    def __getitem__(self, key: Any) -> Any:
        """Select streamlines, with their groups; an int gives a TrxFile of one streamline."""
        return self.select(key)

    def __enter__(self) -> TrxFile:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __copy__(self) -> TrxFile:
        """Return another TrxFile over the same arrays, with dicts of its own.

        What is preallocated and not filled is not shared: only one of both can write there.
        """
        return TrxFile._of(self._content.copy())

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` needs: the arrays themselves, so that another process needs no file."""
        selection, capacity = self._content.selection(), self._content.capacity()
        arrays, runs = selection
        if runs is not None or capacity is not None:
            # Compact, in memory: what is preallocated is made anew.
            counts = (arrays.header.nb_streamlines, arrays.header.nb_vertices)
            room, small = edit.copy_selection(selection, counts, in_memory=True)
            arrays, _ = Views.of_preallocated(room, small).selection(self._content.stated)
        elif self._content.container is not None:
            self._content.container.expose(*SECTIONS)  # pickle may pass the arrays on as they are
        return TrxFile._of_pickle, (arrays, capacity)

    def __deepcopy__(self, memo: Any = None) -> TrxFile:
        """Return a copy that shares nothing; `memo` is what `copy.deepcopy` passes."""
        return self.deepcopy()

    def deepcopy(self) -> TrxFile:
        """Return a copy that shares nothing: its arrays lie in a temporary file."""
        if self._content.joined is not None:
            return TrxFile._of(self._content.copy())
        return self._copy(in_memory=False)

    def to_memory(self, resize: bool = False) -> TrxFile:
        """Return a copy whose arrays lie in memory.

        Parameters
        ----------
        resize : bool
            Remove what is preallocated and not filled first, here too.
        """
        if resize:
            self.resize()
        return self._copy(in_memory=True)

    def _copy(self, *, in_memory: bool) -> TrxFile:
        selection = self._content.selection()
        header = selection.arrays.header
        size = self._content.capacity() or (header.nb_streamlines, header.nb_vertices)
        room, small = edit.copy_selection(selection, size, in_memory=in_memory)
        return TrxFile._of_preallocated(header.with_counts(*size), room, small)

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
        """
        at = (check_count(strs_start, "strs_start"), check_count(pts_start, "pts_start"))
        if nb_strs_to_copy is not None:
            nb_strs_to_copy = check_count(nb_strs_to_copy, "nb_strs_to_copy")
        selection = trx._content.selection()
        room = edit.as_preallocated(self._content)
        return room.write(selection.arrays, selection.known_runs(), at, nb_strs_to_copy)

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

    def resize(
        self, nb_streamlines: int | None = None, nb_vertices: int | None = None, delete_dpg: bool = False
    ) -> None:
        """Remove what is preallocated and not filled, cut the file, or make room.

        Parameters
        ----------
        nb_streamlines : int, optional
            Fewer than there are: the first so many are kept, and groups lose the others. More: room for so many.
            By default as many as are filled.
        nb_vertices : int, optional
            Room for so many vertices; by default as many as the streamlines kept have.
        delete_dpg : bool
            Remove `data_per_group`.

        Raises
        ------
        CapacityError
            If the streamlines kept have more vertices than `nb_vertices`.
        """
        edit.resize(self._content, nb_streamlines, nb_vertices)
        if delete_dpg:
            self.data_per_group = {}

    # ---- operations

    def get_dtype_dict(self) -> dict[str, Any]:
        """Return the dtype of every array: positions, offsets, dpv, dps, groups, dpg."""
        arrays, _ = self._content.selection()
        return {
            "positions": arrays.positions.dtype,
            "offsets": arrays.offsets.dtype,
            "dpv": {key: array.dtype for key, array in arrays.dpv.items()},
            "dps": {key: array.dtype for key, array in arrays.dps.items()},
            "dpg": {group: {key: value.dtype for key, value in values.items()} for group, values in arrays.dpg.items()},
            "groups": {group: members.dtype for group, members in arrays.groups.items()},
        }

    def append(self, obj: Any, extra_buffer: int = 0) -> None:
        """Add all streamlines of another tractogram behind those of this one.

        Parameters
        ----------
        obj : TrxFile, nibabel Tractogram or dipy StatefulTractogram
            In the same space, with the same dps and dpv keys; not modified. Types become the widest of both.
        extra_buffer : int
            When room must be made, make it for so many streamlines more.

        Raises
        ------
        SpaceMismatchError, MetadataMismatchError
            If it does not fit; this file is unchanged then.
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

    def get_group(self, key: str, keep_group: bool = True, copy_safe: bool = False) -> TrxFile:
        """Select the streamlines of a group, in its order; one that it names twice comes twice.

        Parameters
        ----------
        key : str
            Name of the group.
        keep_group, copy_safe : bool
            As for `select`.

        Raises
        ------
        GroupNotFoundError
            If there is no such group.
        """
        arrays, _ = self._content.selection()
        groups = arrays.groups
        if key not in groups:
            raise GroupNotFoundError(f"no group {key!r}; there are {', '.join(map(repr, sorted(groups))) or 'none'}")
        check_members(groups[key], arrays.header.nb_streamlines, f"groups/{key}")
        return self._select(groups[key], keep_group, copy_safe, ensure=key)

    def select(self, indices: npt.ArrayLike | slice, keep_group: bool = True, copy_safe: bool = False) -> TrxFile:
        """Select streamlines; vertices stay where they are.

        Parameters
        ----------
        indices : int, slice, list, integer or bool ndarray
            As for numpy: negative values count from the end, repeats are kept.
        keep_group : bool
            Keep groups, renumbered, and their dpg; those that lose all members go.
        copy_safe : bool
            Return a copy that shares nothing.

        Returns
        -------
        TrxFile
            Shares positions and dpv with this file; dps and groups are copies.

        Raises
        ------
        IndexError
            If an index lies outside the file.
        """
        return self._select(indices, keep_group, copy_safe)

    def _select(self, indices: Any, keep_group: bool, copy_safe: bool, ensure: str = "") -> TrxFile:
        arrays, runs = self._content.selection()
        part, kept = select_runs(arrays, indices, runs=runs, keep_groups=keep_group)
        if ensure and keep_group and ensure not in part.groups:
            part.groups[ensure] = arrays.groups[ensure][:0]
            part.dpg[ensure] = arrays.dpg.get(ensure, {})
        trx = TrxFile._of_arrays(Selection(part, kept), self._content.container)
        return trx.deepcopy() if copy_safe else trx

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
        """
        wanted = _DTYPES if dtype_dict is None else dtype_dict
        header, room = lazy_tractograms.copy_lazy(obj, _space_from(reference), extra_buffer, chunk_size, wanted)
        return TrxFile._of_filled(header, room)

    @staticmethod
    def from_sft(sft: Any, dtype_dict: dict[str, Any] = {}) -> TrxFile:  # noqa: B006 (never modified)
        """Convert a dipy StatefulTractogram, in any space and origin, which is not modified.

        Parameters
        ----------
        sft : StatefulTractogram
            Positions in RASMM with the origin at the voxel's centre are copied bit for bit.
        dtype_dict : dict
            dtypes wanted; what it does not name keeps its own.
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
        """
        if lazy_tractograms.is_lazy(tractogram):
            return TrxFile.from_lazy_tractogram(tractogram, reference, dtype_dict=dtype_dict)
        wanted = _DTYPES if dtype_dict is None else dtype_dict
        return TrxFile._of_filled(*tractograms.copy_tractogram(tractogram, _space_from(reference), wanted))

    def to_tractogram(self, resize: bool = False) -> Any:
        """Return a nibabel Tractogram in memory, in RASMM, of all streamlines that are filled.

        Parameters
        ----------
        resize : bool
            Also remove here what is preallocated and not filled.
        """
        if resize:
            self.resize()
        return tractograms.to_tractogram(self._content.selection())

    def to_sft(self, resize: bool = False) -> Any:
        """Return a dipy StatefulTractogram in memory, in RASMM with the origin at the voxel's centre.

        Parameters
        ----------
        resize : bool
            Also remove here what is preallocated and not filled.

        Raises
        ------
        ImportError
            If dipy is not installed.
        """
        if resize:
            self.resize()
        return tractograms.to_sft(self._content.selection())

    def close(self) -> None:
        """Remove temporary data and become an empty TrxFile; arrays handed out before stay readable.

        To select from the closed file, to save or to append it raises ClosedError.
        """
        self._content.close()


def _space_from(reference: Any) -> Space:
    from trxlib.formats.reference import space_from  # which few callers need, with the headers of other formats

    return space_from(reference)
