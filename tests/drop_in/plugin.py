"""A pytest plugin that runs the tests of trx-python and dipy with trxlib in trx-python's place.

``python -m pytest -p tests.drop_in.plugin --pyargs trx dipy.io.tests.test_streamline``. The tests' data are made,
unless ``TRX_HOME`` holds those that trx-python downloads. ``TRX_REFERENCE=1`` leaves trx-python where it is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

if not os.environ.get("TRX_REFERENCE"):
    from trxlib.stand_in import stand_in_for_trx_python

    stand_in_for_trx_python()

import dipy.data
import trx.fetcher

from tests.drop_in import data


def _home() -> Path:
    if "TRX_HOME" not in os.environ:
        os.environ["TRX_HOME"] = tempfile.mkdtemp(prefix="made_for_trx_")
    return Path(os.environ["TRX_HOME"])


def _make_data(*args: Any, **options: Any) -> None:
    """Stand where trx-python downloads: what is there is kept."""
    if not (_home() / "gold_standard").is_dir():
        data.write_all(_home())


def _find_data(name: str) -> Any:
    assert name == "gold_standard_io", f"no data of the name {name} are made"
    _make_data()
    return data.dipys_names(_home())


trx.fetcher.fetch_data = _make_data
dipy.data.get_fnames = _find_data
