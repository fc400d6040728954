"""What may be written: never in the place of an input, and over other files only if that is allowed.

Whatever writes a file asks `check_outputs` first, before it makes anything on disk. Two names are one file if the
system says so: by any spelling, by links of both kinds, and where names that differ only in case are one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from functools import cached_property

from trxlib.errors import InputError

__all__ = ["Folders", "check_outputs"]

StrPath = str | os.PathLike[str]
#: Device and inode; of what does not exist its place, a path without links.
Key = str | tuple[int, int]


def check_outputs(
    outputs: Iterable[StrPath],
    inputs: Iterable[StrPath],
    *,
    folders: Iterable[StrPath] = (),
    overwrite: bool = True,
    may_replace_inputs: bool = False,
) -> None:
    """Check that no output takes the place of an input or of another output. Nothing is written.

    Each input is looked at once, so that thousands of them take a moment.

    Parameters
    ----------
    outputs : iterable of path
        Files and TRX folders that are to be written: the main one, and those beside it.
    inputs : iterable of path
        Whatever is read: tractograms, references, transforms, files of dps and dpv. A folder counts with all that is
        in it.
    folders : iterable of path
        Folders that are made for outputs where they are not there; they may not lie in an input.
    overwrite : bool
        Whether an output may replace a file or TRX folder that is no input.
    may_replace_inputs : bool
        Whether an output may take the place of a whole input. It may never lie in one, nor hold one.

    Raises
    ------
    InputError
        Naming the output, and what it would replace.
    """
    kept = _Inputs(inputs)
    for folder in folders:
        # A name inside of it, whatever it is: the folder itself may be an input.
        kept.check_outside(os.path.join(folder, "x"))  # noqa: PTH118
    written: dict[Key, StrPath] = {}
    for output in outputs:
        place = kept.resolve(output)  # where it will stand, also by way of folders that are not there
        key, is_folder = kept.look_at(place)
        if key in written:
            raise InputError(f"{output} is to be written twice, also as {written[key]}; name one of them otherwise")
        written[key] = output
        kept.check(output, key, is_folder=is_folder, may_replace_inputs=may_replace_inputs)
        if not overwrite and os.path.exists(place):  # noqa: PTH110
            raise InputError(
                f"{output}: exists, and would be replaced; choose another name (on the command line the last path is "
                "what is written), or allow it (overwrite, --force)"
            )


class Folders:
    """Tells which of some folders a path lies in, by whatever name; what was looked at is remembered.

    Parameters
    ----------
    folders : iterable of path
        Those that are no folders, or do not exist, hold nothing.
    """

    def __init__(self, folders: Iterable[StrPath] = ()) -> None:
        self._places: dict[str, str] = {}
        self._folders: dict[Key, str] = {}
        self._around: dict[str, str | None] = {}
        for folder in folders:
            self.look_at(os.fspath(folder), add=True)

    def resolve(self, path: StrPath) -> str:
        """Return the absolute path without links and dots, as `os.path.realpath` does; it need not exist."""
        text = os.fspath(path)
        if text not in self._places:
            folder, name = os.path.split(text)
            if name in ("", ".", "..") or os.path.islink(text):  # noqa: PTH114 (ten thousand times, here and below)
                self._places[text] = os.path.realpath(text)
            else:
                self._places[text] = os.path.join(self.resolve(folder), name)  # noqa: PTH118
        return self._places[text]

    def look_at(self, path: str, *, add: bool = False) -> tuple[Key, bool]:
        """Return what tells a file or folder from all others, and whether it is a folder; `add` it if it is."""
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return self.resolve(path), False
        key = (status.st_dev, status.st_ino) if status.st_ino else self.resolve(path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if add and is_folder:
            self._folders.setdefault(key, path)
        return key, is_folder

    def at(self, path: StrPath) -> str | None:
        """Return the name of the folder that a path is, if it is one of these."""
        return self._folders.get(self.look_at(os.fspath(path))[0]) if self._folders else None

    def around(self, path: StrPath) -> str | None:
        """Return the name of the folder that a path lies in, if it is one of these."""
        return self._around_place(self.resolve(path)) if self._folders else None

    def _around_place(self, place: str) -> str | None:
        parent = os.path.dirname(place)  # noqa: PTH120
        if parent == place:
            return None
        if parent not in self._around:
            self._around[parent] = self.at(parent) or self._around_place(parent)
        return self._around[parent]


class _Inputs(Folders):
    """Files and folders that are read."""

    def __init__(self, paths: Iterable[StrPath]) -> None:
        super().__init__()
        self._inputs: dict[Key, str] = {}
        for path in dict.fromkeys(os.fspath(path) for path in paths):
            self._inputs.setdefault(self.look_at(path, add=True)[0], path)

    def check(self, output: StrPath, key: Key, *, is_folder: bool, may_replace_inputs: bool) -> None:
        """Raise an InputError if an output would damage an input."""
        self.check_outside(output)
        if key in self._inputs and not may_replace_inputs:
            raise InputError(
                f"{output}: would replace the input {self._inputs[key]}, and inputs are never changed; choose another "
                "name"
            )
        held = self._held.get(key) if is_folder else None
        if held is not None:
            raise InputError(
                f"{output}: is a folder that holds the input {held}, and would replace the input with all else in it; "
                "inputs are never changed, choose another name"
            )

    def check_outside(self, output: StrPath) -> None:
        """Raise an InputError if an output lies in an input."""
        folder = self.around(output)
        if folder is not None:
            raise InputError(
                f"{output}: lies inside the input folder {folder}, and inputs are never changed; choose a place "
                "outside of it"
            )

    @cached_property
    def _held(self) -> dict[Key, str]:
        """For every folder on the way to an input, an input that lies in it."""
        held: dict[Key, str] = {}
        known: set[str] = set()
        for path in self._inputs.values():
            parent = os.path.dirname(self.resolve(path))  # noqa: PTH120
            while parent not in known:
                known.add(parent)
                held.setdefault(self.look_at(parent)[0], path)
                parent = os.path.dirname(parent)  # noqa: PTH120
        return held
