"""Arrays that lie in a temporary file, so that the system can page them out when memory is short.

The file has no name: it is gone when the last array is, also after a crash.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.atomic import temporary_error, temporary_root
from trxlib.errors import CapacityError

__all__ = ["scratch_arrays"]

Array = npt.NDArray[Any]
_ALIGNMENT = 64
_SMALL = 1 << 20  # arrays of so few bytes in all lie in memory: descriptors of files are scarcer


def scratch_arrays(specs: Sequence[tuple[Any, tuple[int, ...]]]) -> list[Array]:
    """Return writable arrays of zeros.

    Parameters
    ----------
    specs : sequence of (dtype, shape)
        What each is to be.

    Returns
    -------
    list of ndarray
        In one mapped file under ``TRX_TMPDIR``, or in memory if they are small.

    Raises
    ------
    CapacityError
        If the disk has no room. The room is reserved at once: a mapped file that the disk cannot take later kills
        the process.
    """
    dtypes = [np.dtype(dtype) for dtype, _ in specs]
    starts, total = [], 0
    for dtype, (_, shape) in zip(dtypes, specs, strict=True):
        starts.append(total)
        nbytes = dtype.itemsize
        for length in shape:
            nbytes *= int(length)
        total += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    if total <= _SMALL:
        return [np.zeros(shape, dtype=dtype) for dtype, (_, shape) in zip(dtypes, specs, strict=True)]
    memory = _map_temporary(total)
    arrays = []
    for dtype, start, (_, shape) in zip(dtypes, starts, specs, strict=True):
        count = int(np.prod(shape, dtype=np.int64))
        if count:
            arrays.append(np.frombuffer(memory, dtype=dtype, count=count, offset=start).reshape(shape))
        else:
            arrays.append(np.zeros(shape, dtype=dtype))
    return arrays


def _map_temporary(nbytes: int) -> mmap.mmap:
    root = temporary_root()
    import tempfile

    try:
        file = tempfile.TemporaryFile(prefix="trxlib_", dir=root)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise temporary_error(root, error) from None
    with file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, nbytes)
            else:
                file.truncate(nbytes)
            return mmap.mmap(file.fileno(), nbytes)
        except OverflowError as error:
            raise CapacityError(f"{root} has no room for {nbytes} bytes of temporary data ({error})") from None
        except OSError as error:
            raise temporary_error(root, error, f"{nbytes} bytes of temporary data") from None
