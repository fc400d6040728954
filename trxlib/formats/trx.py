"""TRX archives and folders as a source, moved as asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trxlib.engine.trx_source import TrxSource
from trxlib.model.space import Space
from trxlib.spaces.placing import place_result
from trxlib.spaces.positions import PositionsMap, PositionsMove, working_dtype

__all__ = ["open_trx"]


def open_trx(
    path: str | Path,
    *,
    reference: Space | None = None,
    transform: npt.NDArray[np.float64] | None = None,
    positions_dtype: npt.DTypeLike | None = None,
) -> TrxSource:
    """Open a TRX archive or folder; `close` releases it.

    Parameters
    ----------
    path : str or Path
        The archive or folder.
    reference : Space, optional
        Space of the result: the file's own, or that to which `transform` leads.
    transform : ndarray, float64 of shape (4, 4), optional
        RASMM to RASMM.
    positions_dtype : dtype, optional
        What the positions will become. They are yielded as they are, or moved in the wider one of both, at least in
        float32.

    Raises
    ------
    FormatError, ArchiveError
        If the file is damaged.
    """
    source = TrxSource.open(path)
    source.info = replace(source.info, own_space=source.info.space)
    try:
        if reference is None and transform is None:
            return source
        space, matrix = place_result(source.path, source.info.space, reference, transform)
        if np.array_equal(matrix, np.eye(4)):
            return source.through(None, space=space)
        work: np.dtype[Any] = working_dtype(positions_dtype, source.info.positions_dtype)
        move = PositionsMove(PositionsMap(matrix, work, source.path))
        return source.through(move, dtype=work, space=space)
    except BaseException:
        source.close()
        raise
