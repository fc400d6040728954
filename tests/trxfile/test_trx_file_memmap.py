"""trxlib.trx_file_memmap: every name of the reference document, with its parameters and defaults; the helpers."""

from __future__ import annotations

import ast
import inspect
import zipfile

import numpy as np
import pytest

import trxlib
from tests.helpers import SHARED, assert_trx_equal, make_trx_arrays, write_plain_folder, write_plain_zip
from trxlib import trx_file_memmap as tmm
from trxlib.errors import ArrayNameError, DtypeError, OffsetsError, ShapeError

DOCUMENT = SHARED / "reference" / "trx_file_memmap_api.txt"
REQUIRED = inspect.Parameter.empty
DTYPES = {"positions": np.float32, "offsets": np.uint32, "dpv": {}, "dps": {}}
#: Name -> its parameters, without self, and their defaults, in order.
SIGNATURES = {
    "_append_last_offsets": {"nib_offsets": REQUIRED, "nb_vertices": REQUIRED},
    "_generate_filename_from_data": {"arr": REQUIRED, "filename": REQUIRED},
    "_split_ext_with_dimensionality": {"filename": REQUIRED},
    "_compute_lengths": {"offsets": REQUIRED},
    "_is_dtype_valid": {"ext": REQUIRED},
    "_create_memmap": {
        "filename": REQUIRED, "mode": "r", "shape": (1,), "dtype": np.float32, "offset": 0, "order": "C"
    },
    "load": {"input_obj": REQUIRED, "check_dpg": True},
    "load_from_zip": {"filename": REQUIRED},
    "load_from_directory": {"directory": REQUIRED},
    "concatenate": {
        "trx_list": REQUIRED, "delete_dpv": False, "delete_dps": False, "delete_groups": False,
        "check_space_attributes": True, "preallocation": False,
    },
    "save": {"trx": REQUIRED, "filename": REQUIRED, "compression_standard": zipfile.ZIP_STORED},
    "zip_from_folder": {"directory": REQUIRED, "filename": REQUIRED, "compression_standard": zipfile.ZIP_STORED},
    "TrxFile": {"nb_vertices": None, "nb_streamlines": None, "init_as": None, "reference": None},
    "TrxFile.__str__": {},
    "TrxFile.__len__": {},
    "TrxFile.__getitem__": {"key": REQUIRED},
    "TrxFile.__deepcopy__": {},
    "TrxFile.deepcopy": {},
    "TrxFile._get_real_len": {},
    "TrxFile._copy_fixed_arrays_from": {
        "trx": REQUIRED, "strs_start": 0, "pts_start": 0, "nb_strs_to_copy": None
    },
    "TrxFile._initialize_empty_trx": {"nb_streamlines": REQUIRED, "nb_vertices": REQUIRED, "init_as": None},
    "TrxFile._create_trx_from_pointer": {"dict_pointer_size": REQUIRED, "root_zip": None, "root": None},
    "TrxFile.resize": {"nb_streamlines": None, "nb_vertices": None, "delete_dpg": False},
    "TrxFile.get_dtype_dict": {},
    "TrxFile.append": {"obj": REQUIRED, "extra_buffer": 0},
    "TrxFile._append_trx": {"trx": REQUIRED, "extra_buffer": 0},
    "TrxFile.get_group": {"key": REQUIRED, "keep_group": True, "copy_safe": False},
    "TrxFile.select": {"indices": REQUIRED, "keep_group": True, "copy_safe": False},
    "TrxFile.from_lazy_tractogram": {
        "obj": REQUIRED, "reference": REQUIRED, "extra_buffer": 0, "chunk_size": 10000, "dtype_dict": DTYPES
    },
    "TrxFile.from_sft": {"sft": REQUIRED, "dtype_dict": {}},
    "TrxFile.from_tractogram": {"tractogram": REQUIRED, "reference": REQUIRED, "dtype_dict": DTYPES},
    "TrxFile.to_tractogram": {"resize": False},
    "TrxFile.to_memory": {"resize": False},
    "TrxFile.to_sft": {"resize": False},
    "TrxFile.close": {},
}  # fmt: skip
STATIC = {"_initialize_empty_trx", "from_lazy_tractogram", "from_sft", "from_tractogram"}


