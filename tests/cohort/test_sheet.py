"""The sample sheet and the configuration: what is read, and every mistake with its place."""

import os
from pathlib import Path

import pytest
import yaml

from tests.helpers import read_samples
from trxlib.cohort.project import Project, load_project
from trxlib.cohort.sheet import Sample, find_mistakes
from trxlib.errors import InputError

SCHEMAS = Path(__file__).parents[2] / "workflow" / "schemas"
SAMPLES = yaml.safe_load((SCHEMAS / "samples.schema.yaml").read_text())
CONFIG = yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.trk", "b.trk", "c.tck", "ref.nii.gz", "w.txt"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write_sheet(text, name="samples.tsv"):
    """Write a sheet whose cells are separated by blanks here."""
    Path(name).write_text("".join("\t".join(line.split()) + "\n" for line in text.strip().splitlines()))
    return name


def full_config(config):
    """Return what a configuration becomes, beside a sheet without mistakes."""
    sheet = write_sheet("cohort subject tractogram\none 01 a.trk")
    return load_project({**config, "samples": sheet}, CONFIG, SAMPLES).config


def mistakes_of(text):
    with pytest.raises(InputError) as caught:
        read_samples(write_sheet(text), SAMPLES)
    return str(caught.value).splitlines()[1:]


def test_reads_every_column(folder):
    rows = read_samples(
        write_sheet(
            """
            cohort subject session bundle tractogram reference transform dps_weight dpv_fa
            one sub-01 ses-1 CC a.trk n/a n/a n/a n/a
            one 02 1 n/a c.tck ref.nii.gz w.txt w.txt b.trk
            """
        ),
        SAMPLES,
    )
    first, second = rows
    assert (first.cohort, first.subject, first.session, first.bundle, first.entity) == (
        "one",
        "sub-01",
        "ses-1",
        "CC",
        "sub-01_ses-1",
    )
    assert (first.reference, first.transform, first.dps, first.dpv, first.line) == ("", (), {}, {}, 2)
    assert second.entity == "sub-02_ses-1"
    assert second.dps == {"weight": "w.txt"}
    assert second.dpv == {"fa": "b.trk"}
    assert second.paths == ["c.tck", "ref.nii.gz", "w.txt", "w.txt", "b.trk"]


def test_bom_crlf_comments_and_blank_lines_are_ordinary(folder):
    Path("s.tsv").write_bytes(
        b"\xef\xbb\xbfcohort\tsubject\ttractogram\r\n\r\n# later\t\t\r\none\t01\ta.trk\r\n\t\t\r\n"
    )
    (row,) = read_samples("s.tsv", SAMPLES)
    assert (row.line, row.subject, row.tractogram) == (4, "sub-01", "a.trk")


