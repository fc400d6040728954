"""No writer replaces an input, by whatever name it is called: an error, and nothing is made on disk."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from formats.made import some_streamlines, trk_bytes

from tests.helpers import assert_trx_equal, make_row, make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib import ConvertInput, concatenate, convert, export, extract_groups, load, merge, save, zip_from_folder
from trxlib.cli import main
from trxlib.cohort import steps
from trxlib.container.outputs import Folders, check_outputs
from trxlib.errors import InputError

Write = Callable[[str], Any]

#: Names of the input, an archive; `none` is no folder, `way` a link to the folder of all.
SAME = {
    "relative": "CC.trx",
    "absolute": "{here}/CC.trx",
    "dots": "links/.././CC.trx",
    "dots over nothing": "none/../CC.trx",
    "link": "links/soft/CC.trx",
    "link on the way": "way/CC.trx",
    "dots behind a link": "way/fold/../CC.trx",
    "hard link": "links/hard/CC.trx",
}
#: Names inside of the input, a folder.
INSIDE = {
    "relative": "fold/CC.trx",
    "absolute": "{here}/fold/CC.trx",
    "section": "fold/groups/CC.trx",
    "new folder": "fold/new/CC.trx",
    "dots": "links/../fold/CC.trx",
    "dots over nothing": "fold/none/../CC.trx",
    "link": "links/fold/CC.trx",
    "link on the way": "way/fold/groups/CC.trx",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An archive, a TRX folder, and links to both."""
    monkeypatch.chdir(tmp_path)
    write_plain_zip(make_trx_arrays(), tmp_path / "CC.trx")
    write_plain_folder(make_trx_arrays(seed=1, sidecars={}), tmp_path / "fold")
    write_plain_zip(make_trx_arrays(seed=2), tmp_path / "other.trx")
    for name in ("links/soft", "links/hard", "out"):
        (tmp_path / name).mkdir(parents=True)
    os.link("CC.trx", "links/hard/CC.trx")
    Path("links/soft/CC.trx").symlink_to("../../CC.trx")
    Path("links/fold").symlink_to("../fold")
    Path("way").symlink_to(".")
    return tmp_path


def content(folder: Path) -> dict[str, bytes | str | None]:
    """Return all that is on disk: files with their bytes, links with what they name, folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def assert_refused(write: Callable[[], Any], message: str) -> None:
    before = content(Path.cwd())
    with pytest.raises(InputError, match=message):
        write()
    assert content(Path.cwd()) == before


def row(path: str, **more: Any) -> dict[str, Any]:
    return make_row(path, **more)


OPTIONS: dict[str, Any] = {
    "bundles": True,
    "positions_dtype": "keep",
    "missing_metadata": "drop",
    "out_of_volume": "keep",
    "nonfinite": "fail",
    "empty_streamlines": "keep",
}
PLANNED: dict[str, Any] = {"missing_metadata": "drop", "nb_shards": 1}


def run(*arguments: str) -> None:
    """Run the command, and raise what it says of a user's mistake."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        status = main(list(arguments))
    assert status == 1, err.getvalue()
    raise InputError(err.getvalue())


def plan(path: str) -> str:
    steps.plan_cohort([path], {"sub-01": ["sub-01"]}, "out/plan.json", "out/all.trx", **PLANNED)
    return "out/plan.json"


def fill(path: str) -> Write:
    planned = plan(path)
    return lambda output: steps.fill_cohort(planned, output, "out/0.json", shard=0, workers=1)


def fill_receipt(path: str) -> Write:
    planned = plan(path)
    return lambda output: steps.fill_cohort(planned, "out/all.trx", output, shard=0, workers=1)


def record(path: str) -> str:
    steps.convert_subject([row(path)], "out/subject.trx", "out/subject.json", **OPTIONS)
    return "out/subject.json"


def seal(path: str) -> Write:
    planned, records = plan(path), [record(path)]
    steps.fill_cohort(planned, "out/all.trx", "out/0.json", shard=0, workers=1)
    return lambda output: steps.seal_cohort(planned, ["out/0.json"], output, "out/provenance.tsv", records=records)