def found_signature(name):
    """Return the parameters that a name has here; additions of ours (keyword-only, or `memo`) are left out."""
    owner, _, member = name.rpartition(".")
    thing = inspect.getattr_static(tmm.TrxFile, member) if owner else getattr(tmm, name)
    is_static = isinstance(thing, staticmethod)
    assert is_static == (member in STATIC)
    parameters = list(inspect.signature(thing.__func__ if is_static else thing).parameters.values())
    if owner and not is_static:
        parameters = parameters[1:]
    positional = [item for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    assert all(item.default is not REQUIRED for item in parameters if item.kind is item.KEYWORD_ONLY)
    return {item.name: item.default for item in positional if (name, item.name) != ("TrxFile.__deepcopy__", "memo")}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    assert found_signature(name) == SIGNATURES[name]
    assert list(found_signature(name)) == list(SIGNATURES[name])


def test_dichotomic_search_has_the_bounds_of_the_document():
    assert found_signature("_dichotomic_search") == {"x": REQUIRED, "l_bound": None, "r_bound": None}


def documented_signatures():
    """Read the document: name -> parameters and defaults."""
    found = {}
    for line in DOCUMENT.read_text().splitlines():
        if not line.endswith("[source]#") or "(" not in line:
            continue
        head, _, rest = line.partition("(")
        # The parameters end at the bracket that closes the first one.
        depth, end = 1, 0
        while depth:
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        name = head.removeprefix("class ").removeprefix("static ").removeprefix("trx.trx_file_memmap.")
        if not head.startswith(("class ", "trx.")):
            name = f"TrxFile.{name}"
        arguments = ast.parse(f"def f({rest[: end - 1]}): pass").body[0].args
        defaults = [REQUIRED] * (len(arguments.args) - len(arguments.defaults))
        scope = {"np": np, "numpy": np, "zipfile": zipfile}
        defaults += [eval(compile(ast.Expression(node), "doc", "eval"), scope) for node in arguments.defaults]
        found[name] = dict(zip([argument.arg for argument in arguments.args], defaults, strict=True))
    return found


def test_the_table_above_is_the_document():
    if not DOCUMENT.is_file():
        pytest.skip(f"needs {DOCUMENT.name} beside the repository")
    assert documented_signatures() == SIGNATURES


@pytest.mark.parametrize("name", [name for name in SIGNATURES if "." not in name] + ["_dichotomic_search"])
def test_functions_are_also_names_of_trxlib(name):
    assert getattr(trxlib, name) is getattr(tmm, name)


def test_attributes_of_the_document():
    trx = tmm.TrxFile()
    for name in ("header", "groups", "data_per_streamline", "data_per_vertex", "data_per_group"):
        assert isinstance(getattr(trx, name), dict)
    assert len(trx.streamlines) == 0
    assert tmm.dipy_available in (True, False)
    assert trxlib.dipy_available is tmm.dipy_available


def test_public_names_are_sorted_and_there():
    assert trxlib.__all__ == sorted(trxlib.__all__)
    assert tmm.__all__ == sorted(tmm.__all__)
    for name in trxlib.__all__:
        assert getattr(trxlib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trxlib.nothing


# ---- the helpers


@pytest.mark.parametrize(
    ("offsets", "nb_vertices", "expected"),
    [
        (np.array([0, 1, 1, 3], "u4"), 4, [0, 1, 1, 3, 4]),
        (np.array([], "u4"), 0, [0]),
        (np.array([0], "u8"), 0, [0, 0]),
        (np.array([0, 2**31], "u4"), 2**32, [0, 2**31, 2**32]),
        ([3, 5], 12, [3, 5, 12]),
    ],
)
def test_append_last_offsets(offsets, nb_vertices, expected):
    assert tmm._append_last_offsets(offsets, nb_vertices).tolist() == expected


def test_append_last_offsets_refuses():
    with pytest.raises(OffsetsError, match="decreases from 3"):
        tmm._append_last_offsets(np.array([0, 3, 2]), 4)
    with pytest.raises(OffsetsError, match="only 2 vertices"):
        tmm._append_last_offsets(np.array([0, 3]), 2)
    with pytest.raises(OffsetsError, match="decreases from 0 .* to -1"):
        tmm._append_last_offsets(np.array([-1, 3]), 4)


@pytest.mark.parametrize(
    ("array", "filename", "expected"),
    [
        (np.zeros((5, 3), "f4"), "positions", "positions.3.float32"),
        (np.zeros((5, 1), "u1"), "mean_fa", "mean_fa.uint8"),
        (np.zeros(5, "f8"), "a/b/mean_fa.bit", "a/b/mean_fa.float64"),
        (np.zeros((5, 4), bool), "flag", "flag.4.bit"),
        (np.zeros(5, ">i2"), "n", "n.int16"),
    ],
)
def test_generate_filename(array, filename, expected):
    assert tmm._generate_filename_from_data(array, filename) == expected


def test_generate_filename_refuses():
    with pytest.raises(ShapeError, match="x: the array has 3 dimensions"):
        tmm._generate_filename_from_data(np.zeros((1, 1, 1)), "x")
    with pytest.raises(DtypeError, match="cannot hold complex128"):
        tmm._generate_filename_from_data(np.zeros(1, complex), "x")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("mean_fa.float64", ("mean_fa", 1, ".float64")),
        ("folder/color.3.uint8", ("color", 3, ".uint8")),
        ("flag.bit", ("flag", 1, ".bit")),
    ],
)
def test_split_ext(filename, expected):
    assert tmm._split_ext_with_dimensionality(filename) == expected


