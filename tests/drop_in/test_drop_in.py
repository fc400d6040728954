"""trxlib in trx-python's place: what dipy and trx-python's own tests need of it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import trxlib
import trxlib.io
from tests.helpers import make_trx_arrays, write_plain_zip
from trxlib.trxfile.trxfile import TrxFile

ROOT = Path(__file__).resolve().parents[2]
#: Of trx-python 0.6: those that fail with trxlib; each has its reason in docs/differences.md.
FAIL_ON_PURPOSE = {
    "test_cli.py::TestWorkflowFunctions::test_execution_convert_dtype_p16_o64",
    "test_cli.py::TestWorkflowFunctions::test_execution_generate_trx_from_scratch",
    "test_cli.py::TestWorkflowFunctions::test_execution_manipulate_trx_datatype",
    "test_io.py::test_close_tmp_files[gs.trx]",
    "test_io.py::test_complete_dir_from_trx[gs.trx]",
    "test_memmap.py::test_initialize_empty_trx",
    "test_memmap.py::test_close_releases_mmap_from_zip[small.trx]",
}
#: They write VTK files with dipy, which needs FURY for that; with trx-python in its place, too.
NEED_FURY = {f"test_io.py::{name}[gs.vtk]" for name in ("test_seq_ops_sft", "test_load_vox", "test_load_voxmm")}
#: Those of dipy's tests that make or read a TrxFile are among them.
DIPYS_TESTS = (
    "dipy.io.tests.test_streamline",
    "dipy.io.tests.test_stateful_tractogram",
    "dipy.io.tests.test_utils",
    "dipy.utils.tests.test_tractogram",
)
CONCATENATE = """
from trxlib.stand_in import stand_in_for_trx_python
stand_in_for_trx_python()
import trx.trx_file_memmap
import trxlib
from dipy.utils.tractogram import concatenate_tractogram
assert trx.trx_file_memmap.TrxFile is trxlib.TrxFile
joined = concatenate_tractogram([trxlib.load("cohort.trx"), trxlib.load("cohort.trx")])
trxlib.save(joined, "twice.trx")
print(len(joined), trxlib.validate("twice.trx").nb_streamlines)
"""


def run(arguments: list[str], folder: Path, **environment: str) -> str:
    """What a Python process prints, which runs in a folder with this repository's modules."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def failed_tests(arguments: list[str], folder: Path, **environment: str) -> tuple[set[str], int]:
    """The tests that fail, and how many pass, where other packages' tests run with trxlib."""
    folder.mkdir(exist_ok=True)
    pytest_of_others = ["-m", "pytest", "-q", "-rf", "-p", "tests.drop_in.plugin", "-p", "no:cacheprovider", "--pyargs"]
    text = run([*pytest_of_others, *arguments], folder, TRX_HOME=str(folder / "made"), **environment)
    passed = re.search(r"(\d+) passed", text)
    assert passed is not None, text[-2000:]
    names = re.findall(r"^(?:FAILED|ERROR) (\S+?)(?:\[inprocess\])?(?: |$)", text, re.MULTILINE)
    return {name.removeprefix("tests/") for name in names}, int(passed[1])


@pytest.mark.slow
def test_trx_pythons_own_tests_run_with_trxlib_in_its_place(tmp_path):
    for package in ("pytest_console_scripts", "deepdiff", "psutil", "typer"):
        pytest.importorskip(package, reason="trx-python's own tests need it")
    if version("trx-python") != "0.6":
        pytest.skip("the tests of trx-python 0.6 are known")
    failed, passed = failed_tests(["trx"], tmp_path)
    assert {name.split("tests/")[-1] for name in failed} == FAIL_ON_PURPOSE | (
        set() if find_spec("fury") else NEED_FURY
    )
    assert passed + len(failed & NEED_FURY) >= 228  # one more fails as it should, and one passes that should not


@pytest.mark.slow
def test_dipys_own_tests_give_the_same_with_both(tmp_path):
    ours = failed_tests(list(DIPYS_TESTS), tmp_path / "trxlib")
    theirs = failed_tests(list(DIPYS_TESTS), tmp_path / "trx_python", TRX_REFERENCE="1")
    assert ours == theirs
    assert not [name for name in ours[0] if "trx" in name or "concatenate" in name]
    flows = ["dipy.workflows.tests.test_io", "-k", "concatenate_flow or convert_tractogram"]
    assert failed_tests(flows, tmp_path / "trxlib") == (set(), 2)


