"""TRX as an input of conversion: groups stay, rules and transforms hold as they do for streams."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import numpy as np
import pytest

from tests.formats.made import ANYWHERE
from tests.helpers import make_trx_arrays, read_entries, read_plain, write_plain_zip
from trxlib import ConvertInput, convert, merge
from trxlib.errors import DataLossWarning, DtypeError, FormatError, HeaderWarning, InputError
from trxlib.formats.open import open_input, read_headers
from trxlib.model.options import ReadOptions

INSIDE = np.diag([2.0, 2.0, 2.0, 1.0])
LARGE = (100, 100, 100)


@pytest.fixture
def bundle():
    arrays = make_trx_arrays(8, lengths=[0, 3, 2, 4, 0, 1, 5, 2], affine=INSIDE, dimensions=LARGE)
    arrays.positions[:] = np.abs(arrays.positions) + 1
    return arrays


def test_trx_to_trx_keeps_everything(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    [converted] = convert(path, tmp_path / "out.trx")
    assert read_entries(tmp_path / "out.trx").keys() == read_entries(path).keys()
    result = read_plain(tmp_path / "out.trx")
    np.testing.assert_array_equal(result.positions, bundle.positions)
    assert {group: array.tolist() for group, array in result.groups.items()} == {
        group: array.tolist() for group, array in bundle.groups.items()
    }
    assert converted.info.format == "trx"
    assert (converted.place.nb_streamlines, converted.place.nb_vertices) == (8, 17)


def test_a_transform_moves_positions_and_affine(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, -2], [0, 0, 1, 7.5], [0, 0, 0, 1]], dtype=float)
    convert(path, tmp_path / "out.trx", transform=turn)
    result = read_plain(tmp_path / "out.trx")
    expected = bundle.positions.astype(float) @ turn[:3, :3].T + turn[:3, 3]
    np.testing.assert_allclose(result.positions, expected, atol=1e-5)
    np.testing.assert_allclose(result.header.voxel_to_rasmm, turn @ INSIDE)
    assert "groups/CC.uint32" in read_entries(tmp_path / "out.trx")
    np.testing.assert_array_equal(read_plain(path).positions, bundle.positions)


def test_positions_dtype_is_changed_and_refused_where_it_overflows(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    convert(path, tmp_path / "out.trx", positions_dtype="float16")
    assert read_plain(tmp_path / "out.trx").positions.dtype == np.float16
    bundle.positions[3] = 1e6
    path = write_plain_zip(bundle, tmp_path / "far.trx")
    with pytest.raises(FormatError, match=r"far.trx: streamline 2 has the vertex \[1000000.0, .* does not fit float16"):
        convert(path, tmp_path / "out2.trx", positions_dtype="float16")
    assert not (tmp_path / "out2.trx").exists()


@pytest.mark.parametrize("compute", ["one pass", "dropped"])
@pytest.mark.parametrize(("own", "wanted"), [("<f2", "float32"), ("<f2", "float64"), ("<f4", "float64")])
def test_a_transform_is_rounded_to_the_type_asked_for_only(tmp_path, own, wanted, compute):
    arrays = make_trx_arrays(lengths=[3, 0, 5], positions_dtype=own, dps={}, dpv={}, groups={})
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    shift = np.eye(4)
    shift[:3, 3] = (100.013, 70_000, 0)
    expected = arrays.positions.astype(np.float64) + shift[:3, 3]
    with pytest.warns(DataLossWarning) if compute == "dropped" else nullcontext():
        convert(path, tmp_path / "out.trx", transform=shift, positions_dtype=wanted, drop_empty=compute == "dropped")
    found = read_plain(tmp_path / "out.trx").positions
    assert found.dtype == wanted
    np.testing.assert_allclose(found, expected, rtol=np.finfo(wanted).eps, atol=0)
    convert(path, tmp_path / "out.tck", transform=shift, positions_dtype="float64")
    rows = np.frombuffer((tmp_path / "out.tck").read_bytes()[-(8 + 4) * 24 :], "<f8").reshape(-1, 3)
    np.testing.assert_allclose(rows[np.isfinite(rows[:, 0])], expected, rtol=1e-15)


@pytest.mark.parametrize("wanted", ["float16", "float32"])
def test_float64_is_rounded_once_also_when_it_is_moved(tmp_path, wanted):
    arrays = make_trx_arrays(lengths=[3, 0, 5], positions_dtype="<f8", dps={}, dpv={}, groups={})
    # Between two numbers of float16, which rounding to float32 first would make a tie.
    arrays.positions[:] = np.nextafter(1 + 3 * 2.0**-11, 0) + np.arange(len(arrays.positions))[:, None]
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    convert(path, tmp_path / "plain.trx", positions_dtype=wanted, **ANYWHERE)
    assert np.array_equal(read_plain(tmp_path / "plain.trx").positions, arrays.positions.astype(wanted))
    arrays.positions[:] += 100_000
    far = write_plain_zip(arrays, tmp_path / "far.trx")
    back = np.eye(4)
    back[:3, 3] = -100_000
    convert(far, tmp_path / "back.trx", transform=back, positions_dtype=wanted, **ANYWHERE)
    expected = (arrays.positions - 100_000).astype(wanted)
    assert np.array_equal(read_plain(tmp_path / "back.trx").positions, expected)


def test_the_log_says_what_float16_has_cost(bundle, tmp_path, caplog):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    error = np.abs(bundle.positions.astype(np.float16).astype(float) - bundle.positions).max()
    for write in (convert, lambda source, output, **options: merge([source], output, **options)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            write(path, tmp_path / "out.trx", positions_dtype="float16")
        assert f"in.trx: float16 moved vertices by at most {error:.4g} mm" in caplog.text
        np.testing.assert_array_equal(read_plain(tmp_path / "out.trx").positions, bundle.positions.astype(np.float16))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        convert(tmp_path / "out.trx", tmp_path / "again.trx", positions_dtype="float32")
    assert "float16 moved" not in caplog.text


def test_names_that_become_one_are_told_apart(tmp_path):
    values = {"a.b": [[1]], "a_b": [[2]], "plain": [[3]]}
    arrays = make_trx_arrays(lengths=[3, 2], groups={"g": [0], "h.i": [1]}, dpg={"g": values, "h.i": values, "h_i": {}})
    arrays.dpg["h_i"] = {"lone": np.ones((1, 1), np.float32)}  # of no group
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    with pytest.warns(HeaderWarning) as caught, pytest.warns(DataLossWarning, match="no such groups: dpg/h_i"):
        convert(path, tmp_path / "out.trx")
    (text,) = [str(item.message) for item in caught if item.category is HeaderWarning]
    for change in ("dpg/g/a.b becomes a_b_", "dpg/h_i_/a.b becomes a_b_", "groups/h.i becomes h_i_"):
        assert change in text
    found = read_plain(tmp_path / "out.trx").dpg
    expected = {"a_b_": 1, "a_b": 2, "plain": 3}
    assert {group: {key: value.item() for key, value in table.items()} for group, table in found.items()} == {
        "g": expected,
        "h_i_": expected,
    }
    arrays.dpg, arrays.groups = {"g": {"x.y": np.ones((1, 1), np.float32)}}, {"g": np.array([0], np.uint32)}
    write_plain_zip(arrays, path)
    with pytest.warns(HeaderWarning, match="are changed: dpg/g/x.y becomes x_y$"):
        convert(path, tmp_path / "out.trx")


def test_what_does_not_fit_float32_is_refused(tmp_path, caplog):
    arrays = make_trx_arrays(lengths=[3], positions_dtype="<f8")
    arrays.positions[1] = 1e39
    path = write_plain_zip(arrays, tmp_path / "far.trx")
    with pytest.raises(DtypeError, match=r"far\.trx: streamline 0 has the vertex \[1e\+39, .* does not fit float32"):
        convert(path, tmp_path / "out.trx", positions_dtype="float32")
    with caplog.at_level(logging.WARNING):
        convert(path, tmp_path / "out.trx", **ANYWHERE)
    assert "1 of 1 streamlines have vertices outside the grid" in caplog.text


def test_a_vertex_that_is_not_finite_is_named_or_dropped(bundle, tmp_path):
    bundle.positions[6, 1] = np.nan  # streamline 3
    path = write_plain_zip(bundle, tmp_path / "nan.trx")
    with pytest.raises(FormatError, match="nan.trx: streamline 3 has the vertex"):
        convert(path, tmp_path / "out.trx")
    with pytest.warns(DataLossWarning, match="1 of 8 streamlines are left out"):
        convert(path, tmp_path / "out.trx", nonfinite="drop")
    result = read_plain(tmp_path / "out.trx")
    assert np.diff(result.offsets).tolist() == [0, 3, 2, 0, 1, 5, 2]
    assert result.groups["CST_L"].tolist() == [0, 2, 3, 5]  # of 0, 2, 4, 6
    np.testing.assert_array_equal(result.dps["weight"], np.delete(bundle.dps["weight"], 3, axis=0))


def test_streamlines_outside_the_grid_are_counted_refused_or_dropped(bundle, tmp_path, caplog):
    bundle.positions[[0, 1, 15]] = -50  # streamlines 1 and 7
    path = write_plain_zip(bundle, tmp_path / "out_of.trx")
    with caplog.at_level(logging.WARNING):
        convert(path, tmp_path / "out.trx", **ANYWHERE)
    assert "2 of 8 streamlines have vertices outside the grid of 100x100x100" in caplog.text
    with pytest.raises(FormatError, match="streamline 1 leaves the grid"):
        convert(path, tmp_path / "out.trx", out_of_volume="fail")
    with pytest.warns(DataLossWarning, match="2 of 8"):
        convert(path, tmp_path / "out.trx", out_of_volume="drop", **ANYWHERE)
    assert np.diff(read_plain(tmp_path / "out.trx").offsets).tolist() == [0, 2, 4, 0, 1, 5]


def test_empty_streamlines_are_kept_or_dropped_with_their_rows(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    with pytest.warns(DataLossWarning, match="2 of 8"):
        convert(path, tmp_path / "out.trx", drop_empty=True)
    result = read_plain(tmp_path / "out.trx")
    assert np.diff(result.offsets).tolist() == [3, 2, 4, 1, 5, 2]
    np.testing.assert_array_equal(result.dps["weight"], np.delete(bundle.dps["weight"], [0, 4], axis=0))
    np.testing.assert_array_equal(result.positions, bundle.positions)


def test_reading_headers_reads_no_positions(bundle, tmp_path):
    bundle.positions[:] = np.nan
    path = write_plain_zip(bundle, tmp_path / "nan.trx")
    headers = read_headers(path)
    assert headers.groups == {"CST_L": 4, "CC": 8, "none": 0}
    assert headers.info.nb_vertices == 17


def test_a_rule_of_another_value_is_refused(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    with pytest.raises(InputError, match="nonfinite is 'keep'"):
        open_input(path, ReadOptions(nonfinite="keep"))


def test_files_beside_a_trx_are_attached(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    weights = np.arange(8, dtype="<f4") / 8
    (tmp_path / "weights.txt").write_text("# command\n" + " ".join(map(str, weights)) + "\n")
    np.save(tmp_path / "fa.npy", np.arange(17, dtype="<f8"))
    item = ConvertInput(path, "CC", dps={"sift": tmp_path / "weights.txt"}, dpv={"fa2": tmp_path / "fa.npy"})
    [converted] = convert(item, tmp_path / "out.trx")
    result = read_plain(tmp_path / "out.trx")
    np.testing.assert_array_equal(result.dps["sift"][:, 0], weights)
    np.testing.assert_array_equal(result.dpv["fa2"][:, 0], np.arange(17))
    assert result.groups["CC"].tolist() == list(range(8))
    [plain] = convert(path, tmp_path / "plain.trx")
    assert converted.fingerprint != plain.fingerprint
    (tmp_path / "weights.txt").write_text("1 2 3\n")
    with pytest.raises(FormatError, match=r"weights.txt"):
        convert(item, tmp_path / "out.trx")


def test_an_affine_in_text_is_not_overwritten(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    affine = tmp_path / "affine.tck"
    affine.write_text("2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n")
    with pytest.raises(InputError, match=r"affine\.tck: would replace the input"):
        convert(path, affine, reference=(affine, LARGE))
    convert(path, tmp_path / "out.trx", reference=(affine, LARGE))
    assert read_plain(tmp_path / "out.trx").header.dimensions == LARGE


def test_what_is_no_input_is_refused(bundle, tmp_path):
    path = write_plain_zip(bundle, tmp_path / "in.trx")
    for wrong in (None, 5, [5]):
        with pytest.raises(InputError, match="is no input"):
            convert(wrong, tmp_path / "out.trx")
    for suffix in ("trx", "tck"):
        with pytest.raises(InputError, match="a tuple is no reference"):
            convert(path, tmp_path / f"out.{suffix}", reference=())
    with pytest.raises(InputError, match="positions_dtype is 'foo'"):
        convert(path, tmp_path / "out.trx", positions_dtype="foo")
