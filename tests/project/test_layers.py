"""The arrows of the design: which package may import which, no circles; short files and folders.

Every import counts, those inside functions and for the type checker too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

from support import ROOT

FOLDERS = ("apps", "benchmarks", "calibration", "converters")
#: What each package of the installed tree may import beside itself; the faces may import all.
MAY_IMPORT = {
    "edge_effnet": set(),
    "calibration": {"edge_effnet"},
    "converters": {"edge_effnet", "calibration"},
    "benchmarks": {"edge_effnet", "calibration", "converters"},
    "apps": {"edge_effnet", "calibration", "converters"},
    "apps.training": {"edge_effnet", "calibration", "converters", "benchmarks"},
}
#: Modules above all layers: the commands import lazily from every package.
FACES = ("edge_effnet", "edge_effnet.cli", "edge_effnet.commands")
#: The folders and modules of benchmarks, lowest first; one line may import those above it.
BENCHMARKS = (
    {"command_line", "records", "intervals", "pareto", "json_lines", "devices"},
    {"latency", "accuracy"},
    {"reporting", "prediction", "selection", "operator_support", "papers"},
    {"compare", "sweep", "remote"},
    {"suite", "demo"},
)
#: The benchmarks that measure an app, and the demonstration of all of them.
ABOVE_APPS = ("edge_effnet.benchmarks.suite", "edge_effnet.benchmarks.demo")
#: The app that measures networks: it is a package of its own in `MAY_IMPORT`.
TRAINING = "edge_effnet.apps.training"
#: The program on a board is a client of all.
LAUNCHER = "edge_effnet.apps.bundle.launcher"
MOST_MODULES, MOST_LINES = 16, 400
#: Files of the code and of its tests that are written by hand.
SUFFIXES = (".py", ".html", ".css", ".js")


@cache
def modules() -> Mapping[str, Path]:
    """Dotted name as installed -> file."""
    found = {}
    for folder in ("edge_effnet", *FOLDERS):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == "edge_effnet" else ("edge_effnet", *parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> Set[str]:
    """The modules of ours that ``module`` imports anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(modules()[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else str(node.module) for name in inner}
    return names & modules().keys() - {module}


def arrows() -> Iterator[tuple[str, str]]:
    """(module, module that it imports), but for the faces."""
    for module in modules().keys() - {FACES[0]}:
        if not any(module == face or module.startswith(f"{face}.") for face in FACES[1:]):
            yield from ((module, target) for target in imports(module))


def within(module: str, *packages: str) -> bool:
    """Whether ``module`` is one of ``packages`` or lies in one."""
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def package(module: str) -> str:
    """The top-level folder of a module, or ``apps.training``."""
    if within(module, TRAINING):
        return "apps.training"
    second = module.removeprefix("edge_effnet.").split(".")[0]
    return second if second in FOLDERS else "edge_effnet"


def circles() -> set[frozenset[str]]:
    """The modules of each import circle (strongly connected components, Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: set[frozenset[str]] = set()

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in imports(module):
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            component = {module}
            while (top := stack.pop()) != module:
                component.add(top)
            if len(component) > 1:
                components.add(frozenset(component))

    for module in modules():
        if module not in index:
            visit(module)
    return components


def test_packages_import_only_downwards() -> None:
    wrong = [
        f"{module} -> {target}"
        for module, target in arrows()
        if package(target) not in {*MAY_IMPORT[package(module)], package(module)}
        and not (package(target).startswith("apps") and within(module, *ABOVE_APPS))
    ]
    assert not wrong


def test_training_imports_no_benchmark_that_imports_apps() -> None:
    assert not [
        f"{module} -> {target}"
        for module, target in arrows()
        if within(module, TRAINING) and within(target, *ABOVE_APPS)
    ]


def test_nothing_below_imports_the_faces() -> None:
    assert not [
        f"{module} -> {target}"
        for module, target in arrows()
        if (target == FACES[0] or target.startswith(FACES[1:])) and module != LAUNCHER
    ]


def test_benchmarks_import_only_downwards() -> None:
    ranks = {name: rank for rank, names in enumerate(BENCHMARKS) for name in names}
    prefix = "edge_effnet.benchmarks."
    inner = [
        (module.removeprefix(prefix).split(".")[0], target.removeprefix(prefix).split(".")[0])
        for module, target in arrows()
        if module.startswith(prefix) and target.startswith(prefix)
    ]
    assert not [pair for pair in inner if ranks[pair[0]] < ranks[pair[1]]]
    pairs = {pair for pair in inner if pair[0] != pair[1]}
    assert not [(one, other) for one, other in pairs if (other, one) in pairs]


def test_there_are_no_circles() -> None:
    assert not circles()


def test_no_folder_is_crowded() -> None:
    counts = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    for exempt in ("edge_effnet", "edge_effnet/commands"):
        del counts[ROOT / exempt]
    assert not {path: count for path, count in counts.items() if count > MOST_MODULES}


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for folder in ("edge_effnet", *FOLDERS, "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES
    }
    assert "tests/project/test_layers.py" in lengths
    assert not {name: count for name, count in lengths.items() if count > MOST_LINES}
