"""Transforms of every program, applied to tractograms of every format, by every command that takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.test_cli import run
from tests.formats.made import tck_bytes, trk_bytes, write
from tests.helpers import make_trx_arrays, read_plain, write_plain_folder, write_plain_zip
from tests.spaces.transform_files import (
    OBLIQUE,
    SHAPE,
    bend,
    deformation,
    flirt_matrix,
    itk_affine,
    itk_matlab,
    itk_text,
    lta_text,
    make_points,
    make_rigid,
    mif_bytes,
    move,
    read_tck,
    write_image,
    write_itk_warp,
    write_mrtrix,
    write_mrtrix_warp,
    write_rows,
)
from trxlib import ConvertInput, convert, export
from trxlib.commands.convert import plan_conversion
from trxlib.engine.plan import Plan
from trxlib.engine.write import write_container
from trxlib.errors import DataLossWarning, FormatError, InputError, InputNotFoundError, SpaceMismatchError
from trxlib.formats.open import open_input
from trxlib.model.options import ReadOptions
from trxlib.model.space import Space

LENGTHS = (3, 0, 5, 1, 40)
REACH = 20.0  # mm around the origin: far inside of all grids here
MOTION = make_rigid()
#: The grid of the result: another one than the native one, with room for all that is moved.
TARGET = np.array([[-2.0, 0, 0, 79], [0, 2, 0, -81], [0, 0, 2, -78], [0, 0, 0, 1]])
TARGET_SHAPE = (80, 82, 79)
SIZES = np.sqrt((OBLIQUE[:3, :3] ** 2).sum(axis=0))
FORMATS = ["trk", "trk.gz", "tck", "trx", "folder", "dpy"]


def native_lines(lengths: Any = LENGTHS) -> list[np.ndarray]:
    """Streamlines around the origin, as float32 holds them."""
    points = make_points(sum(lengths), reach=REACH).astype(np.float32)
    return np.split(points, np.cumsum(lengths)[:-1])


def write_tractogram(kind: str, lines: list[np.ndarray], folder: Path) -> Path:
    """Write streamlines (native RASMM) as one of the formats."""
    path = folder / f"native.{kind}"
    if kind.startswith("trk"):
        to_voxmm = np.diag([*SIZES, 1.0]) @ np.linalg.inv(OBLIQUE)
        voxmm = [(move(to_voxmm, line.astype(float)) + SIZES / 2).astype(np.float32) for line in lines]
        data = trk_bytes(voxmm, affine=OBLIQUE, sizes=SIZES, dim=SHAPE)
        return write(path, data, gz=kind.endswith("gz"))
    if kind == "tck":
        return write(path, tck_bytes(lines))
    if kind == "dpy":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            group = file.create_group("streamlines")
            group["tracks"] = np.concatenate(lines)
            group["offsets"] = np.cumsum([0, *map(len, lines)])
        return path
    arrays = make_trx_arrays(
        lengths=[len(line) for line in lines], affine=OBLIQUE, dimensions=SHAPE, dps={}, dpv={}, groups={}
    )
    arrays.positions[:] = np.concatenate(lines)
    return (write_plain_folder if kind == "folder" else write_plain_zip)(arrays, folder / f"native_{kind}.trx")


@dataclass
class Case:
    """Options of a transform, and where it brings points."""

    options: dict[str, Any]
    expected: Callable[[np.ndarray], np.ndarray]
    tolerance: float = 0.01


def make_case(kind: str, folder: Path) -> Case:
    """Write the files of a transform whose motion is known."""
    reference = str(write_image(folder / "template.nii.gz", TARGET, TARGET_SHAPE))

    def case(expected: Any, tolerance: float = 0.01, **options: Any) -> Case:
        return Case({"reference": reference, **options}, expected, tolerance)

    def linear(points: np.ndarray) -> np.ndarray:
        return move(MOTION, points)

    match kind:
        case "matrix":
            return case(linear, transform=MOTION)
        case "ras text":
            return case(linear, transform=write_rows(folder / "t.txt", MOTION), transform_format="ras")
        case "inverse":
            path = write_rows(folder / "t.txt", np.linalg.inv(MOTION))
            return case(linear, transform=path, transform_format="ras", transform_inverse=True)
        case "itk text":
            return case(linear, transform=write(folder / "t.tfm", itk_text(itk_affine(MOTION)).encode()))
        case "itk matlab, inverse":
            data = itk_matlab(itk_affine(np.linalg.inv(MOTION)))
            return case(linear, transform=write(folder / "0GenericAffine.mat", data), transform_inverse=True)
        case "lta":
            text = lta_text(MOTION, 0, (OBLIQUE, SHAPE), (TARGET, TARGET_SHAPE))
            return case(linear, transform=write(folder / "t.lta", text.encode()))
        case "flirt":
            matrix = flirt_matrix(MOTION, (OBLIQUE, SHAPE), (TARGET, TARGET_SHAPE))
            source = write_image(folder / "native.nii.gz")
            path = write_rows(folder / "flirt.mat", matrix)
            return case(linear, transform=path, transform_format="fsl", transform_source=str(source))
        case "mrtrix linear":
            return case(linear, transform=write_mrtrix(folder / "t.txt", np.linalg.inv(MOTION)))
        case "itk warp":
            return case(bend, 0.05, transform=write_itk_warp(folder / "1InverseWarp.nii.gz", bend))
        case "mrtrix warp":
            return case(bend, 0.05, transform=write_mrtrix_warp(folder / "warp.nii.gz", bend))
        case "mif warp":
            data = mif_bytes(deformation(bend).astype(np.float32), OBLIQUE)
            return case(bend, 0.05, transform=write(folder / "warp.mif", data))
    assert kind == "three in a row"
    paths = [
        write_itk_warp(folder / "warp.nii.gz", bend),
        write_rows(folder / "there.txt", np.linalg.inv(MOTION)),
        write(folder / "again.tfm", itk_text(itk_affine(MOTION)).encode()),
    ]
    options = {"transform_format": [None, "ras", None], "transform_inverse": [False, True, False]}
    return case(lambda points: move(MOTION @ MOTION, bend(points)), 0.05, transform=paths, **options)


LINEAR = ["matrix", "ras text", "inverse", "itk text", "itk matlab, inverse", "lta", "flirt", "mrtrix linear"]
KINDS = [*LINEAR, "itk warp", "mrtrix warp", "mif warp", "three in a row"]


def cli_options(options: dict[str, Any]) -> list[str]:
    """Return the options of `convert` as they are given on the command line."""
    words: list[str] = []
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None:
                continue
            if isinstance(item, bool):
                item = "yes" if item else "no"
            words += [f"--{name.replace('_', '-')}", str(item)]
    return words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_moved_by_every_kind_of_transform(tmp_path: Path, name: str, kind: str) -> None:
    lines = native_lines()
    path, case = write_tractogram(name, lines, tmp_path), make_case(kind, tmp_path)
    if name == "trk.gz" and kind == "matrix":
        assert path.read_bytes()[:2] == b"\x1f\x8b"
    wanted = case.expected(np.concatenate(lines).astype(np.float64))
    before = path.read_bytes() if path.is_file() else None
    [converted] = convert(path, tmp_path / "out.trx", **case.options)
    found = read_plain(tmp_path / "out.trx")
    np.testing.assert_allclose(found.positions, wanted, rtol=0, atol=case.tolerance)
    assert np.diff(found.offsets).tolist() == list(LENGTHS)
    np.testing.assert_allclose(found.header.voxel_to_rasmm, TARGET, rtol=0, atol=1e-4)
    assert found.header.dimensions == TARGET_SHAPE
    assert converted.findings is not None
    assert (converted.findings.vertices, converted.findings.outside) == (sum(LENGTHS), 0)
    assert [record["format"] for record in converted.info.transforms] == {
        "itk matlab, inverse": ["itk"], "mrtrix linear": ["mrtrix"], "flirt": ["fsl"], "lta": ["lta"],
        "itk text": ["itk"], "itk warp": ["itk"], "mrtrix warp": ["mrtrix"], "mif warp": ["mrtrix"],
        "three in a row": ["itk", "ras", "itk"],
    }.get(kind, ["ras"])  # fmt: skip
    own = converted.info.own_space
    if name in ("tck", "dpy"):
        assert own is None
    else:
        np.testing.assert_allclose(own.voxel_to_rasmm, OBLIQUE, rtol=0, atol=1e-5)
        assert own.dimensions == SHAPE
    export(path, tmp_path / "out.tck", **case.options)
    np.testing.assert_allclose(read_tck(tmp_path / "out.tck"), found.positions, rtol=0, atol=1e-5)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "matrix"])
@pytest.mark.parametrize("name", ["trk", "tck", "trx"])
def test_the_command_line_moves_as_the_library_does(tmp_path: Path, name: str, kind: str) -> None:
    lines = native_lines()
    path, case = write_tractogram(name, lines, tmp_path), make_case(kind, tmp_path)
    options = dict(case.options)
    if kind == "three in a row":  # a format may be given once for all, or once for each
        matrix = write_rows(tmp_path / "ras.txt", np.linalg.inv(MOTION), "# trxlib ras to ras\n")
        options |= {"transform": [options["transform"][0], matrix, options["transform"][2]], "transform_format": []}
    wanted = case.expected(np.concatenate(lines).astype(np.float64))
    result = run("convert", path, tmp_path / "cli.trx", *cli_options(options))
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read_plain(tmp_path / "cli.trx").positions, wanted, rtol=0, atol=case.tolerance)
    convert(path, tmp_path / "library.trx", **case.options)
    assert (tmp_path / "cli.trx").read_bytes() == (tmp_path / "library.trx").read_bytes()
    result = run("convert", path, tmp_path / "cli.trk", *cli_options(options))
    assert result.exit_code == 0, result.output
    again = nib.streamlines.load(tmp_path / "cli.trk").streamlines.get_data()
    np.testing.assert_allclose(again, wanted, rtol=0, atol=case.tolerance)


def test_mrtrix_moves_streamlines_to_the_same_places(tmp_path: Path) -> None:
    if shutil.which("tcktransform") is None:
        pytest.skip("needs tcktransform of MRtrix3")
    path = write_tractogram("tck", native_lines(), tmp_path)
    for kind in ("mif warp", "mrtrix warp"):
        case = make_case(kind, tmp_path)
        warp = case.options["transform"]
        subprocess.run(
            ["tcktransform", "-quiet", "-force", str(path), str(warp), str(tmp_path / "theirs.tck")], check=True
        )
        convert(path, tmp_path / "ours.tck", **case.options)
        np.testing.assert_allclose(
            read_tck(tmp_path / "ours.tck"), read_tck(tmp_path / "theirs.tck"), rtol=0, atol=1e-4
        )


def test_ants_moves_streamlines_to_the_same_places(tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    lines = native_lines()
    path = write_tractogram("trk", lines, tmp_path)
    case = make_case("itk warp", tmp_path)
    affine = write(tmp_path / "0GenericAffine.mat", itk_matlab(itk_affine(MOTION)))
    files = [str(case.options["transform"]), str(affine)]
    convert(path, tmp_path / "out.trx", reference=case.options["reference"], transform=files)
    points = np.concatenate(lines).astype(np.float64) * (-1, -1, 1)
    table = pandas.DataFrame(points, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, files, whichtoinvert=[False, False])
    moved = moved[["x", "y", "z"]].to_numpy() * (-1, -1, 1)
    np.testing.assert_allclose(read_plain(tmp_path / "out.trx").positions, moved, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["itk matlab, inverse", "three in a row", "flirt"])
def test_real_streamlines_are_moved(cohort_folder: Path, tmp_path: Path, kind: str) -> None:
    """Real bundles, and a field and grids that hold them."""
    image = cohort_folder / "desc-b0_dwiref.nii.gz"
    affine, shape = nib.load(image).affine, nib.load(image).shape[:3]
    if kind == "flirt":
        matrix = flirt_matrix(MOTION, (affine, shape), (TARGET, TARGET_SHAPE))
        options: dict[str, Any] = {
            "transform": write_rows(tmp_path / "flirt.mat", matrix),
            "transform_format": "fsl",
            "transform_source": image,
        }
        expected: Any = lambda points: move(MOTION, points)  # noqa: E731
    elif kind == "three in a row":
        options = {
            "transform": [
                write_itk_warp(tmp_path / "warp.nii.gz", bend, affine, shape),
                write_rows(tmp_path / "there.txt", np.linalg.inv(MOTION)),
            ],
            "transform_format": [None, "ras"],
            "transform_inverse": [False, True],
        }
        expected = lambda points: move(MOTION, bend(points))  # noqa: E731
    else:
        case = make_case(kind, tmp_path)
        options, expected = case.options, case.expected
    options["reference"] = write_image(tmp_path / "big.nii.gz", _wide(), (160, 160, 160))
    if kind == "flirt":
        matrix = flirt_matrix(MOTION, (affine, shape), (_wide(), (160, 160, 160)))
        write_rows(tmp_path / "flirt.mat", matrix)
    bundles = cohort_folder / "sub-01" / "dwi" / "bundles"
    found = 0
    for path in sorted(bundles.iterdir())[:3]:
        before = nib.streamlines.load(path).streamlines.get_data().astype(np.float64)
        convert(path, tmp_path / "out.trx", out_of_field="drop" if kind == "none" else "fail", **options)
        after = read_plain(tmp_path / "out.trx").positions
        np.testing.assert_allclose(after, expected(before), rtol=0, atol=0.05)
        found += len(after)
    assert found > 1000


def _wide() -> np.ndarray:
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -160
    return affine


# Outside of a field


def beyond(at: int = 2, vertex: int = 1) -> list[np.ndarray]:
    """Streamlines of which one has a vertex outside the field."""
    lines = native_lines()
    lines[at][vertex] = (300, 0, 0)
    return lines


@pytest.mark.parametrize("kind", ["itk warp", "mrtrix warp", "mif warp", "three in a row"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_vertex_outside_the_field_is_named_or_its_streamline_left_out(tmp_path: Path, name: str, kind: str) -> None:
    lines = beyond()
    path, case = write_tractogram(name, lines, tmp_path), make_case(kind, tmp_path)
    field = Path(np.ravel(np.array(case.options["transform"], dtype=object))[0]).name
    message = rf"{re.escape(path.name)}: streamline 2 has the vertex \[(300.0|299.99\d*).*\(vertex 1\), where the field"
    for output in ("out.trx", "out.trk", "out.tck"):
        with pytest.raises(SpaceMismatchError, match=rf"{message} \S*{re.escape(field)} has no value"):
            convert(path, tmp_path / output, **case.options)
        assert not list(tmp_path.glob("out*"))
    kept = [0, 1, 3, 4]
    wanted = case.expected(np.concatenate([lines[row] for row in kept]).astype(np.float64))
    with pytest.warns(
        DataLossWarning, match=rf"1 of 5 streamlines are left out \(1 of them leave the field \S*{re.escape(field)}"
    ):
        [converted] = convert(path, tmp_path / "out.trx", out_of_field="drop", **case.options)
    found = read_plain(tmp_path / "out.trx")
    assert np.diff(found.offsets).tolist() == [LENGTHS[row] for row in kept]
    np.testing.assert_allclose(found.positions, wanted, rtol=0, atol=case.tolerance)
    assert converted.info.nb_streamlines == 4
    with pytest.warns(DataLossWarning, match="out_of_field=drop"):
        export(path, tmp_path / "out.tck", out_of_field="drop", **case.options)
    np.testing.assert_allclose(read_tck(tmp_path / "out.tck"), wanted, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("name", FORMATS)
def test_nan_of_the_file_is_no_matter_of_the_field(tmp_path: Path, name: str) -> None:
    lines = beyond(at=4, vertex=7)
    lines[2][1] = np.nan if name != "tck" else (1, np.nan, 1)
    path, case = write_tractogram(name, lines, tmp_path), make_case("itk warp", tmp_path)
    with pytest.raises(FormatError, match=r"streamline 2 has the vertex \[.*nan.*expected finite numbers"):
        convert(path, tmp_path / "out.trx", out_of_field="drop", **case.options)
    # Left out for NaN, and still the file's own numbers in the message on the field.
    with (
        pytest.warns(DataLossWarning, match=r"1 of 5 streamlines are left out \(nonfinite=drop"),
        pytest.raises(SpaceMismatchError, match=r"streamline 4 has the vertex .*\(vertex 7\), where the field"),
    ):
        convert(path, tmp_path / "out.trx", nonfinite="drop", **case.options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataLossWarning)
        convert(path, tmp_path / "out.trx", nonfinite="drop", out_of_field="drop", **case.options)
    texts = [str(item.message) for item in caught if item.category is DataLossWarning]
    assert len(texts) == 2
    assert "1 of 5 streamlines are left out (nonfinite=drop" in texts[0]
    assert "1 of 4 streamlines are left out (1 of them leave the field" in texts[1]
    assert np.diff(read_plain(tmp_path / "out.trx").offsets).tolist() == [3, 0, 1]


def test_out_of_field_and_out_of_volume_are_told_apart(tmp_path: Path) -> None:
    lines = beyond()
    lines[4][3] = (40, 0, 0)  # inside the field, outside the small grid of the result
    path = write_tractogram("tck", lines, tmp_path)
    warp = write_itk_warp(tmp_path / "warp.nii.gz", bend)
    small = Space(np.array([[1.0, 0, 0, -35], [0, 1, 0, -35], [0, 0, 1, -35], [0, 0, 0, 1]]), (70, 70, 70))
    with pytest.warns(DataLossWarning, match=r"2 of 5 streamlines are left out \(1 of them leave the field .*drop"):
        convert(path, tmp_path / "out.trx", transform=warp, reference=small, out_of_field="drop", out_of_volume="drop")
    assert np.diff(read_plain(tmp_path / "out.trx").offsets).tolist() == [3, 0, 1]
    with (
        pytest.warns(DataLossWarning, match="1 of 5 streamlines are left out"),
    ):
        [converted] = convert(path, tmp_path / "out.trx", transform=warp, reference=small, out_of_field="drop")
    assert np.diff(read_plain(tmp_path / "out.trx").offsets).tolist() == [3, 0, 1, 40]
    assert converted.findings.outside == 1


def test_a_field_without_a_reference_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    path, case = write_tractogram("trk", native_lines(), tmp_path), make_case("itk warp", tmp_path)
    del case.options["reference"]
    with pytest.raises(InputError, match=r"native\.trk: a transform with a deformation field .* as the reference"):
        convert(path, tmp_path / "out.trx", **case.options)
    result = run("convert", path, tmp_path / "out.trx", *cli_options(case.options))
    assert result.exit_code == 1
    assert "name the image that it leads to as the reference" in " ".join(result.stderr.split())
    assert not (tmp_path / "out.trx").exists()


# Options that do not fit


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        ({"transform_format": "ras"}, "transform_format is given without a transform", 2),
        ({"transform_inverse": True}, "transform_inverse is given without a transform", 2),
        ({"transform_source": "native.nii.gz"}, "transform_source is given without a transform", 2),
        (
            {"transform": ["a.txt", "b.txt", "c.txt"], "transform_format": ["ras", "itk"]},
            "transform_format is given 2 times for 3 transforms; give it once for all, or once for each",
            2,
        ),
        (
            {"transform": "a.txt", "transform_inverse": [True, False]},
            "transform_inverse is given 2 times for 1 transforms",
            2,
        ),
        (
            {"transform": ["a.txt", "b.txt", "c.txt"], "transform_source": ["x.nii", "y.nii"]},
            "transform_source is given 2 times for 3 transforms",
            2,
        ),
        (
            {"transform": "a.txt", "transform_format": "minc"},
            r"format 'minc' is not known; expected one of ras, itk",
            2,
        ),
        ({"transform": "gone.txt"}, r"gone\.txt cannot be read", 1),
    ],
)
def test_options_that_do_not_fit_are_one_clear_error(
    tmp_path: Path, options: dict[str, Any], message: str, status: int
) -> None:
    path = write_tractogram("trk", native_lines(), tmp_path)
    for name in ("a.txt", "b.txt", "c.txt"):
        write_rows(tmp_path / name, MOTION)
    given = {
        key: [str(tmp_path / item) if str(item).endswith((".txt", ".nii", ".gz")) else item for item in value]
        if isinstance(value, list)
        else str(tmp_path / value)
        if str(value).endswith((".txt", ".nii", ".gz"))
        else value
        for key, value in options.items()
    }
    for output in ("out.trx", "out.tck"):
        with pytest.raises((InputError, InputNotFoundError), match=message):
            convert(path, tmp_path / output, **given)
    result = run_status(path, tmp_path / "out.trx", *cli_options(given))
    assert result[0] == status, result[1]
    assert not list(tmp_path.glob("out*"))


def run_status(*args: Any) -> tuple[int, str]:
    """Run ``trxlib convert`` and return status and output; argparse leaves by SystemExit."""
    try:
        result = run("convert", *args)
    except SystemExit as leaving:
        return int(leaving.code), ""
    return result.exit_code, result.output


def test_an_empty_list_is_no_transform(tmp_path: Path) -> None:
    path = write_tractogram("trk", native_lines(), tmp_path)
    convert(path, tmp_path / "plain.trx")
    convert(path, tmp_path / "none.trx", transform=[], transform_format=[], transform_source=[])
    assert (tmp_path / "plain.trx").read_bytes() == (tmp_path / "none.trx").read_bytes()


# Files that are read are inputs


@pytest.mark.parametrize("what", ["transform", "second", "source", "grid", "hdr", "img", "mih", "mih data"])
def test_an_output_never_replaces_a_file_of_a_transform(tmp_path: Path, what: str) -> None:
    """Whatever its name: links make a .trx and a .tck of it."""
    path = write_tractogram("trk", native_lines(), tmp_path)
    case = make_case("flirt", tmp_path)
    options = dict(case.options)
    if what == "second":
        second = write_rows(tmp_path / "second.txt", np.eye(4), "# trxlib ras to ras\n")
        options = {"reference": options["reference"], "transform": [MOTION, second]}
        kept = second
    elif what in ("hdr", "img"):
        pair = nib.Nifti1Pair(np.zeros(SHAPE, np.uint8), OBLIQUE)
        nib.save(pair, tmp_path / "pair.img")
        options["transform_source"] = tmp_path / "pair.img"
        kept = tmp_path / f"pair.{what}"
    elif what.startswith("mih"):
        data = mif_bytes(deformation(bend).astype(np.float32), OBLIQUE)
        head, _, _ = data.partition(b"\nfile: ")
        write(tmp_path / "warp.mih", head + b"\nfile: warp.dat 0\nEND\n")
        write(tmp_path / "warp.dat", data[-int(np.prod(SHAPE)) * 12 :])
        options = {"reference": options["reference"], "transform": tmp_path / "warp.mih"}
        kept = tmp_path / ("warp.dat" if what == "mih data" else "warp.mih")
    elif what == "grid":
        kept = write_image(tmp_path / "grid.nii.gz", TARGET, TARGET_SHAPE)
        options |= {"space": "world", "grid": kept}
    else:
        kept = Path(options["transform" if what == "transform" else "transform_source"])
    before = kept.read_bytes()
    convert(path, tmp_path / "fine.trx", **options)
    for suffix in (".trx", ".tck", ".trk"):
        if what == "grid" and suffix != ".trx":
            continue
        output = tmp_path / f"out{suffix}"
        output.symlink_to(kept)
        with pytest.raises(InputError, match=rf"out\{suffix}: would replace the input"):
            convert(path, output, **options)
        assert kept.read_bytes() == before


# Plans


def test_several_transforms_come_back_from_json(tmp_path: Path) -> None:
    options = ReadOptions(
        reference=Path("template.nii.gz"),
        transform=[Path("warp.nii.gz"), "flirt.mat", {"path": "affine.txt", "format": "ras", "inverse": True}],
        transform_format=[None, "fsl", None],
        transform_inverse=[False, True, False],
        transform_source=[None, Path("native.nii.gz"), None],
        out_of_field="drop",
        max_outside=0.25,
    )
    again = ReadOptions.from_json(json.loads(json.dumps(options.to_json())))
    assert again.to_json() == options.to_json()
    wanted = [
        {"path": "warp.nii.gz"},
        {"path": "flirt.mat", "format": "fsl", "inverse": True, "source": "native.nii.gz"},
        {"path": "affine.txt", "format": "ras", "inverse": True},
    ]
    assert again.transforms() == wanted
    assert options.transforms()[0]["path"] == Path("warp.nii.gz")
    assert again.files() == [
        "template.nii.gz", "native.nii.gz", "warp.nii.gz", "flirt.mat", "affine.txt",
    ]  # fmt: skip
    matrix = ReadOptions(transform=np.eye(4).tolist(), warn_outside=0)
    assert ReadOptions.from_json(json.loads(json.dumps(matrix.to_json()))) == matrix
    assert matrix.transforms() == [{"matrix": np.eye(4).tolist()}]


@pytest.mark.parametrize("kind", ["flirt", "itk warp", "three in a row", "itk matlab, inverse"])
def test_a_plan_opens_its_inputs_with_the_same_transforms(tmp_path: Path, kind: str) -> None:
    case = make_case(kind, tmp_path)
    paths = [write_tractogram(name, native_lines(), tmp_path) for name in ("trk", "tck", "trx")]
    convert(paths, tmp_path / "direct.trx", **case.options)
    items = [ConvertInput(path) for path in paths]
    plan_conversion(items, ReadOptions(**case.options)).save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json")

    def open_again(_: int, item: Any) -> Any:
        return open_input(item.path, item.options)

    write_container(plan, open_again, tmp_path / "planned.trx")
    assert (tmp_path / "planned.trx").read_bytes() == (tmp_path / "direct.trx").read_bytes()


def test_a_plan_judges_what_it_brings_elsewhere(tmp_path: Path) -> None:
    path = write_tractogram("tck", native_lines(), tmp_path)
    options = ReadOptions(reference=(_far(), TARGET_SHAPE), transform=MOTION)
    plan = plan_conversion([ConvertInput(path)], options)
    with pytest.raises(SpaceMismatchError, match=r"native\.tck: 100 % of its vertices \(49 of 49\) lie outside"):
        write_container(plan, lambda _, item: open_input(item.path, options), tmp_path / "out.trx")
    assert not list(tmp_path.glob("*out*"))


def _far() -> list[list[float]]:
    """A grid that nothing is in."""
    affine = TARGET.copy()
    affine[:3, 3] = (879, 719, 722)
    return affine.tolist()
