"""The examples in docstrings run, and every public name has one, with a docstring of numpydoc's form."""

from __future__ import annotations

import doctest
import importlib
import inspect
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import trxlib
from tests.helpers import assert_trx_equal, read_plain
from trxlib.model.options import ReadOptions
from trxlib.model.source import Source

_ROOT = Path(__file__).resolve().parents[1]


def _modules_with_examples() -> list[str]:
    """Return the names of modules in which there are examples; others need not be imported."""
    files = [file for file in (_ROOT / "trxlib").rglob("*.py") if ">>>" in file.read_text(encoding="utf-8")]
    names = [".".join(file.relative_to(_ROOT).with_suffix("").parts) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


def _examples_of(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


def _public_objects() -> dict[str, Any]:
    """Return path -> function, class or property, of all that a user may call or ask for."""
    found: dict[str, Any] = {}
    for home in (trxlib, importlib.import_module("trxlib.trx_file_memmap")):
        found |= {f"{home.__name__}.{name}": getattr(home, name) for name in home.__all__}
    found = {path: thing for path, thing in found.items() if callable(thing)}
    found[f"{ReadOptions.__module__}.ReadOptions"] = ReadOptions
    for path, thing in list(found.items()):
        if inspect.isclass(thing):
            found |= {f"{path}.{name}": member for name, member in _members_of(thing)}
    return found | {f"{Source.__module__}.Source": Source}


def _members_of(cls: type) -> list[tuple[str, Any]]:
    kinds = (property, staticmethod, classmethod)
    return [
        (name, member)
        for name, member in ((name, inspect.getattr_static(cls, name)) for name in dir(cls) if not name.startswith("_"))
        if inspect.isfunction(member) or isinstance(member, kinds)
    ]


def _home_of(thing: Any) -> str:
    """Return module and name under which the examples of something are found."""
    thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    return f"{thing.__module__}.{thing.__qualname__}"


_PUBLIC = _public_objects()
# What a source does is shown once, at the class: its methods make sense one after the other.
_OF_A_SOURCE = {f"{Source.__module__}.Source.{name}": member for name, member in _members_of(Source)}


@pytest.fixture(scope="module")
def names_with_examples() -> set[str]:
    return {test.name for name in _modules_with_examples() for test in _examples_of(importlib.import_module(name))}


@pytest.mark.parametrize("module", _modules_with_examples())
def test_examples_run(module: str, example_folder: Path, example_names: dict[str, Any]) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    reports: list[str] = []
    for test in _examples_of(importlib.import_module(module)):
        test.globs.update(example_names)
        runner.run(test, out=reports.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(reports)


@pytest.mark.parametrize("path", sorted(_PUBLIC))
def test_a_public_name_has_an_example(path: str, names_with_examples: set[str]) -> None:
    assert _home_of(_PUBLIC[path]) in names_with_examples, f"{path} has no example that doctest finds"


@pytest.mark.parametrize("path", sorted(_PUBLIC | _OF_A_SOURCE))
def test_a_public_docstring_passes_the_checks_of_numpydoc(path: str) -> None:
    validate = pytest.importorskip("numpydoc.validate").validate
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = settings["tool"]["numpydoc_validation"]["checks"]
    errors = [f"{code}: {text}" for code, text in validate(path)["errors"] if code in wanted]
    assert errors == []


def test_errors_and_the_package_have_examples(names_with_examples: set[str]) -> None:
    assert {"trxlib", "trxlib.errors", "trxlib.trx_file_memmap"} <= names_with_examples


def test_the_files_of_the_examples_hold_one_subject_in_every_format(example_folder: Path) -> None:
    expected = read_plain(example_folder / "sub-01.trx")
    lines = np.split(expected.positions, expected.offsets[1:-1].astype(int))
    for name in ("sub-01.trk", "sub-01.tck"):
        found = nib.streamlines.load(example_folder / name).streamlines
        assert len(found) == len(lines)
        assert all(np.array_equal(one, other) for one, other in zip(found, lines, strict=True)), name
    trxlib.merge(
        [example_folder / "sub-01.trx", example_folder / "sub-02.trx"], example_folder / "merged.trx", name_groups=False
    )
    merged, cohort = read_plain(example_folder / "merged.trx"), read_plain(example_folder / "cohort.trx")
    assert {name: members.tolist() for name, members in cohort.groups.items()} == {
        "AF_L": [0, 1, 4],
        "CST_R": [2, 3, 6, 7],
    }
    cohort.groups = {}
    assert_trx_equal(merged, cohort)
