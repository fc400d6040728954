"""What a TrxFile holds, in one of a few states.

nibabel takes longer to import than a file of 100 MB to load and save. So a file stays as it was loaded (`Loaded`) until
somebody looks at its attributes (`Shown`), and a concatenation is not carried out before that (`Pending`).
"""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.atomic import TemporaryFolder
from trxlib.container.outline import naming
from trxlib.container.reader import Container
from trxlib.engine.planning import plan_merge
from trxlib.engine.trx_source import TrxSource
from trxlib.engine.write import write_container
from trxlib.errors import ClosedError
from trxlib.model.arrays import TrxArrays
from trxlib.model.header import Header, header_with_counts
from trxlib.model.offsets import resolve_indices
from trxlib.model.rules import check_members
from trxlib.model.select import Selection, select_runs
from trxlib.trxfile.joined import Joined, kept_members
from trxlib.trxfile.late_groups import LateGroups
from trxlib.trxfile.preallocated import Preallocated
from trxlib.trxfile.views import Views

__all__ = ["Content", "Loaded", "Pending", "Shown"]

Array = npt.NDArray[Any]
_LOCK = threading.Lock()
_BLANK = Header(np.eye(4), (1, 1, 1), 0, 0)
#: What a header says, or the dict that somebody has looked at, and may have changed.
_Stated = Header | dict[str, Any]


class _State(ABC):
    """One of the states; never changed, but replaced by another.

    Attributes
    ----------
    container : Container or None
        The opened file that arrays may be mapped from.
    views : Views or None
        What is shown, if somebody has looked.
    joined : Joined or None
        A concatenation that was not carried out yet.
    are_groups_checked : bool
        Whether members of groups are known to be streamlines of the file, or are what the user has given.
    """

    container: Container | None = None
    views: Views | None = None
    joined: Joined | None = None
    are_groups_checked: bool = True

    @abstractmethod
    def filled(self) -> tuple[int, int]:
        """Return how many streamlines and vertices are filled."""

    @abstractmethod
    def selection(self, header: _Stated) -> Selection:
        """Return what is filled, with a header of which the counts are not looked at."""

    def pick(self, header: _Stated, indices: Any) -> tuple[Selection, LateGroups]:
        """Return selected streamlines without their groups, and what makes those."""
        arrays, runs = self.selection(header)
        rows = resolve_indices(indices, arrays.header.nb_streamlines)
        part = select_runs(arrays, rows, runs=runs, keep_groups=False)
        return part, LateGroups(lambda: (arrays.groups, arrays.dpg), rows, arrays.header.nb_streamlines)

    @abstractmethod
    def shown(self) -> _State:
        """Return the state in which there are views."""

    def settled(self) -> _State:
        """Return the state in which nothing waits to be carried out."""
        return self

    def copied(self) -> _State:
        """Return a state over the same arrays, with dicts of its own."""
        return self


class Loaded(_State):
    """Plain arrays, as they were loaded, selected or made."""

    def __init__(self, arrays: Selection, container: Container | None = None, late: LateGroups | None = None) -> None:
        self.arrays, self.container, self.late = arrays, container, late
        self._runs = arrays.runs

    def filled(self) -> tuple[int, int]:
        header = self.arrays.arrays.header
        return header.nb_streamlines, header.nb_vertices

    def selection(self, header: _Stated) -> Selection:
        arrays, runs = self.arrays
        groups, dpg = self._tables()
        stated = header_with_counts(header, arrays.header.nb_streamlines, arrays.header.nb_vertices)
        return Selection(replace(arrays, header=stated, groups=groups, dpg=dpg), runs)

    def _tables(self) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
        arrays = self.arrays.arrays
        return (arrays.groups, arrays.dpg) if self.late is None else self.late.make()

    def pick(self, header: _Stated, indices: Any) -> tuple[Selection, LateGroups]:
        arrays = self.arrays.arrays
        if self._runs is None:
            self._runs = self.arrays.known_runs()
        rows = resolve_indices(indices, arrays.header.nb_streamlines)
        (part, kept) = select_runs(arrays, rows, runs=self._runs, keep_groups=False)
        stated = header_with_counts(header, part.header.nb_streamlines, part.header.nb_vertices)
        late = LateGroups(self._tables, rows, arrays.header.nb_streamlines)
        return Selection(replace(part, header=stated), kept), late

    def shown(self) -> Shown:
        shown = Shown(Views.of_arrays(*self.arrays, late=self.late), self.container)
        shown.are_groups_checked = self.container is None
        return shown


