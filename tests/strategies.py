"""Hypothesis strategies: random bundles of arrays, and indices into them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.helpers import make_trx_arrays
from trxlib.model.arrays import TrxArrays

FLOATS = ("<f2", "<f4", "<f8")
DTYPES = ("?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", *FLOATS)
#: Keys as people write them; never a dot or a separator.
KEYS = st.sampled_from(["fa", "weight", "mean length", "größe", "AF_L", "x-1", "n"])
columns = st.dictionaries(KEYS, st.tuples(st.integers(1, 4), st.sampled_from(DTYPES)), max_size=3)
lengths = st.lists(st.integers(0, 6), max_size=12)


@st.composite
def bundles(draw: Any, *, dps: Any = columns, dpv: Any = columns, with_groups: bool = True) -> TrxArrays:
    """Return a bundle: any number of streamlines, empty ones anywhere, overlapping groups, dpg, sidecars."""
    own_lengths = draw(lengths)
    groups: dict[str, Any] = {}
    if with_groups:
        member = st.integers(0, max(0, len(own_lengths) - 1))
        groups = draw(st.dictionaries(KEYS, st.lists(member, max_size=8 if own_lengths else 0), max_size=3))
    dpg = {group: {"mean": [[draw(st.integers(-5, 5))]]} for group in groups if draw(st.booleans())}
    return make_trx_arrays(
        lengths=own_lengths,
        seed=draw(st.integers(0, 2**16)),
        positions_dtype=draw(st.sampled_from(FLOATS)),
        offsets_dtype=draw(st.sampled_from(["<u4", "<u8"])),
        dps=draw(dps),
        dpv=draw(dpv),
        groups=groups,
        dpg=dpg,
        extra=draw(st.dictionaries(st.sampled_from(["SITE", "YEAR"]), st.integers(0, 3))),
        sidecars=draw(st.dictionaries(st.sampled_from(["a.json", "b/c.json"]), st.just(b"{}"))),
    )


@st.composite
def several_bundles(draw: Any) -> list[TrxArrays]:
    """Return one to four bundles with the same dps and dpv."""
    dps, dpv = draw(columns), draw(columns)
    kinds = bundles(dps=st.just(dps), dpv=st.just(dpv))
    return draw(st.lists(kinds, min_size=1, max_size=4))


@st.composite
def indices(draw: Any, count: int) -> Any:
    """Return any index into `count` streamlines."""
    if not count:
        return draw(st.sampled_from([[], slice(None), np.zeros(0, bool), np.zeros(0, int)]))
    row = st.integers(-count, count - 1)
    return draw(
        st.one_of(
            row,
            st.lists(row, max_size=15),
            st.lists(row, max_size=15).map(lambda rows: np.array(rows, "i8")),
            st.lists(st.booleans(), min_size=count, max_size=count).map(lambda mask: np.array(mask, bool)),
            st.slices(count),
        )
    )