def test_dipy_concatenates_trx_files(example_folder):
    assert run(["-c", CONCATENATE], example_folder).split() == ["16", "16"]


def test_a_late_stand_in_is_refused(example_folder):
    code = (
        "import trx.trx_file_memmap\nfrom trxlib.stand_in import stand_in_for_trx_python\nstand_in_for_trx_python()\n"
    )
    assert "StateError: trx.trx_file_memmap, trx.io was imported already" in run(["-c", code], example_folder)


def test_the_stand_in_needs_no_trx_python(tmp_path):
    code = (
        "import sys\n"
        "sys.path = [path for path in sys.path if 'site-packages' not in path] + ['deps']  # numpy and nibabel alone\n"
        "from trxlib.stand_in import stand_in_for_trx_python\n"
        "stand_in_for_trx_python()\n"
        "import trx.io, trx.trx_file_memmap as tmm\n"
        "print(tmm.__name__, trx.io.__name__)\n"
    )
    deps = tmp_path / "deps"
    deps.mkdir()
    for name in ("numpy", "numpy.libs", "nibabel", "packaging", "isal", "typing_extensions.py"):
        found = Path(np.__file__).parents[1] / name
        if found.exists():
            (deps / name).symlink_to(found)
    assert run(["-c", code], tmp_path).split() == ["trxlib.trx_file_memmap", "trxlib.io"]


def test_the_folder_of_a_preallocated_file_lasts_until_close():
    trx = TrxFile(nb_vertices=10, nb_streamlines=2)
    folder = Path(trx._uncompressed_folder_handle.name)
    (folder / "groups").mkdir()
    trx.groups["AF"] = np.memmap(folder / "groups" / "AF.uint32", np.uint32, "w+", shape=(1,))
    assert trx._uncompressed_folder_handle.name == str(folder)
    trx.close()
    assert not folder.exists()
    assert trx._uncompressed_folder_handle is None


def test_the_folder_of_a_compressed_archive_lasts_until_close(tmp_path, monkeypatch):
    monkeypatch.setenv("TRX_TMPDIR", str(tmp_path))
    write_plain_zip(make_trx_arrays(), tmp_path / "packed.trx", zipfile.ZIP_DEFLATED)
    trx = trxlib.load(tmp_path / "packed.trx")
    folder = Path(trx._uncompressed_folder_handle.name)
    assert folder.parent == tmp_path
    assert folder.is_dir()
    trx.close()
    assert not folder.exists()


def test_a_stored_archive_and_a_folder_have_no_temporary_folder(tmp_path):
    write_plain_zip(make_trx_arrays(), tmp_path / "stored.trx")
    trx = trxlib.load(tmp_path / "stored.trx")
    trxlib.save(trx, tmp_path / "folder")
    assert trx._uncompressed_folder_handle is None
    assert trxlib.load(tmp_path / "folder")._uncompressed_folder_handle is None


def test_a_mode_in_place_of_check_dpg_is_refused(tmp_path):
    write_plain_zip(make_trx_arrays(), tmp_path / "stored.trx")
    with pytest.raises(TypeError, match=r"check_dpg is 'r\+', expected True or False; the mode is named"):
        trxlib.load(tmp_path / "stored.trx", "r+")


def test_files_of_other_formats_need_their_reference(example_folder):
    with pytest.raises(OSError, match=r"sub-01.tck: a .tck file has no space; give an image"):
        trxlib.io.load("sub-01.tck")
    with pytest.raises(OSError, match=r"sub-01.xyz: is no .trk, .tck"):
        trxlib.io.load("sub-01.xyz")
    assert len(trxlib.io.load("sub-01.tck", "b0.nii.gz")) == 4


def test_a_selection_says_that_it_shares(tmp_path):
    write_plain_zip(make_trx_arrays(), tmp_path / "stored.trx")
    trx = trxlib.load(tmp_path / "stored.trx")
    assert (trx._copy_safe, trx[0]._copy_safe, trx.select([0], copy_safe=True)._copy_safe) == (True, False, True)
    assert importlib.import_module("trxlib.trx_file_memmap").get_trx_tmp_dir is trxlib.io.get_trx_tmp_dir