@pytest.mark.parametrize(
    ("filename", "error"), [("x", ArrayNameError), ("a.b.3.bit", ArrayNameError), ("a.O", DtypeError)]
)
def test_split_ext_refuses(filename, error):
    with pytest.raises(error):
        tmm._split_ext_with_dimensionality(filename)


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        (np.array(range(5), "i2"), [1, 1, 1, 1]),
        (np.array([0, 1, 1, 3, 4], "i4"), [1, 0, 2, 1]),
        (np.array([0, 0, 0], "u8"), [0, 0]),
        (np.array([0, 4, 4], "u8"), [4, 0]),
        (np.array([], "u4"), [0]),
        (np.array([0, 5, 9, 0, 0], "u4"), [5, 4, 0, 0]),  # preallocated
        (np.array([0, 5, 9, 0], "i8"), [5, 4, 0]),
    ],
)
def test_compute_lengths(offsets, expected):
    found = tmm._compute_lengths(offsets)
    assert found.tolist() == expected
    assert found.dtype == np.uint32


@pytest.mark.parametrize(
    ("ext", "expected"),
    [("bit", True), (".float16", True), ("uint8", True), ("ushort", True), ("txt", False), ("O", False), ("f4", False)],
)
def test_is_dtype_valid(ext, expected):
    assert tmm._is_dtype_valid(ext) is expected


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([3, 1, 2, 0, 0], (None, None), 2),
        ([1, 2, 3], (None, None), 2),
        ([0, 0], (None, None), -1),
        ([0], (None, None), -1),
        ([7], (None, None), 0),
        ([1, 2, 0, 0, 5], (0, 3), 1),
        ([1, 1, 1, 0], (2, 3), 2),
    ],
)
def test_dichotomic_search(values, bounds, expected):
    assert tmm._dichotomic_search(np.array(values), *bounds) == expected


def test_create_memmap(tmp_path):
    written = tmm._create_memmap(str(tmp_path / "a.bool"), "w+", (4,), bool)
    written[:] = (1, 0, 1, 1)
    written.flush()
    assert tmm._create_memmap(str(tmp_path / "a.bit"), "r", (4,), bool).tolist() == [True, False, True, True]
    empty = tmm._create_memmap(str(tmp_path / "b.3.float32"), "w+", (0, 3))
    assert empty.shape == (0, 3)
    assert (tmp_path / "b.3.float32").read_bytes() == b""


def test_create_memmap_leaves_an_empty_file_that_is_there_alone(tmp_path, monkeypatch):
    path = tmp_path / "b.3.float32"
    path.touch()

    def refuse(*_, **__):
        raise PermissionError("read-only")

    for opener in ("builtins.open", "pathlib.Path.touch", "pathlib.Path.open"):
        monkeypatch.setattr(opener, refuse)
    assert tmm._create_memmap(str(path), "r", (0, 3)).shape == (0, 3)


def test_create_trx_from_pointer(tmp_path):
    arrays = make_trx_arrays(sidecars={})
    path = write_plain_zip(arrays, tmp_path / "a.trx")
    pointers = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".json"):
                start = info.header_offset + 30 + len(info.filename)
                dtype = "u1" if info.filename.endswith("bit") else info.filename.rpartition(".")[2]
                pointers[info.filename] = (start, info.file_size // np.dtype(dtype).itemsize)
    header = arrays.header.to_dict()
    assert_trx_equal(tmm.TrxFile._create_trx_from_pointer(header, pointers, root_zip=str(path)), arrays)
    folder = write_plain_folder(arrays, tmp_path / "folder")
    for names in ({str(folder / name): (0, count) for name, (_, count) in pointers.items()},
                  {name: (0, count) for name, (_, count) in pointers.items()}):  # fmt: skip
        assert_trx_equal(tmm.TrxFile._create_trx_from_pointer(header, names, root=str(folder)), arrays)
    del pointers["positions.3.float32"]
    with pytest.raises(ShapeError, match="positions missing"):
        tmm.TrxFile._create_trx_from_pointer(header, pointers, root_zip=str(path))
