"""Let other programs use trxlib where they import trx-python: dipy, or trx-python's own tools and tests."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types

from trxlib.errors import StateError

__all__ = ["stand_in_for_trx_python"]

#: Module of trx-python -> module of trxlib that has the same names.
_MODULES = {"trx.trx_file_memmap": "trxlib.trx_file_memmap", "trx.io": "trxlib.io"}


def stand_in_for_trx_python() -> None:
    """Put trxlib in the place of trx-python's modules, for this process.

    From now on ``import trx.trx_file_memmap`` and ``import trx.io`` give `trxlib.trx_file_memmap` and `trxlib.io`,
    whether trx-python is installed or not. Call it before anything imports them: dipy does so when its ``io`` is
    imported. A second call does nothing. Where both differ: ``docs/differences.md``.

    Raises
    ------
    StateError
        If one of the modules was imported before; who did so has trx-python's classes, and would mix both.

    Examples
    --------
    A script, or the ``conftest.py`` of a test suite, begins with:

    >>> from trxlib.stand_in import stand_in_for_trx_python
    >>> stand_in_for_trx_python()  # doctest: +SKIP
    >>> from dipy.io.streamline import load_tractogram  # doctest: +SKIP
    """
    late = [name for name, ours in _MODULES.items() if name in sys.modules and sys.modules[name].__name__ != ours]
    if late:
        raise StateError(
            f"{', '.join(late)} was imported already; call stand_in_for_trx_python() before anything imports "
            "trx-python, as dipy.io does"
        )
    package = _package()
    for name, ours in _MODULES.items():
        module = importlib.import_module(ours)
        sys.modules[name] = module
        setattr(package, name.removeprefix("trx."), module)


def _package() -> types.ModuleType:
    """Return the package `trx`; an empty one where trx-python is not installed."""
    if "trx" in sys.modules or importlib.util.find_spec("trx") is not None:
        return importlib.import_module("trx")
    spec = importlib.machinery.ModuleSpec("trx", None, is_package=True)
    package = sys.modules["trx"] = importlib.util.module_from_spec(spec)
    return package
