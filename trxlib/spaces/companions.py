"""Files that belong to an image and have other names: the other half of a pair, the data behind a header in text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trxlib.errors import TrxError

__all__ = ["with_companions"]

#: Suffixes of the halves of a pair: NIfTI and Analyze, and AFNI; longer ones first.
_PAIRS = ((".hdr.gz", ".img.gz", ".hdr", ".img"), (".brik.gz", ".brik", ".head"))


def with_companions(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """Return files that are read, and all that belong to them: none of these may be replaced by an output.

    Parameters
    ----------
    paths : iterable of path
        Images, transforms, and others, which have no companions. What cannot be read has none, either: whoever reads
        it says so.
    """
    found: list[str | os.PathLike[str]] = []
    for path in paths:
        found.append(path)
        name = os.fspath(path).lower()
        if name.endswith(".mih"):
            from trxlib.spaces.transforms.mif import find_mif_data

            try:
                found.append(find_mif_data(Path(path)))
            except (TrxError, OSError):
                continue
        for suffixes in _PAIRS:
            own = next((suffix for suffix in suffixes if name.endswith(suffix)), None)
            if own is not None:
                stem = os.fspath(path)[: -len(own)]
                others = [Path(stem + end) for suffix in suffixes for end in (suffix, suffix.upper())]
                found += [other for other in others if other.is_file()]
    return found
