"""Many vertices outside the grid of the result: a warning, then an error that says what is probably wrong."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_cli import run
from tests.formats.made import open_source, read_all, tck_bytes, trk_bytes, write
from tests.formats.test_transforms_in_pipeline import (
    FORMATS,
    MOTION,
    SIZES,
    TARGET,
    TARGET_SHAPE,
    native_lines,
    write_tractogram,
)
from tests.helpers import make_trx_arrays, read_plain, write_plain_zip
from tests.spaces.transform_files import OBLIQUE, SHAPE, bend, move, write_image, write_itk_warp, write_rows
from trxlib import convert, export
from trxlib.errors import DataLossWarning, HeaderWarning, InputError, SpaceMismatchError, SpaceWarning
from trxlib.model.space import Space
from trxlib.spaces.outside import judge_share, thin_out

#: A head far from the middle of the world, so that no mistake goes unseen.
HEAD = np.array([[2.0, 0, 0, 20], [0, 2, 0, -60], [0, 0, 2, 5], [0, 0, 0, 1]])
HEAD_SHAPE = (50, 60, 50)


def head_points(count: int = 1000, seed: int = 0) -> np.ndarray:
    """Vertices inside the head (RASMM)."""
    voxels = np.random.default_rng(seed).uniform(1, np.array(HEAD_SHAPE) - 2, (count, 3))
    return move(HEAD, voxels)


def write_head(folder: Path, points: np.ndarray, lengths: int = 10, name: str = "head.tck") -> Path:
    return write(folder / name, tck_bytes(list(points.astype(np.float32).reshape(-1, lengths, 3))))


def away(points: np.ndarray, share: float) -> np.ndarray:
    """The first vertices of evenly spread streamlines go 1 m away."""
    moved = points.copy()
    moved[:: round(1 / share)] += 1000
    return moved


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_image(tmp_path / "head.nii.gz", HEAD, HEAD_SHAPE)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("output", ["out.trx", "out", "out.trk", "out.tck"])
def test_a_tractogram_one_metre_away_is_an_error_and_leaves_nothing(tmp_path: Path, name: str, output: str) -> None:
    lines = [line + 1000 for line in native_lines()]
    path = write_tractogram(name, lines, tmp_path)
    before = sorted(path.rglob("*"))
    reference = None if name.startswith("t") and name != "tck" else Space(OBLIQUE, SHAPE)
    if name == "folder":
        reference = None
    message = (
        rf"{re.escape(path.name)}: 100 % of its vertices \(49 of 49\) lie outside the grid of 50x62x36 voxels; is it"
    )
    folder = tmp_path / "result"
    folder.mkdir()
    with pytest.raises(SpaceMismatchError, match=message):
        convert(path, folder / output, reference=reference)
    if output.endswith(("trk", "tck")):
        with pytest.raises(SpaceMismatchError, match=message):
            export(path, folder / output, reference=reference)
    assert not list(folder.iterdir())
    assert sorted(path.rglob("*")) == before
    convert(path, folder / output, reference=reference, max_outside=1, warn_outside=1)
    assert (folder / output).exists()


def test_what_stood_there_before_an_error_is_still_there(tmp_path: Path) -> None:
    path = write_tractogram("trk", [line + 1000 for line in native_lines()], tmp_path)
    for output in ("out.trx", "out.trk"):
        (tmp_path / output).write_bytes(b"before")
        with pytest.raises(SpaceMismatchError):
            convert(path, tmp_path / output)
        assert (tmp_path / output).read_bytes() == b"before"


def test_the_command_line_says_file_numbers_and_reason(tmp_path: Path, image: Path) -> None:
    path = write_head(tmp_path, head_points() * (-1, -1, 1))
    for output in ("out.trx", "out.tck"):
        result = run("convert", path, tmp_path / output, "--reference", image)
        assert result.exit_code == 1
        text = " ".join(result.stderr.split())
        assert "head.tck: 100 % of its vertices (1000 of 1000) lie outside the grid of 50x60x50 voxels; 100 %" in text
        assert "if they were taken in LPS" in text
        assert "max_outside, now 0.5" in text
        assert "Traceback" not in text
        assert not (tmp_path / output).exists()
    result = run("convert", path, tmp_path / "out.trx", "--reference", image, "--max-outside", "1", "--warn-outside", 1)
    assert result.exit_code == 0, result.output
    path = write_head(tmp_path, away(head_points(), 0.2))
    result = run("convert", path, tmp_path / "out.trx", "--reference", image, "--force")
    assert result.exit_code == 0
    assert "20 % of its vertices (200 of 1000) lie outside" in " ".join(result.stderr.split())
    assert run("convert", path, tmp_path / "out.trx", "--reference", image, "--max-outside", "0.1").exit_code == 1
    for wrong in ("1.5", "-1", "nan", "much"):
        assert _status("convert", path, tmp_path / "x.trx", "--reference", image, f"--max-outside={wrong}") == 2


def _status(*words: Any) -> int:
    try:
        return run(*words).exit_code
    except SystemExit as leaving:
        return int(leaving.code)


@pytest.mark.parametrize("output", ["out.trx", "out", "out.trk", "out.tck"])
def test_a_fifth_outside_is_a_warning_and_a_hundredth_a_line_of_the_log(
    tmp_path: Path, image: Path, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_head(tmp_path, away(head_points(), 0.2))
    with pytest.warns(
        SpaceWarning, match=r"head\.tck: 20 % of its vertices \(200 of 1000\) lie outside the grid of 50x"
    ):
        convert(path, tmp_path / output, reference=image)
    path = write_head(tmp_path, away(head_points(), 0.01))
    caplog.clear()
    with caplog.at_level("WARNING", "trxlib"):
        convert(path, tmp_path / output, reference=image)  # a warning would be an error here
    assert "10 of 100 streamlines have vertices outside the grid of 50x60x50; they are kept" in caplog.text


def test_limits_are_settings(tmp_path: Path, image: Path) -> None:
    path = write_head(tmp_path, away(head_points(), 0.2))
    with pytest.warns(SpaceWarning, match="above warn_outside, 0.199"):
        convert(path, tmp_path / "out.trx", reference=image, warn_outside=0.199)
    convert(path, tmp_path / "out.trx", reference=image, warn_outside=0.2)  # the share itself may pass
    with pytest.raises(SpaceMismatchError, match="max_outside, now 0.1"):
        convert(path, tmp_path / "out.trx", reference=image, max_outside=0.1)
    with pytest.raises(SpaceMismatchError, match="max_outside, now 0"):
        convert(path, tmp_path / "out.trx", reference=image, warn_outside=1, max_outside=0)
    for name in ("warn_outside", "max_outside"):
        for wrong in (-0.1, 1.1, "0.5", True, None, float("nan")):
            with pytest.raises(InputError, match=f"{name} is .*, expected a share of vertices, from 0 to 1"):
                convert(path, tmp_path / "out.trx", reference=image, **{name: wrong})


# The reason


def test_lps_is_recognised(tmp_path: Path, image: Path) -> None:
    points = head_points()
    points[:50] += 500  # a twentieth is wrong anyway
    path = write_head(tmp_path, points * (-1, -1, 1))
    with pytest.raises(SpaceMismatchError, match=r"95 % would lie inside if they were taken in LPS: was the file"):
        convert(path, tmp_path / "out.trx", reference=image)
    fixed = np.diag([-1.0, -1, 1, 1])  # as the message says
    convert(path, tmp_path / "out.trx", reference=image, transform=fixed, warn_outside=0.06)
    np.testing.assert_allclose(read_plain(tmp_path / "out.trx").positions, points, atol=1e-4)


def test_voxels_for_millimetres_are_recognised(tmp_path: Path) -> None:
    affine = np.array([[2.0, 0, 0, -300], [0, 2, 0, 100], [0, 0, 2, 200], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).uniform(1, 45, (1000, 3))
    path = write_head(tmp_path, voxels)
    with pytest.raises(
        SpaceMismatchError, match=r"100 % would lie inside if they were taken in voxels: .*affine of the"
    ):
        convert(path, tmp_path / "out.trx", reference=(affine, HEAD_SHAPE))
    convert(path, tmp_path / "out.trx", reference=(affine, HEAD_SHAPE), transform=affine)


@pytest.mark.parametrize("name", ["tck", "trx"])
def test_a_transform_of_the_wrong_way_or_none_at_all_is_recognised(tmp_path: Path, image: Path, name: str) -> None:
    shift = np.eye(4)
    shift[:3, 3] = (150, -40, 30)
    native = move(np.linalg.inv(shift), head_points())
    path = write_head(tmp_path, native)
    if name == "trx":
        convert(path, tmp_path / "head.trx", reference=(np.linalg.inv(shift) @ HEAD, HEAD_SHAPE))
        path = tmp_path / "head.trx"
    matrix = write_rows(tmp_path / "t.txt", shift, "# trxlib ras to ras\n")
    convert(path, tmp_path / "out.trx", reference=image, transform=matrix)
    with pytest.raises(
        SpaceMismatchError,
        match=r"100 % would lie inside if they were taken with the inverse of the transform: .*_inverse",
    ):
        convert(path, tmp_path / "out.trx", reference=image, transform=matrix, transform_inverse=True)
    there = tmp_path / "out.trx"
    with pytest.raises(
        SpaceMismatchError, match="100 % would lie inside if they were taken without the transform: are the streamlines"
    ):
        convert(there, tmp_path / "twice.trx", reference=image, transform=matrix)
    assert not (tmp_path / "twice.trx").exists()


def test_what_lies_inside_anyway_is_no_reason() -> None:
    """A head in the middle of the world is inside in LPS, too; that explains nothing."""
    space = Space(np.array([[2.0, 0, 0, -49], [0, 2, 0, -59], [0, 0, 2, -49], [0, 0, 0, 1]]), HEAD_SHAPE)
    points = np.random.default_rng(0).uniform(-40, 40, (1000, 3))
    points[:80, 2] = 300
    with pytest.warns(SpaceWarning, match="8 % of its vertices") as caught:
        judge_share("a.trk", (80, 1000), points, space, matrix=None, limits=(0.05, 0.5))
    assert "LPS" not in str(caught[0].message)
    assert "is it the right reference" in str(caught[0].message)


# The same judgement on every road


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_roads_that_drop_and_that_keep_judge_alike(tmp_path: Path, image: Path, share: float) -> None:
    points = head_points(2000)
    lost = np.arange(2000) % 10 < share * 10
    points[lost] += 1000
    points = points.reshape(10, 200, 3).transpose(1, 0, 2).reshape(-1, 3)  # some in each streamline, or all
    path = write_head(tmp_path, points)
    convert(path, tmp_path / "in.trx", reference=image, warn_outside=1, max_outside=1)
    texts = set()
    for source in (path, tmp_path / "in.trx"):
        for options in ({}, {"out_of_volume": "drop"}, {"drop_empty": True}, {"nonfinite": "drop"}):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    [one] = convert(source, tmp_path / "out.trx", reference=image, **options)
                    found = [str(item.message) for item in caught if item.category is SpaceWarning]
                    assert (one.findings.outside, one.findings.vertices) == (share * 2000, 2000)
                except SpaceMismatchError as error:
                    found = [str(error)]
            assert len(found) == 1
            texts.add(found[0].split(": ", 1)[1].split(";")[0])
    counted = f"{100 * share:g} % of its vertices ({round(share * 2000)} of 2000)"
    assert texts == {f"{counted} lie outside the grid of 50x60x50 voxels"}


def test_a_trx_that_is_copied_as_it_lies_is_judged(tmp_path: Path) -> None:
    arrays = make_trx_arrays(lengths=[4, 4, 4, 4, 4], affine=HEAD, dimensions=HEAD_SHAPE, groups={"a": [0], "b": [1]})
    arrays.positions[:] = head_points(20)
    arrays.positions[::5] += 1000
    path = write_plain_zip(arrays, tmp_path / "in.trx")
    with pytest.warns(SpaceWarning, match=r"in\.trx: 20 % of its vertices \(4 of 20\)"):
        [one] = convert(path, tmp_path / "out.trx")
    assert (one.findings.outside, one.findings.vertices, one.findings.share_outside) == (4, 20, 0.2)
    np.testing.assert_array_equal(read_plain(tmp_path / "out.trx").positions, arrays.positions)
    arrays.positions[:] += 1000
    write_plain_zip(arrays, path)
    warnings.simplefilter("ignore", DataLossWarning)  # a TCK has no groups
    for output in ("out2.trx", "out2", "out2.tck"):
        with pytest.raises(SpaceMismatchError, match=r"100 % of its vertices \(20 of 20\)"):
            convert(path, tmp_path / output)
        assert not (tmp_path / output).exists()
    with pytest.raises(SpaceMismatchError, match=r"100 % of its vertices \(4 of 4\)"):
        export(path, tmp_path / "group.tck", group="b")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.trx", "out.trx"]


@pytest.mark.parametrize("kind", ["trk", "tck", "trx"])
def test_the_judgement_does_not_depend_on_threads(
    tmp_path: Path, image: Path, kind: str, slicing: str, request: pytest.FixtureRequest
) -> None:
    points = away(head_points(3000), 0.2)
    path = write_head(tmp_path, points)
    if kind != "tck":
        convert(path, tmp_path / f"in.{kind}", reference=image, warn_outside=1)
        path = tmp_path / f"in.{kind}"
    for dtype in ("float16", "float32", "float64"):
        with pytest.warns(SpaceWarning, match=r"20 % of its vertices \(600 of 3000\)"):
            [one] = convert(path, tmp_path / "out.trx", reference=image, positions_dtype=dtype)
        assert (one.findings.outside, one.findings.vertices) == (600, 3000)
    with pytest.raises(SpaceMismatchError, match=r"20 % of its vertices \(600 of 3000\)"):
        convert(path, tmp_path / "out.trx", reference=image, max_outside=0.1)
    wrong = write_head(tmp_path, points * (-1, -1, 1), name="wrong.tck")
    with pytest.raises(SpaceMismatchError, match=r"80 % would lie inside if they were taken in LPS") as caught:
        _lps_with_low_bar(wrong, tmp_path / "out.trx", image)
    assert "100 % of its vertices (3000 of 3000)" in str(caught.value)


def _lps_with_low_bar(path: Path, output: Path, image: Path) -> None:
    from trxlib.spaces import outside

    before = outside._CONVINCING
    outside._CONVINCING = 0.7
    try:
        convert(path, output, reference=image)
    finally:
        outside._CONVINCING = before


def test_reading_twice_counts_once(tmp_path: Path) -> None:
    path = write_tractogram("trk", native_lines(), tmp_path)
    source = open_source(path)
    for _ in range(3):
        read_all(source)
        assert source.findings is not None
        assert (source.findings.vertices, source.findings.outside) == (49, 0)


def test_a_field_that_leads_beyond_the_grid_is_judged(tmp_path: Path) -> None:
    path = write_tractogram("tck", native_lines(), tmp_path)
    warp = write_itk_warp(tmp_path / "warp.nii.gz", bend)
    # It touches what the field covers, and holds none of the streamlines.
    affine = TARGET.copy()
    affine[:3, 3] = (79 + 110, -81, -78)
    with pytest.raises(SpaceMismatchError, match=r"native\.tck: 100 % of its vertices \(49 of 49\)"):
        convert(path, tmp_path / "out.trx", transform=warp, reference=(affine, TARGET_SHAPE))


# Grids that are none


@pytest.mark.parametrize("dimensions", [(0, 0, 0), (1, 1, 1)])
@pytest.mark.parametrize("kind", ["trk", "tck", "trx", "trk with reference", "moved"])
def test_a_grid_that_is_none_is_said_once_and_no_rule_can_hold(
    tmp_path: Path, dimensions: tuple[int, int, int], kind: str
) -> None:
    far = [line + 10_000 for line in native_lines()]
    reference: Any = None
    options: dict[str, Any] = {}
    if kind.startswith("trk"):
        lines = [(line + SIZES / 2).astype(np.float32) for line in far]
        path = write(tmp_path / "a.trk", trk_bytes(lines, affine=np.diag([*SIZES, 1.0]), sizes=SIZES, dim=dimensions))
        reference = (np.diag([*SIZES, 1.0]), dimensions) if "reference" in kind else None
    elif kind == "tck":
        path, reference = write(tmp_path / "a.tck", tck_bytes(far)), (np.eye(4), dimensions)
    else:
        arrays = make_trx_arrays(lengths=[len(line) for line in far], affine=HEAD, dimensions=dimensions)
        arrays.positions[:] = np.concatenate(far)
        path = write_plain_zip(arrays, tmp_path / "a.trx")
        options = {"transform": MOTION} if kind == "moved" else {}
    with pytest.warns(HeaderWarning) as caught:
        [one] = convert(path, tmp_path / "out.trx", reference=reference, **options)
    texts = [str(item.message) for item in caught if "which is no grid" in str(item.message)]
    assert len(texts) == 1
    shown = " ".join(map(str, dimensions))
    assert re.search(rf"a\.{kind[:3] if kind != 'moved' else 'trx'}: .*dimensions {shown}, which is no grid", texts[0])
    assert one.findings.outside == 0
    for rule in ("drop", "fail"):
        for output in ("rule.trx", "rule.tck"):
            with pytest.raises(
                InputError, match=rf"dimensions {shown}, which is no grid, and out_of_volume has to know"
            ):
                convert(path, tmp_path / output, reference=reference, out_of_volume=rule, **options)
            assert not (tmp_path / output).exists()
    good = Space(HEAD, HEAD_SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)  # the reference differs
        with pytest.raises(SpaceMismatchError, match="100 %"):
            convert(path, tmp_path / "out.trx", reference=good)
        with pytest.warns(DataLossWarning, match="4 of 5 streamlines"):
            convert(path, tmp_path / "out.trx", reference=good, out_of_volume="drop", max_outside=1, warn_outside=1)


def test_samples_are_finite_and_numbers_of_any_kind_are_taken_without_a_warning() -> None:
    positions = np.ones((4, 3), np.float32)
    positions.view(np.uint32)[1, 0] = 0x7F800001  # a signalling NaN
    sample = thin_out(positions)
    assert sample.shape == (3, 3)
    far = np.full((4, 3), 1e308)
    with pytest.raises(SpaceMismatchError, match="a.tck: 100 % of its vertices"):
        judge_share("a.tck", (4, 4), far, Space(HEAD, HEAD_SHAPE), matrix=np.diag([0.5, 0.5, 0.5, 1]), limits=(0, 0.5))
