"""The same tractogram in any format gives the same streamlines: rules see full precision, the cast comes last."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.made import ANYWHERE, SIZES, tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from trxlib import convert, export
from trxlib.errors import DataLossWarning, DtypeError, FormatError
from trxlib.model.space import Space

#: The grid ends at 200 - 1 / 2 along the first axis: neighbours in float16 are 1 / 8 apart there.
DIMENSIONS = (200, 6, 5)
SPACE = Space(np.diag([*SIZES, 1.0]), DIMENSIONS)
EDGE = 199.5
FORMATS = ["trk", "tck", "tck float64", "trx", "trx float64", "folder", "vtk", "dpy", "dpy float64"]
TURN = np.array([[0.0, -1, 0, 5], [1, 0, 0, -2], [0, 0, 1, 7.5], [0, 0, 0, 1]])


def lines_with(*firsts: float) -> list[np.ndarray]:
    """Streamlines of two vertices inside, of which the first has these coordinates along the first axis."""
    return [np.array([[first, 2.5, 3], [4, 2.5, 3]]) for first in firsts]


def write_as(kind: str, lines: list[np.ndarray], folder: Path) -> Path:
    """Write streamlines (RASMM) in one of the formats."""
    name, _, dtype = kind.partition(" ")
    if name == "trk":
        voxmm = [(line + np.array(SIZES) / 2).astype(np.float32) for line in lines]
        return write(folder / "a.trk", trk_bytes(voxmm, dim=DIMENSIONS))
    if name == "tck":
        return write(folder / "a.tck", tck_bytes(lines, datatype="Float64LE" if dtype else "Float32LE"))
    if name == "vtk":
        return write(folder / "a.vtk", _vtk_bytes(lines))
    if name == "dpy":
        h5py = pytest.importorskip("h5py")
        with h5py.File(folder / "a.dpy", "w") as file:
            group = file.create_group("streamlines")
            group["tracks"] = np.concatenate(lines).astype(dtype or "float32")
            group["offsets"] = np.cumsum([0, *map(len, lines)])
        return folder / "a.dpy"
    arrays = make_trx_arrays(
        lengths=[len(line) for line in lines], positions_dtype="<f8" if dtype else "<f4", dps={}, dpv={}, groups={},
        affine=SPACE.voxel_to_rasmm, dimensions=DIMENSIONS,
    )  # fmt: skip
    arrays.positions[:] = np.concatenate(lines)
    return (write_plain_folder if name == "folder" else write_plain_zip)(arrays, folder / f"a_{name}.trx")


def _vtk_bytes(lines: list[np.ndarray]) -> bytes:
    rows = np.concatenate(lines)
    numbers = iter(range(len(rows)))
    cells = b"".join(
        struct.pack(">i", len(line)) + b"".join(struct.pack(">i", next(numbers)) for _ in line) for line in lines
    )
    head = f"# vtk DataFile Version 3.0\nlines SPACE=RAS\nBINARY\nDATASET POLYDATA\nPOINTS {len(rows)} float\n".encode()
    return head + rows.astype(">f4").tobytes() + f"\nLINES {len(lines)} {len(rows) + len(lines)}\n".encode() + cells


def kept(path: Path, output: Path, **options: Any) -> list[float]:
    """Return the first coordinate of each streamline that is kept."""
    options.setdefault("reference", None if path.suffix in (".trk", ".trx") else SPACE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataLossWarning)
        convert(path, output, **ANYWHERE, **options)
    found = read_plain(output)
    return found.positions[found.offsets[:-1].astype(int), 0].astype(float).tolist()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [None, "float16", "float32", "float64"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_vertex_that_the_cast_would_bring_inside_is_outside(
    tmp_path: Path, kind: str, dtype: str | None, moved: bool
) -> None:
    offsets = (-1, -0.01, 0, 0.01, 0.05, 1)
    lines = lines_with(*(EDGE + offset for offset in offsets))
    options: dict[str, Any] = {"positions_dtype": dtype, "out_of_volume": "drop"}
    if moved:
        lines = [(line - TURN[:3, 3]) @ TURN[:3, :3] for line in lines]
        options |= {"transform": TURN, "reference": SPACE}
    path = write_as(kind, lines, tmp_path)
    found = kept(path, tmp_path / "out.trx", **options)
    wanted = np.array([EDGE + offset for offset in offsets if offset <= 0])
    np.testing.assert_allclose(found, wanted, atol=0.07 if dtype == "float16" else 1e-4)
    assert len(found) == len(wanted)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_kept_or_refused_does_not_depend_on_the_type(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_as(kind, lines_with(EDGE, EDGE + 0.01), tmp_path)
    for dtype in (None, "float16", "float32", "float64"):
        caplog.clear()
        with caplog.at_level("WARNING", "trxlib"):
            assert len(kept(path, tmp_path / "out.trx", positions_dtype=dtype)) == 2
        assert "1 of 2 streamlines have vertices outside the grid of 200x6x5" in caplog.text
        with pytest.raises(FormatError, match=r"a.*: streamline 1 leaves the grid of \[200, 6, 5\] voxels"):
            kept(path, tmp_path / "out.trx", positions_dtype=dtype, out_of_volume="fail")


@pytest.mark.parametrize("kind", ["tck float64", "trx float64", "dpy float64"])
@pytest.mark.parametrize("nonfinite", ["fail", "drop"])
def test_a_vertex_that_the_cast_would_make_infinite_is_an_error(tmp_path: Path, kind: str, nonfinite: str) -> None:
    path = write_as(kind, lines_with(1, 1e39), tmp_path)
    options: dict[str, Any] = {"reference": SPACE, "nonfinite": nonfinite, **ANYWHERE}
    message = r"streamline 1 has the vertex \[1e\+39, 2.5, 3.0\], which does not fit float32"
    with pytest.raises(DtypeError, match=message):
        convert(path, tmp_path / "out.trx", positions_dtype="float32", **options)
    assert not (tmp_path / "out.trx").exists()
    with pytest.raises(DtypeError, match=r"streamline 1 .*does not fit float16"):
        convert(path, tmp_path / "out.trx", positions_dtype="float16", **options)
    # It is finite, and outside of the grid.
    assert kept(path, tmp_path / "out.trx", positions_dtype="float32", out_of_volume="drop", reference=SPACE) == [1]


@pytest.mark.parametrize("kind", FORMATS)
def test_nonfinite_vertices_are_dropped_before_the_cast(tmp_path: Path, kind: str) -> None:
    bad = np.inf if kind not in ("vtk", "trk") else np.nan
    path = write_as(kind, lines_with(1, bad, 3), tmp_path)
    for dtype in ("float16", "float32", "float64"):
        assert kept(path, tmp_path / "out.trx", positions_dtype=dtype, nonfinite="drop", reference=SPACE) == [1, 3]
        with pytest.raises(FormatError, match="streamline 1 has the vertex"):
            kept(path, tmp_path / "out.trx", positions_dtype=dtype, reference=SPACE)


@pytest.mark.parametrize("kind", FORMATS)
def test_export_judges_in_the_same_order(tmp_path: Path, kind: str) -> None:
    path = write_as(kind, lines_with(EDGE - 1, EDGE + 0.01, EDGE + 1e-3), tmp_path)
    for name in ("out.trk", "out.tck"):
        with pytest.warns(DataLossWarning, match="2 of 3 streamlines are left out"):
            info, _ = export(path, tmp_path / name, reference=SPACE, out_of_volume="drop", **ANYWHERE)
        assert info.nb_streamlines == 1
