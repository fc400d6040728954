"""What can be done with a TrxFile: select, copy, resize, turn it into what other libraries hold, close."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from trxlib.container.reader import SECTIONS, Container
from trxlib.errors import GroupNotFoundError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header
from trxlib.model.rules import check_members
from trxlib.model.select import Selection
from trxlib.trxfile import edit, tractograms
from trxlib.trxfile.content import Content, Loaded, Pending, Shown
from trxlib.trxfile.derived import Derived
from trxlib.trxfile.joined import Joined
from trxlib.trxfile.preallocated import Preallocated, check_count
from trxlib.trxfile.views import Views

__all__ = ["Operations"]


class Operations(Derived):
    """The methods of a TrxFile that need no other tractogram."""

    @classmethod
    def _of_arrays(cls, selection: Selection, container: Container | None = None) -> Self:
        return cls._of(Content(selection.arrays.header, Loaded(selection, container)))

    @classmethod
    def _of_preallocated(cls, header: Header, preallocated: Preallocated, other: TrxArrays | None = None) -> Self:
        return cls._of(Content(header, Shown(Views.of_preallocated(preallocated, other))))

    @classmethod
    def _of_container(cls, container: Container) -> Self:
        trx = cls._of_arrays(Selection(container.arrays, None), container)
        trx._content.is_whole_file = True
        return trx

    @classmethod
    def _of_pickle(cls, arrays: TrxArrays, capacity: tuple[int, int] | None) -> Self:
        if capacity is None:
            return cls._of_arrays(Selection(arrays, None))
        preallocated, small = edit.copy_selection(Selection(arrays, None), capacity)
        return cls._of_preallocated(arrays.header.with_counts(*capacity), preallocated, small)

    @classmethod
    def _of_joined(cls, joined: Joined) -> Self:
        return cls._of(Content(joined.plan.header, Pending(joined)))

    @classmethod
    def _of_filled(cls, header: Header, preallocated: Preallocated) -> Self:
        """Return a file of what is filled of preallocated arrays."""
        content = Content(header, Shown(Views.of_preallocated(preallocated)))
        edit.resize(content, None, None)
        return cls._of(content)

    def __getitem__(self, key: Any) -> Any:
        """Select streamlines, with their groups, see `select`; an int gives a TrxFile of one streamline.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> len(trx[0]), len(trx[-3:]), len(trx[[5, 1]])
        (1, 3, 2)
        """
        if isinstance(key, str):
            raise GroupNotFoundError(f"streamlines have no names; trx.get_group({key!r}) takes the name of a group")
        return self.select(key)

    def chunks(self, nb_streamlines: int) -> Iterator[Self]:
        """Return an iterator over so many streamlines at a time, each a selection that shares vertices with this file.

        Parameters
        ----------
        nb_streamlines : int
            In each chunk; the last may have fewer.

        Returns
        -------
        iterator of TrxFile

        Examples
        --------
        >>> [len(part) for part in trxlib.load("cohort.trx").chunks(3)]
        [3, 3, 2]
        """
        step, count = check_count(nb_streamlines, "nb_streamlines", least=1), self.nb_streamlines
        return (self.select(slice(low, min(low + step, count))) for low in range(0, count, step))

    def __iter__(self) -> Iterator[Self]:
        """Return an iterator over the streamlines, each a TrxFile of one.

        Examples
        --------
        >>> [trx.header["NB_VERTICES"] for trx in trxlib.load("sub-01.trx")]
        [3, 2, 4, 1]
        """
        return map(self.select, range(len(self)))

    def __contains__(self, key: object) -> bool:
        """Refuse ``name in trx``, which would compare with each streamline.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(f"a TrxFile holds streamlines; to ask for a group: {key!r} in trx.groups")

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; after an error it is not written anew, see `close`."""
        self._content.close(discard=kind is not None)

    def __copy__(self) -> Self:
        """Return another TrxFile over the same arrays, with dicts of its own.

        What is preallocated and not filled is not shared: only one of both can write there.
        """
        return self._of(self._content.copy())

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` needs: the arrays themselves, so that another process needs no file."""
        selection, capacity = self._content.selection(), self._content.capacity()
        arrays, runs = selection
        if runs is not None or capacity is not None:
            # Compact, in memory: what is preallocated is made anew.
            counts = (arrays.header.nb_streamlines, arrays.header.nb_vertices)
            preallocated, small = edit.copy_selection(selection, counts, in_memory=True)
            arrays, _ = Views.of_preallocated(preallocated, small).selection(self._content.stated)
        elif self._content.container is not None:
            self._content.container.expose(*SECTIONS)  # pickle may pass the arrays on as they are
        return type(self)._of_pickle, (arrays, capacity)

    def __deepcopy__(self, memo: Any = None) -> Self:
        """Return a copy that shares nothing; `memo` is what `copy.deepcopy` passes."""
        return self.deepcopy()

    def deepcopy(self) -> Self:
        """Return a copy that shares nothing: its arrays lie in a temporary file.

        Returns
        -------
        TrxFile

        Raises
        ------
        ClosedError
            If this file was closed.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> copy = trx.deepcopy()
        >>> copy.streamlines[0][0] = 9
        >>> trx.streamlines[0][0].tolist()
        [0.0, 0.0, 0.0]
        """
        if self._content.joined is not None:
            return self._of(self._content.copy())
        return self._copy(in_memory=False)

    def to_memory(self, resize: bool = False) -> Self:
        """Return a copy whose arrays lie in memory.

        Parameters
        ----------
        resize : bool
            Remove what is preallocated and not filled first, here too.

        Returns
        -------
        TrxFile
            Shares nothing with this one, nor with its file.

        Raises
        ------
        ClosedError
            If this file was closed.

        Examples
        --------
        >>> with trxlib.load("cohort.trx") as trx:
        ...     copy = trx.to_memory()
        >>> len(copy)
        8
        """
        if resize:
            self.resize()
        return self._copy(in_memory=True)

    def _copy(self, *, in_memory: bool) -> Self:
        selection = self._content.selection()
        header = selection.arrays.header
        size = self._content.capacity() or (header.nb_streamlines, header.nb_vertices)
        preallocated, small = edit.copy_selection(selection, size, in_memory=in_memory)
        return self._of_preallocated(header.with_counts(*size), preallocated, small)

    def resize(
        self, nb_streamlines: int | None = None, nb_vertices: int | None = None, delete_dpg: bool = False
    ) -> None:
        """Remove what is preallocated and not filled, cut the file, or make room.

        Parameters
        ----------
        nb_streamlines : int, optional
            Fewer than there are: the first so many are kept, and groups lose the others; a group that loses all
            members stays, empty. More: room for so many.
            By default as many as are filled.
        nb_vertices : int, optional
            Room for so many vertices; by default as many as the streamlines kept have.
        delete_dpg : bool
            Remove `data_per_group`.

        Raises
        ------
        CapacityError
            If the streamlines kept have more vertices than `nb_vertices`.

        Examples
        --------
        >>> trx = trxlib.TrxFile(nb_vertices=1000, nb_streamlines=100)
        >>> trx.append(trxlib.load("sub-01.trx").select([0, 1], keep_group=False))
        >>> len(trx)
        100
        >>> trx.resize()
        >>> len(trx), trx.header["NB_VERTICES"]
        (2, 5)
        """
        edit.resize(self._content, nb_streamlines, nb_vertices)
        if delete_dpg:
            self.data_per_group = {}

    def get_group(self, key: str, keep_group: bool = True, copy_safe: bool = False) -> Self:
        """Select the streamlines of a group, in the order of its members; one that is a member twice comes twice.

        Parameters
        ----------
        key : str
            Name of the group.
        keep_group, copy_safe : bool
            As for `select`; the group itself is kept even if it has no members.

        Returns
        -------
        TrxFile
            Shares positions and dpv with this file, as for `select`.

        Raises
        ------
        GroupNotFoundError
            If there is no such group.
        FormatError
            If it has members that are no streamlines of the file.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.groups["AF_L"].tolist(), trx.get_group("AF_L").groups["AF_L"].tolist()
        ([0, 1, 4], [0, 1, 2])
        """
        arrays, _ = self._content.selection()
        groups = arrays.groups
        if key not in groups:
            raise GroupNotFoundError(f"no group {key!r}; there are {', '.join(map(repr, sorted(groups))) or 'none'}")
        check_members(groups[key], arrays.header.nb_streamlines, f"groups/{key}")
        return self._select(groups[key], keep_group, copy_safe, ensure=key)

    def select(self, indices: npt.ArrayLike | slice, keep_group: bool = True, copy_safe: bool = False) -> Self:
        """Select streamlines, with their data and groups; their vertices are not copied.

        Parameters
        ----------
        indices : int, slice, list, integer or bool ndarray
            As for numpy: negative values count from the end, repeats are kept.
        keep_group : bool
            Whether groups are kept, renumbered, with their dpg; those that lose all members go.
        copy_safe : bool
            Whether the result is a copy that shares nothing.

        Returns
        -------
        TrxFile
            Shares positions and dpv with this file; dps and groups are copies.

        Raises
        ------
        IndexError
            If an index lies outside the file, or a mask has another length.
        DtypeError
            If the indices are something else, such as text; `get_group` takes the name of a group.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> part = trx.select([7, 0])
        >>> part.data_per_streamline["weight"].ravel().tolist(), sorted(part.groups)
        ([4.0, 0.5], ['AF_L', 'CST_R'])

        Vertices are shared, so a change of them is one here, too, unless `copy_safe` is given:

        >>> part.streamlines[1][0] = 9
        >>> trx.streamlines[0][0].tolist()
        [9.0, 9.0, 9.0]
        """
        return self._select(indices, keep_group, copy_safe)

    def _select(self, indices: Any, keep_group: bool, copy_safe: bool, ensure: str = "") -> Self:
        part, late = self._content.pick(indices)
        if ensure:
            late.ensure(ensure)
        state = Loaded(part, self._content.container, late if keep_group else None)
        trx = self._of(Content(part.arrays.header, state))
        trx._copy_safe = False
        return trx.deepcopy() if copy_safe else trx

    def to_tractogram(self, resize: bool = False) -> Any:
        """Return a nibabel Tractogram in memory, in RASMM, of all streamlines that are filled.

        Parameters
        ----------
        resize : bool
            Also remove here what is preallocated and not filled.

        Returns
        -------
        nibabel.streamlines.Tractogram
            It shares nothing with this file; dpv are its `data_per_point`.

        Examples
        --------
        >>> tractogram = trxlib.load("cohort.trx").to_tractogram()
        >>> len(tractogram), tractogram.data_per_point["fa"][1].tolist()
        (8, [[0.75], [1.0]])
        """
        if resize:
            edit.resize(self._content, None, None)
        return tractograms.to_tractogram(self._content.selection())

    def to_sft(self, resize: bool = False) -> Any:
        """Return a dipy StatefulTractogram in memory, in RASMM with the origin at the voxel's centre.

        Parameters
        ----------
        resize : bool
            Also remove here what is preallocated and not filled.

        Returns
        -------
        dipy.io.stateful_tractogram.StatefulTractogram
            It shares nothing with this file; dpv are its `data_per_point`.

        Raises
        ------
        ImportError
            If dipy is not installed.

        Examples
        --------
        >>> sft = trxlib.load("cohort.trx").to_sft()
        >>> len(sft), sft.space.value, sft.origin.value
        (8, 'rasmm', 'center')
        """
        if resize:
            edit.resize(self._content, None, None)
        return tractograms.to_sft(self._content.selection())

    def close(self) -> None:
        """Remove temporary data and let go of the file; arrays that were handed out before stay readable.

        Whatever is asked of the closed file raises ClosedError, its length too; `streamlines` can be assigned anew. A
        file loaded with ``mode="r+"`` gets its CRCs brought up to date. Where keys, groups or the header were changed,
        or an array was put in the place of another, the whole file is written anew beside its place, and takes its
        name when it is complete: that costs as much as `save`. ``with load(...) as trx:`` closes at its end; after an
        error there, it writes nothing anew.

        Examples
        --------
        >>> trx = trxlib.load("cohort.trx")
        >>> trx.close()
        >>> print(trx)
        closed TrxFile
        """
        self._content.close()
