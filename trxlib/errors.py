"""Every exception and warning of trxlib, in one tree.

::

    TrxError
    ├─ FormatError (ValueError)           the bytes break the TRX, TRK or TCK specification
    │  ├─ HeaderError                     header.json, a TRK or a TCK header
    │  ├─ ArrayNameError                  the name of an entry
    │  ├─ ShapeError                      rows or columns disagree with the header
    │  ├─ OffsetsError                    offsets are not a partition of the vertices
    │  ├─ CountError                      a TRK or TCK header counts other streamlines than its data hold
    │  ├─ DtypeError                      a type the format does not have, or a value that does not fit
    │  └─ ArchiveError                    the zip container itself
    ├─ MismatchError (ValueError)         good inputs that do not fit together
    │  ├─ SpaceMismatchError              another affine or other dimensions
    │  └─ MetadataMismatchError           other dps, dpv or dpg
    ├─ InputError (ValueError)            an argument, a sheet or a configuration is wrong
    ├─ InputNotFoundError (FileNotFoundError, ValueError)
    ├─ UnsupportedFormatError (ValueError)
    ├─ GroupNotFoundError (KeyError)      no group of that name
    └─ StateError (RuntimeError)          misuse of a good file
       ├─ ReadOnlyError
       ├─ ClosedError
       ├─ CapacityError (ValueError)      a preallocated file is too small
       └─ StaleError                      a plan, receipt or input changed under way

    TrxWarning (UserWarning)
    ├─ HeaderWarning                      something was assumed
    └─ DataLossWarning                    something was left out

The second parent keeps ``except ValueError`` of reference-API users working.

Examples
--------
A message names the file or the array, what was found, and what is known instead:

>>> from trxlib.errors import GroupNotFoundError, TrxError
>>> try:
...     trxlib.load("cohort.trx").get_group("CC")
... except TrxError as error:
...     print(error)
no group 'CC'; there are 'AF_L', 'CST_R'
>>> issubclass(GroupNotFoundError, KeyError)
True

A warning names what is left out. Where nothing may be left out, it can be made an error:

>>> import warnings
>>> from trxlib.errors import DataLossWarning
>>> warnings.simplefilter("error", DataLossWarning)
>>> trxlib.export("cohort.trx", "cohort.tck")
Traceback (most recent call last):
trxlib.errors.DataLossWarning: cohort.tck: this format has no groups; left out: AF_L, CST_R; ...
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import warnings

from trxlib.text import shown_lines

__all__ = [
    "ArchiveError",
    "ArrayNameError",
    "CapacityError",
    "ClosedError",
    "CountError",
    "DataLossWarning",
    "DtypeError",
    "FormatError",
    "GroupNotFoundError",
    "HeaderError",
    "HeaderWarning",
    "InputError",
    "InputNotFoundError",
    "MetadataMismatchError",
    "MismatchError",
    "OffsetsError",
    "ReadOnlyError",
    "ShapeError",
    "SpaceMismatchError",
    "SpaceWarning",
    "StaleError",
    "StateError",
    "TrxError",
    "TrxWarning",
    "UnsupportedFormatError",
    "open_error",
    "warn",
]

#: Where the code is that is not the caller's: this package, and what only calls it back.
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 (no pathlib where errors start)
_BETWEEN = (contextlib.__file__, threading.__file__)


class TrxError(Exception):
    """Base of every error that trxlib raises on purpose."""

    def __str__(self) -> str:
        # A file may call a group anything, and whatever prints the message hands it to a terminal.
        return shown_lines(super().__str__())


class FormatError(TrxError, ValueError):
    """The bytes of a file break the specification of its format."""


class HeaderError(FormatError):
    """A header lacks a field, or a field has an impossible value."""


class ArrayNameError(FormatError):
    """An entry's name does not say which array it is, or cannot be written."""


class ShapeError(FormatError):
    """An array has other rows or columns than the header or its name says."""


class OffsetsError(FormatError):
    """Offsets do not start at 0, decrease, or pass the last vertex."""


class CountError(FormatError):
    """The header of a TRK or TCK file counts other streamlines than its data hold."""


class DtypeError(FormatError):
    """A data type the format does not have, or a value that does not fit one."""


class ArchiveError(FormatError):
    """The zip container is truncated, encrypted, damaged or escapes its folder."""


class MismatchError(TrxError, ValueError):
    """Inputs are good, each for itself, and do not fit together."""


class SpaceMismatchError(MismatchError):
    """Inputs have different affines or dimensions."""


class MetadataMismatchError(MismatchError):
    """Inputs have different dps, dpv or dpg keys, widths or types."""


class InputError(TrxError, ValueError):
    """An argument, a sample sheet or a configuration is wrong."""


class InputNotFoundError(TrxError, FileNotFoundError, ValueError):
    """An input file does not exist or cannot be read."""

    # FileNotFoundError would print only its errno pair.
    def __str__(self) -> str:
        return shown_lines(str(self.args[0])) if self.args else ""


class UnsupportedFormatError(TrxError, ValueError):
    """A file is of no format that trxlib reads or writes."""


class GroupNotFoundError(TrxError, KeyError):
    """A group was asked for that the file does not have."""

    # KeyError shows the repr of its argument, which hides line breaks.
    def __str__(self) -> str:
        return shown_lines(str(self.args[0])) if self.args else ""


class StateError(TrxError, RuntimeError):
    """A good file is used in a way its state does not allow."""


class ReadOnlyError(StateError):
    """A write into something that was opened for reading."""


class ClosedError(StateError):
    """Use of a file after ``close()``."""


class CapacityError(StateError, ValueError):
    """A preallocated file, a disk or the table of open files is too small for what is put into it."""


class StaleError(StateError):
    """A plan, a receipt or an input is not the one that was planned with."""


class TrxWarning(UserWarning):
    """Base of every warning that trxlib gives."""


class HeaderWarning(TrxWarning):
    """Something was missing or odd, and a value was assumed."""


class SpaceWarning(TrxWarning):
    """Many vertices lie outside the grid of the result: reference, transform or unit may be wrong."""


class DataLossWarning(TrxWarning):
    """Something in the input is not in the result."""


def open_error(path: str | os.PathLike[str], error: OSError) -> TrxError:
    """Return what to raise for a file that cannot be opened."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return CapacityError(
            f"{path}: cannot be opened, too many files are open ({error.strerror}); close() what is no longer needed, "
            "raise the limit (ulimit -n), or store folders as archives: an archive needs one descriptor"
        )
    return InputNotFoundError(f"{path}: cannot be read ({error.strerror})")


def warn(message: str | Warning, category: type[Warning] | None = None) -> None:
    """Give a warning that points at the line outside of this package that called it, however deep it comes from.

    Parameters
    ----------
    message : str or Warning
        As for `warnings.warn`.
    category : type of Warning, optional
        `HeaderWarning` or `DataLossWarning`; not needed where `message` is a Warning.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, *_BETWEEN)):
        frame, level = frame.f_back, level + 1
    text = shown_lines(message) if isinstance(message, str) else message
    warnings.warn(text, category, stacklevel=level)
