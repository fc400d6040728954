"""Good small files of every kind, by name."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import trxlib
from tests.formats.made import GRID, SIZES, some_streamlines, tck_bytes, trk_bytes
from tests.formats.test_tinytrack import matrix, some_steps, tt_bytes
from tests.helpers import entries_of, make_trx_arrays, write_plain_zip
from tests.spaces.test_text_headers import mif, nrrd
from tests.spaces.transform_files import (
    OBLIQUE,
    bend,
    deformation,
    itk_affine,
    itk_field,
    itk_matlab,
    itk_text,
    lta_text,
    make_rigid,
    mif_bytes,
    write_itk_hdf5,
    write_itk_warp,
    write_mrtrix,
    write_mrtrix_warp,
    write_rows,
)
from trxlib.model.space import Space

Files = dict[str, bytes]
LENGTHS = (3, 2, 4, 1)
STAMP = ("timestamp: 1580289707.4327952862",)
SPACE = Space(np.diag([*SIZES, 1.0]), GRID)


def entries() -> Files:
    """The entries of a TRX with arrays of every section."""
    return entries_of(
        make_trx_arrays(
            lengths=LENGTHS,
            groups={"CC": [0, 1], "AF": [3]},
            dps={"w": (1, "<f4"), "c": (3, "<u1")},
            dpv={"fa": (1, "<f2"), "x": (2, "<f8")},
        )
    )


def made(name: str, write: Callable[[Path], object]) -> Files:
    """Return what a function writes to a path."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        write(path)
        return {name: path.read_bytes()}


def zipped(files: Files) -> Files:
    """Return the files as gzip."""
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}


def trk() -> Files:
    """TRK files with and without values, and of the other byte order."""
    lines = some_streamlines(LENGTHS)
    values = {
        "scalars": np.arange(30, dtype="<f4").reshape(10, 3),
        "properties": np.arange(4, dtype="<f4").reshape(4, 1),
        "scalar_names": (b"fa", b"v\x002"),
        "property_names": (b"w",),
    }
    return {
        "plain.trk": trk_bytes(lines),
        "values.trk": trk_bytes(lines, **values),
        "big.trk": trk_bytes(lines, end=">", order=b"LPS"),
        "uncounted.trk": trk_bytes(lines, count=0),
        "first.trk": trk_bytes(lines, version=1),
    }


def tck() -> Files:
    """TCK files of every type of number."""
    lines = some_streamlines(LENGTHS)
    return {
        "a.tck": tck_bytes(lines, fields=(*STAMP, "step_size: 0.5", "command_history: tckgen"), offset=200),
        "b.tck": tck_bytes(lines, datatype="Float64BE", count=None, offset=100),
    }


def tsf() -> Files:
    """Values of the vertices of the first TCK."""
    values = [np.full(length, 0.25) for length in LENGTHS]
    return {"sub_fa.tsf": tck_bytes(values, magic="mrtrix track scalars", ncols=1, fields=STAMP, offset=150)}


def npy() -> Files:
    """Arrays of one row for each streamline."""
    result = {}
    for number, values in enumerate(
        (np.arange(4.0), np.ones((4, 3), "<f2"), np.asfortranarray(np.ones((4, 2), ">i4")), np.ones((4, 1), "?"))
    ):
        with io.BytesIO() as file:
            np.save(file, values)
            result[f"w{number}.npy"] = file.getvalue()
    return result


def tables() -> Files:
    """Text with one row for each streamline."""
    texts = {
        "a.txt": "# of somebody\n0.5\n1\n2e-3\n4\n",
        "b.txt": "1 2 3\n4 5 6\n7 8 9\n1 2 3\n",
        "c.csv": "id,fa,md\n0,0.1,2\n1,NA,3\n2,0.3,4\n3,0.4,\n",
        "d.csv": "fa;md\n0,5;1,5\n0,25;2\n1,0;2,5\n0,1;0,2\n",
        "e.txt": '"fa"\t"md"\n"1"\t0.5\n"2"\t0.25\n"3"\t1\n"4"\t1\n',
        "f.txt": "1 2 3 4\n",
    }
    return {name: text.encode() for name, text in texts.items()} | {"g.txt": "1\n2\n3\n4\n".encode("utf-16")}