def test_short_rows_end_in_empty_cells(folder):
    (row,) = read_samples(write_sheet("cohort subject tractogram bundle\none 01 a.trk"), SAMPLES)
    assert row.bundle == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cohort subject\none 01", "line 1: column 'tractogram' is missing"),
        ("cohort subject subject tractogram\none 01 01 a.trk", "column 'subject' stands there 2 times"),
        ("cohort subject tractogam tractogram\none 01 a.trk a.trk", "unknown column 'tractogam' (did you mean 'tra"),
        ("cohort,subject,tractogram\none,01,a.trk", "separated by tabs"),
        ("cohort subject tractogram dps_\none 01 a.trk w.txt", "dps key ''"),
        ("cohort subject tractogram dps_a.b\none 01 a.trk w.txt", "rename it, for example to 'a_b'"),
        ("cohort subject tractogram", "no rows"),
        ("cohort subject tractogram\none 01 a.trk more", "line 2: 4 cells, but there are 3 columns"),
        ("cohort subject tractogram\none n/a a.trk", "line 2, column subject: the cell is empty"),
        ("cohort subject tractogram\no/e 01 a.trk", "line 2, column cohort: 'o/e' is not a fit name"),
        ("cohort subject tractogram\none ../x a.trk", "line 2, column subject: '../x' is not a fit name"),
        ("cohort subject bundle tractogram\none 01 C.C a.trk", "line 2, column bundle: 'C.C' is not a fit name"),
        ("cohort subject tractogram\none 01 no.trk", "line 2, column tractogram: 'no.trk' does not exist"),
        ("cohort subject tractogram\none 01 .", "is a folder without header.json"),
        ("cohort subject tractogram\none 01 c.tck", "line 2, column reference: 'c.tck' stores no affine"),
        ("cohort subject tractogram dps_w\none 01 a.trk no.txt", "line 2, column dps_w: 'no.txt' does not exist"),
        (
            "cohort subject bundle tractogram\none 01 CC a.trk\none sub-01 CC b.trk",
            "line 3, column bundle: sub-01 has bundle 'CC' in line 2 already",
        ),
        ("cohort subject tractogram\none 01 a.trk\none 01 b.trk", "a file without bundle in line 2 already"),
        (
            "cohort subject session tractogram\none 01_ses-1 n/a a.trk\none 01 1 b.trk",
            "line 3, column subject: 'sub-01_ses-1' is also the name of line 2",
        ),
        ("cohort subject bundle tractogram\none 01 sub-01 a.trk", "line 2, column bundle: 'sub-01' is a subject's"),
        (
            "cohort subject bundle tractogram\none 01 CC a.trk\none 02 cc b.trk",
            "line 3, column bundle: 'cc' and 'CC' of line 2 differ only in case",
        ),
        ("cohort subject tractogram\none s1 a.trk\none S1 b.trk", "line 3, column subject: 'sub-S1' and 'sub-s1'"),
        ("cohort subject tractogram\none sub- a.trk", "line 2, column subject: 'sub-' is not a fit name"),
        ("cohort subject session tractogram\none 01 ses- a.trk", "line 2, column session: 'ses-' is not a fit name"),
        ("cohort subject tractogram\none 01 a.trk\nOne 02 b.trk", "line 3, column cohort: 'One' and 'one'"),
    ],
)
def test_mistakes_name_their_place(folder, text, message):
    found = mistakes_of(text)
    assert len(found) == 1
    assert message in found[0]
    assert "samples.tsv, line" in found[0] or "samples.tsv:" in found[0]


def test_all_mistakes_come_at_once(folder):
    found = mistakes_of(
        """
        cohort subject bundle tractogram
        o/e 01 CC a.trk
        one 02 CC no.trk
        one 03 CC c.tck
        one 03 CC b.trk
        """
    )
    assert [line.split(":")[0].strip() for line in found] == [
        "samples.tsv, line 2, column cohort",
        "samples.tsv, line 3, column tractogram",
        "samples.tsv, line 4, column reference",
        "samples.tsv, line 5, column bundle",
    ]


def test_one_file_may_have_bundles_and_a_whole_brain(folder):
    rows = read_samples(write_sheet("cohort subject tractogram bundle\none 01 a.trk n/a\none 01 b.trk CC"), SAMPLES)
    assert [row.bundle for row in rows] == ["", "CC"]


def test_empty_files_are_mistakes(folder):
    Path("a.trk").write_bytes(b"")
    assert "is empty (0 bytes)" in mistakes_of("cohort subject tractogram\none 01 a.trk")[0]


