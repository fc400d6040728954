"""trxlib: read, write, convert and merge TRX tractograms, near the speed of the disk.

Names are imported when they are first used, so that ``import trxlib`` costs nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trxlib.arrays import TrxArrays as TrxArrays
    from trxlib.checking import find_problems as find_problems
    from trxlib.checking import validate as validate
    from trxlib.conversion import ConvertInput as ConvertInput
    from trxlib.conversion import convert as convert
    from trxlib.extraction import extract_groups as extract_groups
    from trxlib.header import Header as Header
    from trxlib.merging import merge as merge
    from trxlib.space import Space as Space

__version__ = "0.1.0"

#: Public name -> the module that has it.
_HOMES = {
    "ConvertInput": "conversion",
    "Header": "header",
    "Space": "space",
    "TrxArrays": "arrays",
    "convert": "conversion",
    "extract_groups": "extraction",
    "find_problems": "checking",
    "merge": "merging",
    "validate": "checking",
}

__all__ = sorted(["__version__", *_HOMES])

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'trxlib' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"trxlib.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