def json_values() -> Files:
    """JSON with one value or row for each streamline."""
    values: dict[str, Any] = {"a.json": [1, 2.5, None, 4], "b.json": [[1, 2], [3, 4], [5, 6], [7, 8]]}
    return {name: json.dumps(value).encode() for name, value in values.items()}


def tinytrack() -> Files:
    """TinyTrack files with and without clusters."""
    lines = some_steps((3, 1, 5, 9))
    cluster = {"cluster": matrix("cluster", [0, 1, 1, 0], "<i4")}
    return {"a.tt": tt_bytes(lines), "b.tt": tt_bytes(lines, **cluster)}


def legacy_vtk() -> Files:
    """Legacy VTK files, ASCII and binary."""
    head = "# vtk DataFile Version 3.0\nmade by hand SPACE=RAS\nASCII\nDATASET POLYDATA\n"
    head += "POINTS 4 float\n0 0 0 1 1 1\n2 2 2 3 3 3\n"
    values = (
        "POINT_DATA 4\nSCALARS fa float\nLOOKUP_TABLE default\n1 2 3 4\nVECTORS v double\n1 2 3 4 5 6 7 8 9 1 2 3\n"
    )
    of_lines = "CELL_DATA 2\nFIELD FieldData 1\nw 2 2 int\n1 2 3 4\n"
    old = f"{head}LINES 2 6\n2 0 1\n2 2 3\n{of_lines}{values}"
    new = f"{head}LINES 3 4\nOFFSETS vtktypeint64\n0 2 4\nCONNECTIVITY vtktypeint64\n0 1 2 3\n{values}"
    texts = {"a.vtk": old.encode(), "b.vtk": new.replace("Version 3.0", "Version 5.1").encode()}
    return texts | {f"c_{name}": data for name, data in _exported("x.vtk").items()}


def _exported(name: str) -> Files:
    arrays = make_trx_arrays(lengths=LENGTHS, groups={}, sidecars={}, dps={"w": (1, "<f4")}, dpv={"fa": (1, "<f4")})

    def write(path: Path) -> None:
        bundle = write_plain_zip(arrays, path.with_name("in.trx"))
        trxlib.export(bundle, path, warn_outside=1, max_outside=1)

    return made(name, write)


def vtp() -> Files:
    """VTP files whose arrays are appended, text, base64, and packed."""
    points = np.arange(12, dtype="<f4").tobytes()
    ends, links = np.array([2, 4], "<i8").tobytes(), np.arange(4, dtype="<i8").tobytes()

    def plain(data: bytes) -> str:
        return base64.b64encode(struct.pack("<I", len(data)) + data).decode()

    def packed(data: bytes) -> str:
        block = zlib.compress(data)
        head = struct.pack("<4I", 1, len(data), len(data), len(block))
        return base64.b64encode(head).decode() + base64.b64encode(block).decode()

    texts = ("0 1 2 3 4 5 6 7 8 9 10 11", "2 4", "0 1 2 3")
    return _exported("x.vtp") | {
        "ascii.vtp": _vtp("ascii", *texts),
        "base64.vtp": _vtp("binary", plain(points), plain(ends), plain(links)),
        "packed.vtp": _vtp(
            "binary", packed(points), packed(ends), packed(links), ' compressor="vtkZLibDataCompressor"'
        ),
    }