def test_made_files_may_be_missing(folder):
    sheet = write_sheet("cohort subject tractogram\none 01 made/a.trk")
    assert read_samples(sheet, SAMPLES, made=("made/",))[0].tractogram == "made/a.trk"


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"\xff\xfe", "not UTF-8"), (None, "No such file")]
)
def test_unreadable_sheets(folder, content, message):
    if content is not None:
        Path("s.tsv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_samples("s.tsv", SAMPLES)


def test_defaults_are_filled_in_and_the_argument_is_kept(folder):
    given = {"groups": {"subjects": False}}
    Path("config").mkdir()
    write_sheet("cohort subject tractogram\none 01 a.trk", "config/samples.tsv")
    full = load_project(given, CONFIG, SAMPLES).config
    assert full["groups"] == {"bundles": True, "subjects": False}
    assert full["samples"] == "config/samples.tsv"
    assert given == {"groups": {"subjects": False}}


def test_every_key_has_a_description_and_a_default():
    def walk(properties):
        for key, rule in properties.items():
            assert rule.get("description"), key
            assert "default" in rule, key
            walk(rule.get("properties", {}))

    walk(CONFIG["properties"])
    assert all(rule.get("description") for rule in SAMPLES["properties"].values())


def test_the_configuration_of_the_repository_is_the_default(folder):
    config = yaml.safe_load((SCHEMAS.parents[1] / "config" / "config.yaml").read_text())
    assert config["samples"] == CONFIG["properties"]["samples"]["default"]
    assert full_config(config) == full_config({})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sample": "x"}, "unknown key 'sample' (did you mean 'samples'?)"),
        ({"groups": {"bundle": True}}, "configuration, groups: unknown key 'bundle' (did you mean 'bundles'?)"),
        ({"groups": 1}, "configuration, groups: 1 is not of type object"),
        ({"positions_dtype": "int8"}, "configuration, positions_dtype: 'int8' is none of keep, float16"),
        ({"shard_gb": 0}, "configuration, shard_gb: 0 is less than or equal to the minimum of 0"),
        ({"subjects_per_job": 0}, "subjects_per_job: 0 is neither 'auto' nor a whole number from 1 on"),
        ({"extract_groups": "yes"}, "configuration, extract_groups: 'yes' is not of type boolean"),
    ],
)
def test_wrong_configurations(folder, config, message):
    with pytest.raises(InputError) as caught:
        full_config(config)
    assert message in str(caught.value)


def test_mistakes_of_configuration_and_sheet_come_together(folder):
    sheet = write_sheet("cohort subject tractogram\none 01 no.trk")
    with pytest.raises(InputError) as caught:
        load_project({"samples": sheet, "nonsense": 1, "shard_gb": "x"}, CONFIG, SAMPLES)
    text = str(caught.value)
    assert text.startswith("3 mistakes in the configuration or sample sheet:")
    assert "nonsense" in text
    assert "shard_gb" in text
    assert "no.trk" in text


def test_project_answers_the_rules(folder):
    sheet = write_sheet(
        """
        cohort subject session bundle tractogram reference
        one 01 1 CC a.trk n/a
        one 01 1 AF b.trk n/a
        one 01 2 n/a b.trk n/a
        two 02 n/a n/a c.tck ref.nii.gz
        """
    )
    project = load_project({"samples": sheet}, CONFIG, SAMPLES)
    assert list(project.cohorts) == ["one", "two"]
    assert project.entities("one") == ["sub-01_ses-1", "sub-01_ses-2"]
    assert project.paths("one", "sub-01_ses-1") == ["a.trk", "b.trk"]
    assert project.paths("two") == ["c.tck", "ref.nii.gz"]
    assert project.nb_bytes("one") == 3
    assert project.subject_groups("one") == {
        "sub-01_ses-1": ["sub-01", "sub-01_ses-1"],
        "sub-01_ses-2": ["sub-01", "sub-01_ses-2"],
    }
    assert project.subject_groups("two") == {"sub-02": ["sub-02"]}
    without = load_project({"samples": sheet, "groups": {"subjects": False}}, CONFIG, SAMPLES)
    assert without.subject_groups("two") == {"sub-02": []}


def test_shards_follow_the_size_of_the_inputs(folder):
    sheet = write_sheet("cohort subject tractogram\none 01 a.trk\none 02 b.trk")
    Path("a.trk").write_bytes(b"x" * 3000)

    def shards(gigabytes):
        return load_project({"samples": sheet, "shard_gb": gigabytes}, CONFIG, SAMPLES).nb_shards("one")

    assert shards(32) == 1
    assert shards(1600e-9) == 2
    assert shards(1e-9) == 2  # never more than subjects


def test_with_keep_going_a_cohort_with_mistakes_is_put_aside(folder):
    sheet = write_sheet("cohort subject tractogram\nbad 01 no.trk\nbad 02 a.trk\ngood 01 b.trk")
    project = load_project({"samples": sheet}, CONFIG, SAMPLES, keep_going=True)
    assert list(project.cohorts) == ["good"]
    (mistakes,) = project.refused.values()
    assert "'no.trk' does not exist" in mistakes[0]


