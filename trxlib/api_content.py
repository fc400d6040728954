"""What a TrxFile holds: plain arrays, views that somebody has looked at, or a concatenation not carried out yet."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Self

from trxlib.api_join import Joined, untouched_members
from trxlib.api_views import Views, check_sequence, check_table
from trxlib.arrays import TrxArrays
from trxlib.errors import ClosedError
from trxlib.header import Header
from trxlib.ops.bundle import TrxSource
from trxlib.ops.resize import Room
from trxlib.ops.select import Runs
from trxlib.storage.container import Container

__all__ = ["Bundle", "Content"]

#: Arrays, and where the streamlines lie in them if not one behind the other.
Bundle = tuple[TrxArrays, Runs | None]
_LOCK = threading.Lock()


class Content:
    """The attributes of a TrxFile, made when they are first asked for.

    Parameters
    ----------
    header : Header
        Of a file without streamlines.
    """

    def __init__(self, header: Header) -> None:
        self._header = header.to_dict()
        self._joined: Joined | None = None
        self._container: Container | None = None
        self._closed = False
        # Either plain arrays, as they were loaded or selected, or views of them, once somebody has looked.
        self._plain: Bundle = (TrxArrays.empty(header), None)
        self._views: Views | None = None

    @property
    def header(self) -> dict[str, Any]:
        """Affine, dimensions, counts, and keys that the file had besides."""
        return self._header

    @header.setter
    def header(self, value: dict[str, Any]) -> None:
        self._header = check_table(value, "header")

    @property
    def streamlines(self) -> Any:
        """Streamlines in RASMM, mm: a nibabel ArraySequence over the mapped vertices."""
        return self._shown().streamlines

    @streamlines.setter
    def streamlines(self, value: Any) -> None:
        self._shown().streamlines = check_sequence(value)

    @property
    def groups(self) -> dict[str, Any]:
        """Name -> streamline indices."""
        return self._shown().groups

    @groups.setter
    def groups(self, value: dict[str, Any]) -> None:
        self._shown().groups = check_table(value, "groups")

    @property
    def data_per_streamline(self) -> dict[str, Any]:
        """Key -> array of shape (nb_streamlines, k)."""
        return self._shown().data_per_streamline

    @data_per_streamline.setter
    def data_per_streamline(self, value: dict[str, Any]) -> None:
        self._shown().data_per_streamline = check_table(value, "data_per_streamline")

    @property
    def data_per_vertex(self) -> dict[str, Any]:
        """Key -> ArraySequence that shares the offsets of `streamlines`."""
        return self._shown().data_per_vertex

    @data_per_vertex.setter
    def data_per_vertex(self, value: dict[str, Any]) -> None:
        self._shown().data_per_vertex = check_table(value, "data_per_vertex")

    @property
    def data_per_group(self) -> dict[str, dict[str, Any]]:
        """Group -> key -> array of shape (1, k)."""
        return self._shown().data_per_group

    @data_per_group.setter
    def data_per_group(self, value: dict[str, dict[str, Any]]) -> None:
        self._shown().data_per_group = check_table(value, "data_per_group")

    def _shown(self) -> Views:
        """Return the views, made when they are first asked for."""
        self._materialise()
        if self._views is None:
            with _LOCK:  # two threads that look first must see the same
                if self._views is None:
                    self._views = Views.of_arrays(*self._plain)
        return self._views

    def _materialise(self) -> None:
        """Carry out a concatenation that nobody has looked at yet, once, however many threads look."""
        joined = self._joined
        if joined is None:
            return
        with joined.lock:
            if self._joined is joined:
                self._container = joined.materialise()
                self._plain = (self._container.arrays, None)
                self._joined = None

    def _bundle(self) -> Bundle:
        """Return what the file holds as plain arrays, without what is preallocated and not filled."""
        self._materialise()
        if self._closed and not len(self):
            # An empty file in its place would be saved over the real one without a word.
            raise ClosedError("this TrxFile was closed; load it again, or work with it before close()")
        if self._views is not None:
            return self._views.bundle(self.header)
        arrays, runs = self._plain
        counts = {"NB_STREAMLINES": arrays.header.nb_streamlines, "NB_VERTICES": arrays.header.nb_vertices}
        return replace(arrays, header=Header.from_dict({**self.header, **counts})), runs

    def _source(self) -> TrxSource:
        arrays, runs = self._bundle()
        members = untouched_members(arrays, self._container) if runs is None else {}
        path = self._container.path if self._container is not None else ""
        return TrxSource(arrays, members=members, runs=runs, path=path)

    def _own_room(self) -> Room | None:
        """Return the preallocated arrays that are still shown, see `Views.own_room`."""
        return self._views.own_room() if self._views is not None else None

    def _capacity(self) -> tuple[int, int] | None:
        """Return how many streamlines and vertices there is room for, if there is more than what is filled."""
        return self._views.capacity() if self._views is not None else None

    def _hold(self, content: Bundle | Room, other: TrxArrays | None = None) -> Self:
        """Hold other arrays from now on: a bundle, or room with the groups, dpg and sidecars of `other`."""
        self._joined = None
        if isinstance(content, Room):
            self._views = Views.of_room(content, other)
        else:
            self._plain, self._views = content, None
        return self

    def _get_real_len(self) -> tuple[int, int]:
        """Return how many streamlines and vertices are filled."""
        joined = self._joined
        if joined is not None:
            return joined.plan.header.nb_streamlines, joined.plan.header.nb_vertices
        if self._views is not None:
            return self._views.filled()
        header = self._plain[0].header
        return header.nb_streamlines, header.nb_vertices

    def __len__(self) -> int:
        """Return the number of streamlines, with those preallocated."""
        joined = self._joined
        if joined is not None:
            return joined.plan.header.nb_streamlines
        return len(self._views.streamlines) if self._views is not None else self._plain[0].header.nb_streamlines