class Shown(_State):
    """Attributes that somebody has looked at or assigned to, or preallocated arrays."""

    views: Views

    def __init__(self, views: Views, container: Container | None = None) -> None:
        self.views, self.container = views, container

    def filled(self) -> tuple[int, int]:
        return self.views.filled()

    def selection(self, header: _Stated) -> Selection:
        return self.views.selection(header)

    def pick(self, header: _Stated, indices: Any) -> tuple[Selection, LateGroups]:
        return self.views.pick(header, indices) or super().pick(header, indices)

    def shown(self) -> Shown:
        return self

    def copied(self) -> Shown:
        return Shown(self.views.copy(), self.container)


class Pending(_State):
    """A concatenation that was not carried out yet."""

    joined: Joined

    def __init__(self, joined: Joined) -> None:
        self.joined = joined

    def filled(self) -> tuple[int, int]:
        header = self.joined.plan.header
        return header.nb_streamlines, header.nb_vertices

    def selection(self, header: _Stated) -> Selection:
        return self.settled().selection(header)

    def shown(self) -> Shown:
        return self.settled().shown()

    def settled(self) -> Loaded:
        container = self.joined.materialise()
        return Loaded(Selection(container.arrays, None), container)


class Closed(_State):
    """Nothing, and an error for who wants something: an empty file in its place would be saved over the real one."""

    def filled(self) -> tuple[int, int]:
        raise _closed_error()

    def selection(self, header: _Stated) -> Selection:
        raise _closed_error()

    def shown(self) -> _State:
        raise _closed_error()


def _closed_error() -> ClosedError:
    return ClosedError("this TrxFile was closed; load it again, or work with it before close()")