@pytest.mark.parametrize(
    "text",
    [
        "cohort subject tractogram\nbad 01 no.trk",  # no other cohort
        "cohort subject tractogram\no/e 01 a.trk\ngood 01 b.trk",  # whose mistake is it?
        "cohort subject trctogram\ngood 01 b.trk",
    ],
)
def test_with_keep_going_other_mistakes_stop_all(folder, text):
    with pytest.raises(InputError):
        load_project({"samples": write_sheet(text)}, CONFIG, SAMPLES, keep_going=True)


@pytest.mark.parametrize(
    ("count", "nbytes", "wanted", "size", "batches"),
    [
        (3, 100, "auto", 1, 0),
        (31, 100, "auto", 1, 0),
        (32, 100, "auto", 2, 16),
        (60, 100, "auto", 3, 20),
        (200, 100, "auto", 12, 17),
        (2000, 100, "auto", 20, 100),
        (200, 6_000_000, "auto", 1, 0),
        (2000, 6_000_000, "auto", 1, 0),
        (10_000, 6_000_000, "auto", 10, 1000),
        (7, 6_000_000, 3, 3, 3),
    ],
)
def test_subjects_are_converted_in_batches_where_they_are_small_or_jobs_would_be_thousands(
    tmp_path, count, nbytes, wanted, size, batches
):
    path = tmp_path / "a.trk"
    path.touch()
    os.truncate(path, nbytes)
    sample = Sample(line=2, cohort="one", subject="sub-01", tractogram=str(path))
    rows = {f"sub-{number}": [sample] for number in range(count)}
    project = Project({"subjects_per_job": wanted}, {"one": rows}, nb_subjects=count)
    assert project.subjects_per_job("one") == size
    found = project.batches()
    assert len(found) == batches
    assert project.single_cohorts() == ([] if batches else ["one"])
    if batches:
        assert [entity for batch in found for entity in batch.rows] == project.entities("one")


def test_batches_do_not_depend_on_what_happens_to_other_cohorts(folder):
    """A job that was submitted reads the sheet again, and must find the same division."""
    lines = ["cohort subject tractogram", *(f"a {number:02} a.trk" for number in range(40))]
    lines += [f"b {number:02} other.trk" for number in range(20)]
    Path("other.trk").write_bytes(b"x" * 100)
    sheet = write_sheet("\n".join(lines))
    before = load_project({"samples": sheet}, CONFIG, SAMPLES)
    Path("other.trk").unlink()
    after = load_project({"samples": sheet}, CONFIG, SAMPLES, keep_going=True)
    assert list(after.cohorts) == ["a"]
    assert before.subjects_per_job("a") == 3
    assert after.batches() == [batch for batch in before.batches() if batch.cohort == "a"]


def test_large_subjects_of_one_cohort_have_jobs_of_their_own(folder):
    Path("large.trk").touch()
    os.truncate("large.trk", 1 << 30)
    lines = ["cohort subject tractogram", *(f"small {number:02} a.trk" for number in range(60))]
    lines += [f"large {number:02} large.trk" for number in range(60)]
    project = load_project({"samples": write_sheet("\n".join(lines))}, CONFIG, SAMPLES)
    assert project.single_cohorts() == ["large"]
    assert {batch.cohort for batch in project.batches()} == {"small"}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), (True, True)])
def test_switches_may_be_given_on_the_command_line(folder, text, value):
    """Snakemake hands `--config keep_subjects=false` on as a text."""
    assert full_config({"keep_subjects": text})["keep_subjects"] is value


def test_cells_in_quotation_marks_are_their_content(folder):
    """As R writes tables; a single mark is part of a cell and swallows nothing."""
    plain = read_samples(write_sheet("cohort subject tractogram\none 01 a.trk\none 02 b.trk"), SAMPLES)
    quoted = write_sheet('"cohort" "subject" "tractogram"\n"one" "01" "a.trk"\n"one" "02" "b.trk"', "quoted.tsv")
    assert read_samples(quoted, SAMPLES) == plain
    assert mistakes_of('cohort subject tractogram\none "01 a.trk\none 02 b.trk') == [
        "  samples.tsv, line 2, column subject: '\"01' is not a fit name; "
        "The subject, with or without the prefix sub-; letters, digits and _ + - only."
    ]