def seal_provenance(path: str) -> Write:
    planned, records = plan(path), [record(path)]
    steps.fill_cohort(planned, "out/all.trx", "out/0.json", shard=0, workers=1)
    return lambda output: steps.seal_cohort(planned, ["out/0.json"], "out/all.trx", output, records=records)


def provenance(path: str) -> str:
    file = Path("out/provenance.tsv")
    file.write_text("subject\tsession\tfirst_streamline\tlast_streamline\nsub-01\tn/a\t0\t11\n")
    return str(file)


def summarise(path: str) -> Write:
    table = provenance(path)
    return lambda output: steps.summarise_cohort(path, table, output)


def draw(picture: bool) -> Callable[[str], Write]:
    def prepare(path: str) -> Write:
        table = provenance(path)
        steps.summarise_cohort(path, table, "out/summary.tsv")

        def write(output: str) -> None:
            files = (output, "out/page.html") if picture else ("out/picture.png", output)
            steps.draw_cohort("c", path, table, "out/summary.tsv", *files)

        return write

    return prepare


#: Functions that take an input, make ready what they need, and return what writes to an output.
WRITERS: dict[str, Callable[[str], Write]] = {
    "convert": lambda path: lambda output: convert(path, output),
    "convert several": lambda path: lambda output: convert(["other.trx", (path, "one")], output, missing="drop"),
    "convert, compressed": lambda path: lambda output: convert(path, output, compression=8),
    "merge": lambda path: lambda output: merge([path, "other.trx"], output),
    "merge, last": lambda path: lambda output: merge(["other.trx", "other.trx", path], output, names=["a", "b", "c"]),
    "extract_groups": lambda path: lambda output: extract_groups(path, Path(output).parent),
    "extract_groups, one": lambda path: lambda output: extract_groups(path, Path(output).parent, ["CC"]),
    "command convert": lambda path: lambda output: run("convert", "--force", path, output),
    "command merge": lambda path: lambda output: run("merge", "--force", path, "other.trx", output),
    "command groups": lambda path: lambda output: run("groups", path, "--extract", str(Path(output).parent)),
    "step preflight": lambda path: lambda output: steps.preflight([row(path)], output, missing_metadata="drop"),
    "step convert_subject": lambda path: lambda output: steps.convert_subject(
        [row(path)], output, "out/one.json", **OPTIONS
    ),
    "step convert_subject, record": lambda path: lambda output: steps.convert_subject(
        [row(path)], "out/one.trx", output, **OPTIONS
    ),
    "step convert_subjects": lambda path: lambda output: steps.convert_subjects(
        {"sub-01": [row("other.trx")], "sub-02": [row(path)]}, [output, "out/2.trx"], ["out/1.json", "out/2.json"],
        **OPTIONS,
    ),
    "step plan_cohort": lambda path: lambda output: steps.plan_cohort(
        [path], {"sub-01": []}, "out/plan.json", output, **PLANNED
    ),
    "step plan_cohort, plan": lambda path: lambda output: steps.plan_cohort(
        [path], {"sub-01": []}, output, "out/all.trx", **PLANNED
    ),
    "step plan_cohort_directly": lambda path: lambda output: steps.plan_cohort_directly(
        [row(path)], {"sub-01": []}, "out/plan.json", output, nb_shards=1, **OPTIONS
    ),
    "step fill_cohort": fill,
    "step fill_cohort, receipt": fill_receipt,
    "step seal_cohort": seal,
    "step seal_cohort, provenance": seal_provenance,
    "step extract_groups": lambda path: lambda output: steps.extract_groups(path, output, "out/groups.tsv", workers=1),
    "step extract_groups, table": lambda path: lambda output: steps.extract_groups(
        path, "out/groups", output, workers=1
    ),
    "step summarise_cohort": summarise,
    "step draw_cohort": draw(True),
    "step draw_cohort, page": draw(False),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SAME)
@pytest.mark.parametrize("writer", WRITERS)
def test_an_output_that_is_the_input_is_refused(folder, writer, spelling):
    write = WRITERS[writer]("CC.trx")
    assert_refused(lambda: write(SAME[spelling].format(here=folder)), r"CC\.trx: would replace the input CC\.trx")


