"""The rooms of trxlib, from the ground up: imports run down, never up and never in a circle (docs/layout.md).

After a module came, went or got another headline, ``python -m tests.test_rooms`` writes the map in docs/layout.md anew.
"""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "layout.md"
GROUND = ("errors", "files", "kinds", "parallel", "text")
ROOMS = (
    "model", "spaces", "container", "engine", "formats", "measures", "pages", "trxfile", "commands", "cohort", "cli",
)  # fmt: skip
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "trxlib").rglob("*.py"))
}


def floor_of(module: str) -> int:
    """0 for the ground, a number for each room, and the doors on top."""
    name = [*module.split("."), ""][1]
    return 0 if name in GROUND else ROOMS.index(name) + 1 if name in ROOMS else len(ROOMS) + 1


def imports_of(path: Path) -> set[str]:
    """Modules of trxlib that a file imports anywhere, for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] != ["__version__"]:
            assert node.level == 0, f"{path}: imports are written whole"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (submodules & MODULES.keys()) or {str(node.module)}
    return found & MODULES.keys()


GRAPH = {module: imports_of(path) for module, path in MODULES.items()}


def the_map() -> str:
    """The rooms with their modules, from the top down, each with the first sentence that its file says of itself."""
    lines = []
    for room in (*reversed(ROOMS), "ground", "doors"):
        lines += ["", f"### {room}", ""]
        for module, path in MODULES.items():
            floor = floor_of(module)
            own = "ground" if floor == 0 else "doors" if floor > len(ROOMS) else ROOMS[floor - 1]
            if own == room and (path.name != "__init__.py" or module == "trxlib"):
                headline = str(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))).splitlines()[0]
                lines.append(f"- `{path.relative_to(ROOT / 'trxlib')}`: {headline.replace('``', '`')}")
    return "\n".join([*lines, "", ""])


def split_page() -> list[str]:
    """The page before, in and behind the marks of the map."""
    return re.split(r"(?<=<!-- map -->)\n|(?=<!-- end of the map -->)", PAGE.read_text(encoding="utf-8"))


def test_imports_run_down():
    up = [(low, high) for low, found in GRAPH.items() for high in found if floor_of(high) > floor_of(low)]
    assert up == []


def test_no_import_runs_in_a_circle():
    packages = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    order = list(TopologicalSorter({module: found - packages for module, found in GRAPH.items()}).static_order())
    assert set(order) >= MODULES.keys() - packages


def test_the_hall_holds_only_doors_and_ground():
    assert len(list((ROOT / "trxlib").glob("*.py"))) <= 12
    assert {path.name for path in (ROOT / "trxlib").iterdir() if (path / "__init__.py").exists()} == {*ROOMS}


def test_the_map_names_every_module_as_it_is():
    assert split_page()[1] == the_map(), "write it anew: python -m tests.test_rooms"


if __name__ == "__main__":
    before, _, behind = split_page()
    PAGE.write_text("\n".join([before, the_map()]) + behind, encoding="utf-8")
