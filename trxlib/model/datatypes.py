"""The number types of the TRX format by name, kind and size. `trxlib.model.dtypes` has them as dtypes of numpy.

TRX specification, "Accepted extensions": int8..64, uint8..64, float16..64 and ``bit``. What only looks at a file's
names needs no more than this, and starts without numpy.
"""

from __future__ import annotations

from typing import NamedTuple

from trxlib.errors import DtypeError

__all__ = ["TYPES", "TYPE_BY_KIND", "DataType", "type_of_extension"]


class DataType(NamedTuple):
    """A number type.

    Parameters
    ----------
    extension : str
        In the name of an entry, without the dot.
    kind : str
        As numpy says it: ``b`` for bool, ``i``, ``u`` or ``f``.
    itemsize : int
        Bytes of a number.
    """

    extension: str
    kind: str
    itemsize: int

    @property
    def name(self) -> str:
        """The name in numpy."""
        return "bool" if self.kind == "b" else self.extension


_SIZES = (("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)), ("float", (16, 32, 64)))
#: Extension -> type. ``bit`` is one byte per value here, as in the programs of the field.
TYPES: dict[str, DataType] = {
    "bit": DataType("bit", "b", 1),
    **{f"{kind}{bits}": DataType(f"{kind}{bits}", kind[0], bits // 8) for kind, sizes in _SIZES for bits in sizes},
}
#: Kind and bytes -> type.
TYPE_BY_KIND: dict[tuple[str, int], DataType] = {(row.kind, row.itemsize): row for row in TYPES.values()}
# trx-python maps ``bit`` to bool; folders with a literal ``.bool`` exist.
_ALIASES = {"bool": "bit", "ushort": "uint16"}


def type_of_extension(extension: str) -> DataType:
    """Return the type that a file extension stands for.

    Parameters
    ----------
    extension : str
        With or without the leading dot, e.g. ``"float32"`` or ``".bit"``.

    Raises
    ------
    DtypeError
        If the format has no such type. Numpy's other names (``O``, ``f4``, ``complex64``) are refused.
    """
    name = extension.removeprefix(".")
    try:
        return TYPES[_ALIASES.get(name, name)]
    except KeyError:
        raise DtypeError(f"unknown data type {extension!r}; the TRX format has {', '.join(TYPES)}") from None