def test_a_folder_of_results_that_cannot_be_made_is_a_mistake(folder):
    sheet = write_sheet("cohort subject tractogram\none 01 a.trk")
    for results in ("a.trk", "a.trk/inside/further"):
        with pytest.raises(InputError, match=r"configuration, results: .*a\.trk is a file; name a folder"):
            load_project({"samples": sheet, "results": results}, CONFIG, SAMPLES)
    Path("closed").mkdir(mode=0o500)
    if not os.access("closed", os.W_OK):  # as root everything may be written
        with pytest.raises(InputError, match="closed may not be written to"):
            load_project({"samples": sheet, "results": "closed/results"}, CONFIG, SAMPLES)
    project = load_project({"samples": sheet, "results": "new/results"}, CONFIG, SAMPLES)
    assert project.config["results"] == "new/results"


def test_no_input_lies_where_the_results_of_its_own_cohort_go(folder):
    """Snakemake removes what a job makes before it starts, so that this is told before anything runs."""
    for name in ("results/one/subjects", "results/two"):
        Path(name).mkdir(parents=True)
        Path(name, "sub-01.trx").write_bytes(b"x")
    Path("results/one/one.trx").write_bytes(b"x")
    Path("by_link.trx").symlink_to("results/one/one.trx")
    Path("way").symlink_to("results")
    whole = str(folder / "results/one/one.trx")
    for path in ("results/one/one.trx", "by_link.trx", "way/one/subjects/sub-01.trx", whole):
        for row in (f"one 01 {path} n/a", f"one 01 a.trk {path}"):
            sheet = write_sheet(f"cohort subject tractogram reference\none 02 b.trk n/a\n{row}")
            with pytest.raises(InputError) as caught:
                load_project({"samples": sheet}, CONFIG, SAMPLES)
            (mistake,) = str(caught.value).splitlines()[1:]
            assert mistake.startswith(f"  sample sheet, line 3: '{path}' lies in results/one, where the results of its")
    # The archives of other cohorts are inputs as others are.
    sheet = write_sheet("cohort subject tractogram\nall 01 results/one/one.trx\ntwo 01 results/one/one.trx")
    assert list(load_project({"samples": sheet}, CONFIG, SAMPLES).cohorts) == ["all", "two"]


def test_other_cohorts_go_on_without_one_that_would_replace_its_inputs(folder):
    Path("results/one").mkdir(parents=True)
    Path("results/one/one.trx").write_bytes(b"x")
    sheet = write_sheet("cohort subject tractogram\none 01 results/one/one.trx\ntwo 01 a.trk")
    project = load_project({"samples": sheet}, CONFIG, SAMPLES, keep_going=True)
    assert list(project.cohorts) == ["two"]
    assert "lies in results/one" in project.refused["one"][0]


@pytest.mark.parametrize(
    ("bundle", "words"),
    [("AF\x1b[2K", "column bundle: group 'AF\\x1b[2K' cannot be a file name"), ("A" * 256, "is longer than 200 bytes")],
)
def test_a_bundle_that_no_job_could_write_is_a_mistake_of_the_sheet(tmp_path, bundle, words):
    trk = tmp_path / "a.trk"
    trk.write_bytes(b"TRACK")
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(f"cohort\tsubject\tbundle\ttractogram\nc\t01\t{bundle}\t{trk}\n")
    mistakes = find_mistakes(sheet, SAMPLES, ())[1]
    assert len(mistakes) == 1
    assert words in mistakes[0].text


def test_a_path_that_no_disk_can_have_is_a_mistake_of_the_sheet(tmp_path):
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(f"cohort\tsubject\ttractogram\nc\t01\t{'a' * 300}.trk\nc\t{'s' * 300}\t{sheet}\n")
    texts = [mistake.text for mistake in find_mistakes(sheet, SAMPLES, ())[1]]
    assert "column tractogram" in texts[0]
    assert "cannot be looked up (File name too long); shorten the path" in texts[0]
    assert "column subject" in texts[1]
    assert "is longer than 200 bytes" in texts[1]
