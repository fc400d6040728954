"""Transforms in the sample sheet: what is read, and every mistake with its line and column."""

from pathlib import Path

import pytest
import yaml

from tests.helpers import read_samples
from trxlib.cohort.project import load_project
from trxlib.cohort.subjects import options_of
from trxlib.errors import InputError

SCHEMAS = Path(__file__).parents[2] / "workflow" / "schemas"
SAMPLES = yaml.safe_load((SCHEMAS / "samples.schema.yaml").read_text())
CONFIG = yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())
COLUMNS = ("reference", "transform", "transform_format", "transform_inverse", "transform_source")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.trk", "ref.nii.gz", "native image.nii", "a.mat", "b.mat", "my warp.nii.gz", "empty.mat"):
        Path(name).write_bytes(b"" if name == "empty.mat" else b"x")


def write_sheet(columns, cells):
    lines = [["cohort", "subject", "tractogram", *columns], ["one", "01", "a.trk", *cells]]
    Path("samples.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    return "samples.tsv"


def read_row(**cells):
    (row,) = read_samples(write_sheet(cells, cells.values()), SAMPLES)
    return row


def mistakes_of(**cells):
    with pytest.raises(InputError) as caught:
        read_row(**cells)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_several_transforms_with_blanks_in_their_paths():
    row = read_row(
        reference="ref.nii.gz",
        transform="a.mat; my warp.nii.gz ;b.mat",
        transform_format="ras;;fsl",
        transform_inverse="yes;;TRUE",
        transform_source=";;native image.nii",
    )
    assert row.transform == ("a.mat", "my warp.nii.gz", "b.mat")
    assert row.transform_format == ("ras", "", "fsl")
    assert row.transform_inverse == (True, False, True)
    assert row.paths == ["a.trk", "ref.nii.gz", "a.mat", "my warp.nii.gz", "b.mat", "native image.nii"]
    assert options_of(row.to_params()).transforms() == [
        {"path": "a.mat", "format": "ras", "inverse": True},
        {"path": "my warp.nii.gz"},
        {"path": "b.mat", "format": "fsl", "inverse": True, "source": "native image.nii"},
    ]


def test_one_value_holds_for_all():
    row = read_row(transform="a.mat;b.mat", transform_format="ras", transform_inverse="yes")
    said = {"format": "ras", "inverse": True}
    assert options_of(row.to_params()).transforms() == [{"path": "a.mat", **said}, {"path": "b.mat", **said}]


def test_within_a_chain_the_source_of_the_next_is_where_flirt_leads_to():
    row = read_row(
        reference="ref.nii.gz",
        transform="a.mat;my warp.nii.gz",
        transform_format="fsl;mrtrix",
        transform_source="native image.nii;ref.nii.gz",
    )
    first, second = options_of(row.to_params()).transforms()
    assert (first["source"], first["reference"]) == ("native image.nii", "ref.nii.gz")
    assert "reference" not in second


@pytest.mark.parametrize(
    ("cells", "column", "message"),
    [
        ({"transform": "no.mat"}, "transform", "'no.mat' does not exist; paths are relative to"),
        ({"transform": "a.mat;no warp.nii.gz"}, "transform", "'no warp.nii.gz' does not exist"),
        ({"transform": "empty.mat"}, "transform", "'empty.mat' is empty (0 bytes)"),
        ({"transform": "a.mat;;b.mat"}, "transform", "one of the paths between the semicolons is empty"),
        ({"transform": "a.mat;"}, "transform", "one of the paths between the semicolons is empty"),
        ({"transform_format": "ras"}, "transform_format", "the row has no transform"),
        ({"transform_inverse": "yes"}, "transform_inverse", "the row has no transform"),
        ({"transform_source": "ref.nii.gz"}, "transform_source", "the row has no transform"),
        ({"transform": "a.mat", "transform_format": "ras;itk"}, "transform_format", "2 values for 1 transform;"),
        (
            {"transform": "a.mat;b.mat;a.mat", "transform_inverse": "yes;no"},
            "transform_inverse",
            "2 values for 3 transforms; give one for all, or one for each, separated by ';'",
        ),
        (
            {"transform": "a.mat", "transform_format": "ants"},
            "transform_format",
            "unknown format 'ants'; known are ras, itk, fsl",
        ),
        ({"transform": "a.mat", "transform_format": "fls"}, "transform_format", "did you mean 'fsl'?"),
        ({"transform": "a.mat", "transform_inverse": "maybe"}, "transform_inverse", "'maybe' is neither yes nor no"),
        ({"transform": "a.mat", "transform_source": "no.nii"}, "transform_source", "'no.nii' does not exist"),
        (
            {"transform": "a.mat", "transform_format": "fsl", "reference": "ref.nii.gz"},
            "transform_source",
            "'a.mat' is a matrix of FLIRT, which means nothing without the image that it leads from (-in); name it",
        ),
        (
            {"transform": "a.mat", "transform_format": "fsl", "transform_source": "native image.nii"},
            "reference",
            "leads to (-ref); name it",
        ),
        (
            {"transform": "a.mat;b.mat", "transform_format": "ras;fsl", "reference": "ref.nii.gz"}
            | {"transform_source": "native image.nii;"},
            "transform_source",
            "'b.mat' is a matrix of FLIRT",
        ),
        (
            {"transform": "a.mat;b.mat", "transform_format": "fsl;ras", "transform_source": "native image.nii"},
            "transform_source",
            "leads to (-ref); name that as the source of the transform that follows",
        ),
    ],
)
def test_mistakes_have_line_and_column(cells, column, message):
    (found,) = mistakes_of(**cells)
    assert found.startswith(f"samples.tsv, line 2, column {column}: ")
    assert message in found


def test_every_mistake_of_a_row_is_told_at_once():
    found = mistakes_of(
        transform="no.mat;", transform_format="ras;x;y", transform_inverse="?", transform_source="no.nii"
    )
    told = {(line.split(": ")[0].split()[-1]) for line in found}
    assert told == {"transform", "transform_format", "transform_inverse", "transform_source"}
    assert len(found) == 7


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("transforms", "transform"),
        ("transform_formats", "transform_format"),
        ("transform_inversed", "transform_inverse"),
        ("tranform_source", "transform_source"),
    ],
)
def test_columns_that_are_nearly_right_are_suggested(column, meant):
    with pytest.raises(InputError, match=rf"unknown column '{column}' \(did you mean '{meant}'\?\)"):
        read_samples(write_sheet([column], ["a.mat"]), SAMPLES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"grid": "ref.nii.gz"}, "configuration, grid: belongs to `space: world`"),
        ({"grid": "no.nii.gz", "space": "world"}, "configuration, grid: 'no.nii.gz' does not exist"),
        ({"space": "worlds"}, "configuration, space: 'worlds' is none of same, world"),
        ({"max_outside": 50}, "configuration, max_outside: 50 is greater than the maximum of 1"),
        ({"warn_outside": -0.1}, "configuration, warn_outside: -0.1 is less than the minimum of 0"),
        ({"out_of_field": "keep"}, "configuration, out_of_field: 'keep' is none of fail, drop"),
        ({"vtk_space": "ras"}, "configuration, vtk_space: 'ras' is none of stated, RAS, LPS"),
        ({"out_of_fields": "drop"}, "unknown key 'out_of_fields' (did you mean 'out_of_field'?)"),
    ],
)
def test_keys_of_the_configuration_about_space(config, message):
    sheet = write_sheet([], [])
    with pytest.raises(InputError) as caught:
        load_project({"samples": sheet, **config}, CONFIG, SAMPLES)
    assert message in str(caught.value)
