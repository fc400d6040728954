"""trxlib: read, write, convert and merge TRX tractograms, near the speed of the disk.

Names are imported when they are first used, so that ``import trxlib`` costs nothing.

Notes
-----
The examples of this package take ``import numpy as np`` and ``import trxlib`` as given, and a folder with an image,
``b0.nii.gz``; one subject's 4 streamlines as ``sub-01.trk``, ``sub-01.tck`` and ``sub-01.trx``; another's as
``sub-02.trx``; and both as ``cohort.trx``, with groups ``AF_L`` and ``CST_R``. ``tests/examples.py`` makes them.

Examples
--------
>>> inputs = trxlib.convert([("sub-01.trk", "AF_L"), ("sub-02.trx", "CST_R")], "both.trx")
>>> trx = trxlib.load("both.trx")
>>> len(trx), len(trx.get_group("CST_R"))
(8, 4)
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trxlib import errors as errors
    from trxlib.commands.convert import ConvertInput as ConvertInput
    from trxlib.commands.convert import convert as convert
    from trxlib.commands.describe import describe as describe
    from trxlib.commands.export import export as export
    from trxlib.commands.extract import extract_groups as extract_groups
    from trxlib.commands.findings import find_odd as find_odd
    from trxlib.commands.merge import merge as merge
    from trxlib.commands.sets import difference as difference
    from trxlib.commands.sets import drop_duplicates as drop_duplicates
    from trxlib.commands.sets import intersection as intersection
    from trxlib.commands.sets import union as union
    from trxlib.commands.validate import find_problems as find_problems
    from trxlib.commands.validate import validate as validate
    from trxlib.commands.verify import verify as verify
    from trxlib.model.arrays import TrxArrays as TrxArrays
    from trxlib.model.header import Header as Header
    from trxlib.model.space import Space as Space
    from trxlib.trx_file_memmap import TrxFile as TrxFile
    from trxlib.trx_file_memmap import concatenate as concatenate
    from trxlib.trx_file_memmap import dipy_available as dipy_available
    from trxlib.trx_file_memmap import load as load
    from trxlib.trx_file_memmap import load_from_directory as load_from_directory
    from trxlib.trx_file_memmap import load_from_zip as load_from_zip
    from trxlib.trx_file_memmap import save as save
    from trxlib.trx_file_memmap import zip_from_folder as zip_from_folder

__version__ = "0.1.0"

#: Public name -> the module that has it.
_HOMES = {
    "ConvertInput": "commands.convert",
    "Header": "model.header",
    "Space": "model.space",
    "TrxArrays": "model.arrays",
    "TrxFile": "trx_file_memmap",
    "concatenate": "trx_file_memmap",
    "convert": "commands.convert",
    "describe": "commands.describe",
    "difference": "commands.sets",
    "dipy_available": "trx_file_memmap",
    "drop_duplicates": "commands.sets",
    "export": "commands.export",
    "extract_groups": "commands.extract",
    "find_odd": "commands.findings",
    "find_problems": "commands.validate",
    "intersection": "commands.sets",
    "load": "trx_file_memmap",
    "load_from_directory": "trx_file_memmap",
    "load_from_zip": "trx_file_memmap",
    "merge": "commands.merge",
    "save": "trx_file_memmap",
    "union": "commands.sets",
    "validate": "commands.validate",
    "verify": "commands.verify",
    "zip_from_folder": "trx_file_memmap",
}
#: Helpers of the TRX reference module, for scripts that use them.
_HELPERS = (
    "_append_last_offsets",
    "_compute_lengths",
    "_create_memmap",
    "_dichotomic_search",
    "_ensure_little_endian",
    "_filter_empty_trx_files",
    "_generate_filename_from_data",
    "_get_dtype_little_endian",
    "_is_dtype_valid",
    "_split_ext_with_dimensionality",
)

__all__ = sorted(["__version__", *_HOMES])
_HOMES |= dict.fromkeys(_HELPERS, "trx_file_memmap")

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("trxlib.errors")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'trxlib' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"trxlib.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
