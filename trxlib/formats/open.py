"""Open a tractogram of any format: the order in which things happen to its streamlines is decided here, for all.

A reader gives the streamlines in the space of the result; then values of other files are attached, rules are judged,
and the positions get their type last, so that every rule looks at full precision.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from trxlib.formats.filters import apply_policy
from trxlib.formats.reference import space_from
from trxlib.formats.registry import FORMATS, detect_format
from trxlib.model.options import ReadOptions, StrPath
from trxlib.model.source import Source, SourceHeaders
from trxlib.spaces.positions import PositionsCast, check_positions_dtype
from trxlib.spaces.transform import transform_from

__all__ = ["open_input", "read_headers"]


def open_input(path: StrPath, options: ReadOptions | None = None) -> Source:
    """Open a tractogram of any format; its counts are those of what will be written.

    The order is the same for all formats: what the reader yields gets the values of other files, is moved, judged,
    selected from, and given its type. (Readers move while they read.)

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    options : ReadOptions, optional
        What happens to it on the way. ``reference`` is anything that `trxlib.formats.reference.space_from` takes; it
        is the space of the result: the file's own, or that to which ``transform`` leads. TCK needs one.

    Returns
    -------
    Source
        To be closed.

    Raises
    ------
    TrxError
        One of its kinds, naming file and place.
    """
    options = options or ReadOptions()
    policy = options.policy
    row = FORMATS[detect_format(path)]
    source: Source = _load(row.source)(
        os.fspath(path),
        reference=None if options.reference is None else space_from(options.reference),
        transform=transform_from(options.transform),
        positions_dtype=options.positions_dtype,
        **{name: getattr(options, name) for name in row.options},
    )
    try:
        dtype = check_positions_dtype(options.positions_dtype, source.default_dtype.name)
        if options.dps or options.dpv:
            attach: Callable[..., Source] = _load("trxlib.formats.attached:attach")
            source = attach(source, options.dps, options.dpv)
        source = apply_policy(source, policy)
        if source.info.positions_dtype != dtype:
            source = source.through(PositionsCast(dtype, source.info.path), dtype=dtype)
        return source
    except BaseException:
        source.close()
        raise


def read_headers(path: StrPath, options: ReadOptions | None = None) -> SourceHeaders:
    """Return what a plan needs to know of a tractogram, and close it again.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    options : ReadOptions, optional
        As for `open_input`.
    """
    with open_input(path, options) as source:
        return source.headers()


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
