"""Open a tractogram of any format: the order in which things happen to its streamlines is decided here, for all.

A reader gives the streamlines in the space of the result, moved by a linear transform where there is one; then values
of other files are attached, arrays that are not wanted are left out, a field moves the positions, rules are judged, and
the positions get their type last, so that every rule looks at full precision.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trxlib.errors import CountError, InputError
from trxlib.formats.filters import apply_policy, check_finite
from trxlib.formats.reference import space_from
from trxlib.formats.registry import FORMATS, detect_format
from trxlib.model.choice import choose
from trxlib.model.options import ReadOptions, StrPath
from trxlib.model.source import Source, SourceHeaders
from trxlib.model.space import Space
from trxlib.spaces.grid import check_grid
from trxlib.spaces.positions import PositionsCast, check_positions_dtype, working_dtype

if TYPE_CHECKING:
    from trxlib.spaces.transforms import Transform

__all__ = ["look_into", "open_input", "open_unjudged", "read_headers"]


def open_input(path: StrPath, options: ReadOptions | None = None) -> Source:
    """Open a tractogram of any format; its counts are those of what will be written.

    The order is the same for all formats: what the reader yields gets the values of other files, loses the arrays that
    are not wanted, is moved, judged, selected from, and given its type. (Readers move while they read.)

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
    reference = None if options.reference is None else space_from(options.reference)
    transform = _read_transform(options, reference)
    source: Source = _load(row.source)(
        os.fspath(path),
        reference=reference,
        transform=_matrix_for_reader(transform, reference, path),
        positions_dtype=options.positions_dtype,
        **{name: _option(options, name) for name in row.options},
    )
    try:
        source.info = replace(source.info, transforms=() if transform is None else tuple(transform.records))
        dtype = check_positions_dtype(options.positions_dtype, source.default_dtype.name)
        judged = source.info.space if options.grid is None else space_from(options.grid)
        check_grid(judged, source.info.path, needed=policy.out_of_volume in ("drop", "fail"))
        source = _attach_values(source, options)
        source = choose(source, options.choice)
        fields = () if transform is None else transform.fields
        if transform is not None and fields:
            source = _move_by_field(source, transform, options)
        matrix = np.eye(4) if transform is None else transform.matrix
        source = apply_policy(source, policy, matrix, space=judged, fields=[field.name for field in fields])
        if source.info.positions_dtype != dtype:
            source = source.through(PositionsCast(dtype, source.info.path), dtype=dtype)
        return source
    except BaseException:
        source.close()
        raise


def open_unjudged(path: StrPath, reference: Any = None) -> Source:
    """Open a tractogram as its reader gives it: nothing moved, judged or left out.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    reference : optional
        The space of a format that states none; by default one without a grid, so that RASMM positions stay as they are.

    Returns
    -------
    Source
        To be closed.

    Raises
    ------
    TrxError
        One of its kinds, naming file and place.
    """
    row = FORMATS[detect_format(path)]
    options = ReadOptions()
    space = None if reference is None else space_from(reference)
    if space is None and row.name not in ("trx", "trk"):
        space = Space(np.eye(4), (1, 1, 1))
    own = {name: _option(options, name) for name in row.options}
    source: Source = _load(row.source)(os.fspath(path), reference=space, transform=None, positions_dtype=None, **own)
    return source


def _read_transform(options: ReadOptions, reference: Space | None) -> Transform | None:
    """Return the transforms as one, or None where there are none: most files need no module for them."""
    given = options.transforms()
    if not given:
        return None
    from trxlib.spaces.transforms import read_transforms

    return read_transforms(given, reference=reference, read_space=space_from)


def _matrix_for_reader(transform: Transform | None, reference: Space | None, path: StrPath) -> Any:
    """Return what the reader applies itself: a linear transform; nothing at all for one with a field."""
    if transform is None:
        return None
    if transform.fields and reference is None:
        raise InputError(
            f"{path}: a transform with a deformation field leads to a space that no matrix tells; name the image that "
            "it leads to as the reference"
        )
    # The space of the result is that of the reference then, and the positions stay where they are for now.
    return np.eye(4) if transform.fields else transform.matrix


def _option(options: ReadOptions, name: str) -> Any:
    """Return an option that only some readers take."""
    if name != "native":
        return getattr(options, name)
    first = next((item.get("source") for item in options.transforms()), None)
    return None if first is None else space_from(first)


def _attach_values(source: Source, options: ReadOptions) -> Source:
    """Return a source with the values of the files that are named, and of those that are found beside it."""
    found = []
    if options.companions != "none":
        find_values: Callable[..., list[Any]] = _load("trxlib.formats.found:find_values")
        found = find_values(source, options)
    if not (options.dps or options.dpv or found):
        return source
    attach: Callable[..., Source] = _load("trxlib.formats.attached:attach")
    accepts = options.accept_timestamp_mismatch
    return attach(source, options.dps, options.dpv, found=found, accept_timestamp_mismatch=accepts)


def _move_by_field(source: Source, transform: Transform, options: ReadOptions) -> Source:
    """Return a source moved by a transform with a field: NaN where that has no value."""
    from trxlib.spaces.transforms.step import TransformStep

    # What the file itself holds is judged first: behind the field, NaN means that it had no value.
    source = check_finite(source, options.policy)
    dtype = working_dtype(options.positions_dtype, source.info.positions_dtype)
    step = TransformStep(transform, dtype, source.info.path, fails=options.out_of_field == "fail")
    return source.through(step, dtype=dtype)


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


def look_into(
    path: StrPath, options: ReadOptions | None = None, *, grid: Space | None = None
) -> tuple[SourceHeaders, dict[str, Any]]:
    """Return what the headers of a tractogram say, and where some of its streamlines lie, before long work begins.

    Its first streamlines are read, a megabyte or two. Only if many of their vertices lie outside the grid of the result
    is the whole file read, so that it is judged by all of them.

    Parameters
    ----------
    path : path
        The file, or a TRX folder.
    options : ReadOptions, optional
        As for `open_input`.
    grid : Space, optional
        Of the archive that the result goes into, if that is another: it is judged by this grid as well.

    Returns
    -------
    SourceHeaders
        See `read_headers`.
    dict
        `Source.record`, with the share outside of what was read.

    Raises
    ------
    SpaceMismatchError
        If more vertices lie outside than `options` allow.

    Warns
    -----
    SpaceWarning
        If many do.
    """
    options = options or ReadOptions()
    try:
        return _look_into(path, options, grid)
    except CountError:
        if detect_format(path) != "tck":
            raise
        # As for a conversion: a header that miscounts is no reason to refuse streamlines that can be counted.
        return _look_into(path, options.counted(), grid)


def _look_into(path: StrPath, options: ReadOptions, grid: Space | None) -> tuple[SourceHeaders, dict[str, Any]]:
    with open_input(path, options) as source:
        limit = min(options.warn_outside, options.max_outside)
        looked = source
        if grid is not None and source.info.has_space:
            policy = replace(options.policy, nonfinite="fail", out_of_volume="keep", drop_empty=False)
            looked = apply_policy(source, policy, space=grid, grid="the grid of the archive")
        for chunk in looked.chunks():
            len(chunk.positions)  # made, and so looked at
            break
        findings = [item.findings for item in {id(item): item for item in (source, looked)}.values() if item.findings]
        if any(found.outside > limit * found.vertices for found in findings):
            for found in findings:
                found.vertices = found.outside = 0
            for chunk in looked.chunks():
                len(chunk.positions)
        return source.headers(), source.record()


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
