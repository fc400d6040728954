"""Read dps and dpv that lie in other files into arrays beside those of a TRX file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.container.temporary import scratch_arrays
from trxlib.model.arrays import TrxArrays
from trxlib.model.source import Columns

__all__ = ["attach_columns"]

Array = npt.NDArray[Any]
_COLUMN_ROWS = 1 << 15  # streamlines whose values are read from other files at a time


def attach_columns(
    arrays: TrxArrays, columns: Columns, lengths_of: Callable[[slice], Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the dps and dpv of a TRX file and those of other files, which are copied into a temporary file.

    Parameters
    ----------
    arrays : TrxArrays
        Not modified.
    columns : Columns
        What the other files hold.
    lengths_of : callable
        Returns the numbers of vertices of some streamlines.
    """
    header = arrays.header
    specs = [("dps", key, spec, header.nb_streamlines) for key, spec in columns.dps.items()]
    specs += [("dpv", key, spec, header.nb_vertices) for key, spec in columns.dpv.items()]
    made = scratch_arrays([(spec.dtype, (rows, spec.ncols)) for _, _, spec, rows in specs])
    reader, vertex = columns.reader(), 0
    for low in range(0, header.nb_streamlines, _COLUMN_ROWS):
        high = min(low + _COLUMN_ROWS, header.nb_streamlines)
        lengths = lengths_of(slice(low, high))
        values = dict(zip(("dps", "dpv"), reader.take(lengths), strict=True))
        stop = vertex + int(lengths.sum(dtype=np.int64))
        places = {"dps": slice(low, high), "dpv": slice(vertex, stop)}
        for (section, key, _, _), array in zip(specs, made, strict=True):
            array[places[section]] = values[section][key]
        vertex = stop
    reader.check_end()
    tables = {"dps": dict(arrays.dps), "dpv": dict(arrays.dpv)}
    for (section, key, _, _), array in zip(specs, made, strict=True):
        tables[section][key] = array
    return tables["dps"], tables["dpv"]