class Content:
    """Header and state of a TrxFile.

    Parameters
    ----------
    header : Header or dict
        A dict as `TrxFile.header`; otherwise that dict is made when somebody asks for it.
    state : Loaded, Shown, Pending or Closed
        What is held.
    """

    def __init__(self, header: _Stated, state: _State) -> None:
        #: What the header says; as long as nobody has looked at the dict, this need not be read anew.
        self.stated: _Stated = header
        self._state = state
        self._folder: TemporaryFolder | None = None
        #: Whether it stands for its container's whole file, as no selection and no copy does.
        self.is_whole_file = False

    @classmethod
    def empty(cls, header: Header) -> Content:
        """Return a content without streamlines; the counts of the header are kept."""
        return cls(header, Loaded(Selection(TrxArrays.empty(header), None)))

    @property
    def header(self) -> dict[str, Any]:
        """Affine, dimensions, counts, and keys that the file had besides."""
        if self.is_closed:
            raise _closed_error()
        if isinstance(self.stated, Header):
            with _LOCK:  # two threads that look first must see the same
                if isinstance(self.stated, Header):
                    self.stated = self.stated.to_dict()
        assert not isinstance(self.stated, Header)
        return self.stated

    @header.setter
    def header(self, value: dict[str, Any]) -> None:
        self.stated = value

    @property
    def container(self) -> Container | None:
        """The opened file that arrays may be mapped from."""
        return self._state.container

    @property
    def joined(self) -> Joined | None:
        """The concatenation that was not carried out yet, if there is one."""
        return self._state.joined

    @property
    def is_closed(self) -> bool:
        """Whether the file was closed."""
        return isinstance(self._state, Closed)

    def show(self, *sections: str) -> Views:
        """Return the views, made when they are first asked for; the arrays of these sections are handed out."""
        self._settle()
        if self._state.views is None:
            with _LOCK:  # two threads that look first must see the same
                if self._state.views is None:
                    self._state = self._state.shown()
        if self._state.container is not None:
            self._state.container.expose(*sections)
        assert self._state.views is not None
        if not sections or "groups" in sections or "dpg" in sections:
            self._state.views.make_groups()
        if "groups" in sections and not self._state.are_groups_checked:
            self._check_groups(self._state.views.groups)
        return self._state.views

    def _check_groups(self, groups: Mapping[str, Any]) -> None:
        """Check the members of a file's groups before they are handed out, once."""
        container = self._state.container
        with naming(container.path if container is not None else ""):
            for name, members in groups.items():
                check_members(np.asarray(members), self._state.filled()[0], f"groups/{name}")
        self._state.are_groups_checked = True

    def reopen(self) -> None:
        """Become an empty file, if it was closed: somebody assigns other streamlines."""
        if self.is_closed:
            self._state = Loaded(Selection(TrxArrays.empty(_BLANK), None))

    def selection(self) -> Selection:
        """Return what is filled as plain arrays.

        Raises
        ------
        ClosedError
            If the file was closed.
        FormatError
            If something assigned has another shape or type than the format allows.
        """
        self._settle()
        return self._state.selection(self.stated)

    def pick(self, indices: Any) -> tuple[Selection, LateGroups]:
        """Return selected streamlines without their groups, and what makes those."""
        self._settle()
        return self._state.pick(self.stated, indices)

    def source(self) -> TrxSource:
        """Return what is filled as the engine reads it."""
        arrays, runs = self.selection()
        container = self.container
        members = kept_members(arrays, container) if runs is None else {}
        return TrxSource(arrays, members=members, runs=runs, path=container.path if container is not None else "")

    def _settle(self) -> None:
        """Carry out a concatenation that nobody has looked at yet, once, however many threads look."""
        state = self._state
        if state.joined is not None:
            with state.joined.lock:
                if self._state is state:
                    self._state = state.settled()

    def preallocated(self) -> Preallocated | None:
        """Return the preallocated arrays that are still shown, see `Views.own_preallocated`."""
        views = self._state.views
        return views.own_preallocated() if views is not None else None

    def capacity(self) -> tuple[int, int] | None:
        """Return for how many streamlines and vertices arrays were preallocated; None if they were not."""
        views = self._state.views
        return views.capacity() if views is not None else None

    def hold(
        self, arrays: Selection | Preallocated, other: TrxArrays | None = None, header: Header | None = None
    ) -> None:
        """Hold other arrays from now on.

        Parameters
        ----------
        arrays : Selection or Preallocated
            What takes the place of all that was held.
        other : TrxArrays, optional
            Whose groups, dpg and sidecars belong to preallocated arrays, which have none.
        header : Header, optional
            By default the header stays.
        """
        if header is not None:
            self.stated = header
        if isinstance(arrays, Preallocated):
            self._state = Shown(Views.of_preallocated(arrays, other), self.container)
        else:
            self._state = Loaded(arrays, self.container)

    def copy(self) -> Content:
        """Return a content over the same arrays, with dicts of its own.

        What is preallocated and not filled is not shared: only one of both can write there.
        """
        if self.capacity() is not None:
            arrays, runs = self.selection()
            return Content(arrays.header, Loaded(Selection(arrays, runs), self.container))
        stated = self.stated if isinstance(self.stated, Header) else copy.deepcopy(self.stated)
        return Content(stated, self._state.copied())

    def close(self, *, discard: bool = False) -> None:
        """Release the file and hold nothing; arrays handed out before stay readable.

        A file that was opened "r+", and that does not hold all that is shown, is written anew first, unless `discard`
        is given.
        """
        container = self.container
        is_changed = container is not None and container.mode == "r+" and self.is_whole_file and not discard
        if is_changed and container is not None and self._has_more(container):
            source = self.source()
            write_container(plan_merge([source], names=[container.path]), [source], container.path)
        self.stated, self._state = _BLANK, Closed()
        if container is not None:
            container.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _has_more(self, container: Container) -> bool:
        """Tell whether header or arrays are others than those mapped from the container."""
        arrays, runs = self.selection()
        if runs is not None or arrays.header != container.arrays.header:
            return True
        now, mapped = arrays.by_label(), container.arrays.by_label()
        if now.keys() != mapped.keys() or not np.array_equal(now["offsets"], mapped["offsets"]):
            return True
        return any(
            array.shape != mapped[label].shape or (array.size and not np.shares_memory(array, mapped[label]))
            for label, array in now.items()
            if label != "offsets"
        )

    def folder(self) -> TemporaryFolder | None:
        """Return a folder that lasts until `close`, made when it is first asked for.

        That into which a compressed archive was unpacked, or one for preallocated arrays; None for anything else.
        """
        container = self.container
        if self._folder is None and container is not None and container.folder is not None:
            return container.folder
        if self._folder is None and self.capacity() is not None:
            self._folder = TemporaryFolder()
        return self._folder

    def filled(self) -> tuple[int, int]:
        """Return how many streamlines and vertices are filled."""
        return self._state.filled()

    def __len__(self) -> int:
        """Return the number of streamlines, with those preallocated."""
        views = self._state.views
        return len(views.streamlines) if views is not None else self.filled()[0]