def _vtp(kind: str, points: str, ends: str, links: str, more: str = "") -> bytes:
    def array(name: str, dtype: str, text: str, ncols: int = 1) -> str:
        head = f'<DataArray type="{dtype}" Name="{name}" NumberOfComponents="{ncols}" format="{kind}">'
        return f"{head}{text}</DataArray>\n"

    return (
        f'<?xml version="1.0"?>\n<VTKFile type="PolyData" version="0.1" byte_order="LittleEndian"{more}>\n<PolyData>\n'
        f'<Piece NumberOfPoints="4" NumberOfVerts="0" NumberOfLines="2" NumberOfStrips="0" NumberOfPolys="0">\n'
        f"<Points>{array('Points', 'Float32', points, 3)}</Points>\n"
        f"<Lines>{array('connectivity', 'Int64', links)}{array('offsets', 'Int64', ends)}</Lines>\n"
        "</Piece></PolyData></VTKFile>\n"
    ).encode()


def dpy() -> Files:
    """A file of DIPY."""
    import h5py

    def write(path: Path) -> None:
        lines = some_streamlines(LENGTHS)
        with h5py.File(path, "w") as file:
            file.create_dataset("version", data="0.0.1")
            file.create_group("streamlines")
            file.create_dataset("streamlines/tracks", data=np.concatenate(lines))
            file.create_dataset("streamlines/offsets", data=np.cumsum(LENGTHS) - LENGTHS)

    return made("a.dpy", write)


def references() -> Files:
    """Images and texts that can be a reference."""
    image = nib.Nifti1Image(np.zeros((5, 6, 7), np.uint8), OBLIQUE)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    freesurfer = nib.MGHImage(np.zeros((5, 6, 7), np.uint8), OBLIQUE)
    files = {
        "image.mif": mif()[:400],
        "image.mih": mif(file="file: a.dat\n").rstrip(b"\0"),
        "image.nrrd": nrrd()[:400],
        "grid.txt": b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n5 6 7\n",
        **{name: trk()[name] for name in ("plain.trk",)},
    }
    for name, one in (
        ("image.nii", image),
        ("image.mgh", freesurfer),
        ("two.nii", nib.Nifti2Image(image.dataobj, OBLIQUE)),
    ):
        files |= made(name, lambda path, one=one: nib.save(one, path))
    return files | zipped({name: files[name] for name in ("image.nii", "image.mif")})


def transforms() -> Files:
    """Transforms of every format."""
    rigid, shape = make_rigid(), (4, 4, 4)
    composite = ("CompositeTransform_double_3_3", None, None)
    files = {
        "a.mif": mif_bytes(deformation(bend, OBLIQUE, shape), OBLIQUE),
        "a.mat": itk_matlab(itk_affine(rigid)),
        "a.tfm": itk_text(itk_affine(rigid)).encode(),
        "a.lta": lta_text(rigid, 0, (OBLIQUE, shape), (OBLIQUE, shape)).encode(),
        "b.lta": lta_text(rigid, 1, (OBLIQUE, shape), (OBLIQUE, shape)).encode(),
    }
    field = itk_field(bend, OBLIQUE, shape)
    files |= made("a.h5", lambda path: write_itk_hdf5(path, composite, itk_affine(rigid), field))
    files |= made("itk.nii", lambda path: write_itk_warp(path, bend, OBLIQUE, shape))
    files |= made("mrtrix.nii", lambda path: write_mrtrix_warp(path, bend, OBLIQUE, shape))
    files |= made("mrtrix.txt", lambda path: write_mrtrix(path, rigid))
    files |= made("ras.txt", lambda path: write_rows(path, rigid)) | made(
        "fsl.mat", lambda path: write_rows(path, rigid)
    )
    return files | zipped({name: files[name] for name in ("a.mif", "itk.nii")})


def sheets() -> Files:
    """A sample sheet."""
    rows = (
        "cohort subject session bundle tractogram reference transform dps_weight dpv_fa",
        "one sub-01 ses-1 CC plain.trk n/a n/a n/a n/a",
        "one 02 1 n/a sub.tck plain.trk n/a sub.tck n/a",
        '"two" 02 1 n/a sub.tck plain.trk n/a sub.tck n/a',
    )
    return {"samples.tsv": "".join("\t".join(row.split()) + "\n" for row in rows).encode()}