@pytest.mark.parametrize("spelling", SAME)
@pytest.mark.parametrize("writer", ["convert", "merge", "extract_groups", "step seal_cohort"])
def test_an_input_is_known_by_any_of_its_names(folder, writer, spelling):
    path = SAME[spelling].format(here=folder)
    if Path(path).exists():
        write = WRITERS[writer](path)
        assert_refused(lambda: write("CC.trx"), r"CC\.trx: would replace the input .*CC\.trx")
    else:
        assert spelling == "dots over nothing"


def save_by(change: Callable[[Any], Any]) -> Callable[[str], Write]:
    return lambda path: lambda output: save(change(load(path)), output)


def looked_at(trx: Any) -> Any:
    assert len(trx.streamlines) > 0
    return trx


SAVERS: dict[str, Callable[[str], Write]] = {
    "save": save_by(lambda trx: trx),
    "save, looked at": save_by(looked_at),
    "save, selection": save_by(lambda trx: trx[2:4]),
    "save, group": save_by(lambda trx: trx.get_group("CC")),
    "save, concatenation": save_by(lambda trx: concatenate([load("other.trx"), trx])),
    "save, concatenation looked at": save_by(lambda trx: looked_at(concatenate([trx, load("other.trx")]))),
    "save, concatenation of one looked at": save_by(lambda trx: concatenate([looked_at(concatenate([trx, trx]))])),
    "zip_from_folder": lambda path: lambda output: zip_from_folder(path, output),
}


@pytest.mark.parametrize("spelling", INSIDE)
@pytest.mark.parametrize("writer", [*WRITERS, *SAVERS])
def test_an_output_inside_an_input_folder_is_refused(folder, writer, spelling):
    write = (WRITERS | SAVERS)[writer]("fold")
    assert_refused(lambda: write(INSIDE[spelling].format(here=folder)), "lies inside the input folder .*fold")
    assert load("fold").header["NB_STREAMLINES"] == 12


@pytest.mark.parametrize("writer", ["convert", "merge", "save", "extract_groups", "step fill_cohort"])
def test_a_folder_that_is_read_by_a_link_is_known(folder, writer):
    write = (WRITERS | SAVERS)[writer]("links/fold")
    assert_refused(lambda: write("fold/groups/CC.trx"), "lies inside the input folder .*fold")


def test_what_a_file_was_loaded_from_is_known_in_another_working_directory(folder, monkeypatch):
    trx = load("fold")
    monkeypatch.chdir(folder / "links")
    before = content(folder)
    with pytest.raises(InputError, match="lies inside the input folder"):
        save(trx, "../fold/all.trx")
    assert content(folder) == before


@pytest.mark.parametrize("output", ["{name}.trk", "way/{name}.trk", "links/../{name}.trk"])
@pytest.mark.parametrize("write", [export, convert, lambda *paths: run("convert", "--force", *paths)])
def test_a_trk_is_not_replaced_by_itself(folder, write, output):
    Path("k.trk").write_bytes(trk_bytes(some_streamlines()))
    assert_refused(lambda: write("k.trk", output.format(name="k")), r"k\.trk: would replace the input k\.trk")
    assert_refused(lambda: write("fold", output.format(name="fold/k")), "lies inside the input folder fold")


def test_a_folder_that_holds_an_input_is_not_replaced(folder):
    write_plain_folder(make_trx_arrays(seed=3), "holder")
    Path("holder/groups/in.trx").write_bytes(Path("CC.trx").read_bytes())
    Path("by_link.trx").symlink_to("holder/groups/in.trx")
    Path("links/holder").symlink_to("../holder")
    for path in ("holder/groups/in.trx", "by_link.trx", "way/holder/groups/in.trx"):
        for output in ("holder", "links/holder"):
            message = f"{output}: is a folder that holds the input {path}"
            for write in (
                lambda path, output: convert(path, output),
                lambda path, output: merge(["other.trx", path], output),
                lambda path, output: save(load(path), output),
                lambda path, output: steps.extract_groups(path, output, "out/groups.tsv", workers=1),
            ):
                assert_refused(lambda: write(path, output), message.replace(path, f".*{Path(path).name}"))  # noqa: B023


