"""The natural direction of imports, and files that can be read in one sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

import asr_kd

ROOT = Path(asr_kd.__file__).parent
# A room may import those of earlier lines. `data` comes before `features`; the three stages of one
# line do not know one another.
ORDER = [
    ["errors"], ["log"], ["config"], ["shards"], ["artefact"],
    ["io"], ["score"], ["data"], ["features"], ["labels"], ["search"], ["models"], ["ensemble"],
    ["distill"], ["train", "align", "decode"], ["report"], ["cli"],
]  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
MOST_LINES = 300


def imported_rooms(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [node.module or ""]
            if node.module == "asr_kd":
                names = [f"asr_kd.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("asr_kd."))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def test_imports_go_one_way() -> None:
    wrong = []
    for file in ROOT.rglob("*.py"):
        room = room_of(file)
        if room == "__init__":
            continue
        for other in imported_rooms(file):
            if other != "__version__" and other != room and LEVEL[other] >= LEVEL[room]:
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_every_room_has_its_place() -> None:
    rooms = {room_of(file) for file in ROOT.rglob("*.py")} - {"__init__"}
    assert rooms == set(LEVEL)


def test_no_cycle_inside_a_room() -> None:
    graph: dict[str, set[str]] = {}
    for file in ROOT.rglob("*.py"):
        name = ".".join(("asr_kd", *file.relative_to(ROOT).with_suffix("").parts))
        graph[name] = {
            node.module
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("asr_kd.")
        }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_files_can_be_read_in_one_sitting() -> None:
    long = {f: n for f in ROOT.rglob("*.py") if (n := len(f.read_text().splitlines())) > MOST_LINES}
    assert not long