@pytest.mark.parametrize(
    "options",
    [
        {"reference": "c.trx"},
        {"transform": "c.trx"},
        {"dps": {"w": "other.trx", "v": "c.trx"}},
        {"dpv": {"w": "c.trx"}},
    ],
)
def test_what_belongs_to_an_input_is_not_replaced(folder, options):
    Path("c.trx").write_text("precious")
    item = ConvertInput("CC.trx", **options)
    for output in ("c.trx", "way/c.trx"):
        message = r"c\.trx: would replace the input c\.trx"
        assert_refused(lambda: convert(item, output), message)  # noqa: B023
        assert_refused(lambda: convert(["other.trx", item], output), message)  # noqa: B023
        rows = [row("CC.trx", **options)]
        assert_refused(lambda: steps.convert_subject(rows, output, "out/a.json", **OPTIONS), message)  # noqa: B023
        assert_refused(
            lambda: steps.plan_cohort_directly(rows, {"sub-01": []}, "out/p.json", output, nb_shards=1, **OPTIONS),  # noqa: B023
            message,
        )
    trk = Path("c.trx").rename("c.trk")
    changed = json.loads(json.dumps(options).replace("c.trx", "c.trk"))
    assert_refused(lambda: export("CC.trx", trk, **changed), r"c\.trk: would replace the input c\.trk")


def test_no_folder_for_groups_is_made_inside_an_input(folder):
    for names in ([], ["CC"]):
        for inside in ("fold", "fold/new", "links/fold/new"):
            assert_refused(lambda: extract_groups("fold", inside, names), "lies inside the input folder fold")  # noqa: B023


@pytest.mark.skipif(not Path(__file__.upper()).exists(), reason="this disk tells names apart that differ in case")
def test_names_that_differ_only_in_case_are_one_file(folder):
    for writer in ("convert", "merge", "step convert_subject, record"):
        write = WRITERS[writer]("CC.trx")
        assert_refused(lambda: write("cc.TRX"), "would replace the input")  # noqa: B023


def test_other_files_are_replaced_only_if_that_is_allowed(folder):
    before = content(folder)
    for name in ("other.trx", "fold", "links/fold"):
        with pytest.raises(InputError, match=f"{name}: exists, and would be replaced"):
            merge(["CC.trx"], name, overwrite=False)
    assert content(folder) == before
    merge(["CC.trx"], "other.trx")
    merge(["CC.trx"], "fold")
    merge(["CC.trx"], "new.trx", overwrite=False)
    for name in ("other.trx", "fold", "new.trx"):
        assert_trx_equal(load(name), load("CC.trx"))


def test_two_outputs_are_never_one_file(folder):
    for first, second in (("new.trx", "way/new.trx"), ("CC.trx", "links/hard/CC.trx"), ("out", "links/../out")):
        with pytest.raises(InputError, match="is to be written twice, also as"):
            check_outputs([first, second], [])
    check_outputs(["new.trx", "out/new.trx"], [])


def test_files_beside_and_around_inputs_are_free(folder):
    merge(["fold", "CC.trx"], "fold.trx")
    merge(["fold", "CC.trx"], "folder")
    extract_groups("fold", "fold_groups")
    extract_groups("CC.trx", ".", ["CST_L"])
    save(load("fold"), "out/all.trx")
    save(load("fold"), "fold2")
    assert_trx_equal("out/all.trx", "fold2")
    assert sorted(path.name for path in Path("fold_groups").iterdir()) == ["CC.trx", "CST_L.trx", "none.trx"]


def test_each_of_many_inputs_is_looked_at_once(folder, monkeypatch):
    asked: list[str] = []
    real = os.stat
    names = [f"sub-{number}.trx" for number in range(500)]
    for name in names:
        os.link("CC.trx", name)
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(str(path)) or real(path, **options))
    check_outputs([f"out/{number}.trx" for number in range(100)], [*names, *names])
    monkeypatch.undo()
    assert sorted(path for path in asked if path in names) == sorted(names)
    assert len(asked) < len(names) + 110


def test_a_folder_is_told_by_any_name(folder):
    folders = Folders(["links/fold", "CC.trx", "none"])
    assert folders.around("way/fold/groups/x") == "links/fold"
    assert folders.around("fold") is None
    assert folders.around("none/x") is None
    assert folders.around("/") is None
    assert folders.at("fold") == "links/fold"
