"""The source keeps to one table of allowed imports, serving stays without torch, functions stay short."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "reelgraph"

# What each file and package at the top may import. Files of one package may import one another, without cycles.
BASE = {"errors", "_version", "config", "arrays", "files", "machine", "tabular"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "config": {"errors", "_version"},
    "arrays": {"errors", "_version", "config"},
    "files": {"errors", "_version", "config", "arrays"},
    "machine": {"errors", "_version", "config", "arrays"},
    "tabular": {"errors"},
    "engines": BASE,
    "data": BASE | {"engines"},
    "metrics": BASE | {"data"},
    "models": BASE | {"data"},
    "scoring": BASE,
    "manifest": BASE | {"scoring"},
    "artifact": BASE | {"data", "scoring", "manifest"},
    "recommend": BASE | {"data", "metrics", "scoring", "artifact"},
    "evaluation": BASE | {"data", "metrics", "recommend"},
    "training": BASE
    | {"engines", "data", "metrics", "models", "scoring", "artifact", "recommend", "evaluation"}
    | {"manifest"},
    "planning": BASE | {"data"},
    "spark": BASE | {"engines", "artifact", "recommend"},
    "bench": BASE | {"engines", "data", "metrics", "evaluation", "training"},
    "doctor": BASE | {"engines", "data"},
    "service": BASE | {"data", "metrics", "recommend", "bench.results"},
    "cli": BASE
    | {"engines", "data", "metrics", "models", "scoring", "artifact", "recommend", "evaluation", "training"}
    | {"manifest", "planning", "spark", "bench", "doctor", "service"},
    "__main__": {"cli"},
    "": {"_version", "errors", "config", "machine", "data", "metrics", "recommend", "training"},  # the public API
}
TORCH = {"torch", "torch_geometric"}
WITH_TORCH = {"models", "training"}
NEVER_TORCH = {"recommend", "scoring", "manifest", "artifact", "metrics", "service"}
MAX_LINES = 60  # of a function


class Tree:
    """The modules of a package and what they import, read from the source without importing anything."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = sorted(root.rglob("*.py"))
        self.files = {self._name(path): path for path in paths}
        parsed = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.files.items()}
        self.all = {name: set(self._imports(name, ast.walk(module))) for name, module in parsed.items()}
        self.eager = {name: set(self._imports(name, executed(module))) for name, module in parsed.items()}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    def _imports(self, name: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
        """Modules of this package without its name ("" is the package itself), others by their first name."""
        top = self.root.name
        place = [top, *name.split(".")] if name else [top]
        package = place if self.files[name].name == "__init__.py" else place[:-1]
        for node in nodes:
            if isinstance(node, ast.Import):
                targets = [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                targets = [(base, alias.name) for alias in node.names]
            else:
                continue
            for base, member in targets:
                if base != top and not base.startswith(f"{top}."):
                    yield base.partition(".")[0]
                    continue
                inside = base.removeprefix(top).removeprefix(".")
                deeper = f"{inside}.{member}".strip(".")
                yield deeper if deeper in self.files else inside

    def reach(self, start: str, lazy: bool) -> dict[str, str]:
        """Everything that importing `start` (or, with `lazy`, any use of it) imports, each with the way to it."""
        ways = {start: start}
        waiting = [start]
        while waiting:
            module = waiting.pop()
            imported = (self.all if lazy else self.eager).get(module, set())
            parents = {parent for parent in self.files if parent and module.startswith(f"{parent}.")}
            for target in sorted((imported | parents) - {""} - set(ways)):
                ways[target] = f"{ways[module]} -> {target}"
                waiting.append(target)
        return ways


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: no function bodies, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from executed(other)
            continue
        yield child
        yield from executed(child)


def top_of(module: str) -> str:
    return module.partition(".")[0]


def forbidden_imports(tree: Tree) -> list[str]:
    """Imports that ALLOWED does not list, one line each; the package itself may import lazily only."""
    unknown = sorted({top_of(name) for name in tree.files} - ALLOWED.keys())
    if unknown:
        return [f"{name} is not in ALLOWED of tests/test_architecture.py" for name in unknown]
    eager = sorted(tree.eager[""] & tree.files.keys() - {"_version", "machine"})
    lines = [f"{tree.root.name} imports {name} when it is imported" for name in eager]
    for name in sorted(tree.files):
        for target in sorted(tree.all[name] & tree.files.keys()):
            if top_of(target) == top_of(name) and name:
                continue
            if target == "" or not {target, top_of(target)} & ALLOWED[top_of(name)]:
                lines.append(f"{name} may not import {target or tree.root.name}")
    return lines


def cycles(tree: Tree) -> list[str]:
    """One line for each circle of imports between files, lazy ones included."""
    finished: set[str] = set()
    lines = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            lines.append(" -> ".join([*way[way.index(name) :], name]))
            return
        if name in finished:
            return
        for target in sorted(tree.all[name] & tree.files.keys() - {""}):
            visit(target, [*way, name])
        finished.add(name)

    for name in sorted(tree.files.keys() - {""}):
        visit(name, [])
    return lines


def torch_imports(tree: Tree) -> list[str]:
    """The ways on which a module that must do without torch comes to it."""
    lines = []
    for name in sorted(name for name in tree.files if top_of(name) not in WITH_TORCH):
        ways = tree.reach(name, lazy=top_of(name) in NEVER_TORCH)
        lines += [way for target, way in ways.items() if target in TORCH]
    return lines


def long_functions(root: Path) -> list[str]:
    lines = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_LINES:
                    lines.append(f"{path.name}: {node.name} has {length} lines, at most {MAX_LINES}")
    return lines


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(SOURCE)


@pytest.mark.parametrize("faults_of", [forbidden_imports, cycles, torch_imports])
def test_imports_follow_the_table(tree: Tree, faults_of: Callable[[Tree], list[str]]) -> None:
    assert {"errors", "data.dataset", "recommend.recommender", "cli.main"} <= tree.files.keys()
    faults = faults_of(tree)
    assert not faults, "\n".join(faults)


def test_functions_are_short() -> None:
    faults = long_functions(SOURCE)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("reelgraph", {"torch", "torch_geometric", "duckdb", "pyspark", "pandas"}),
        ("reelgraph.data.load", {"torch", "torch_geometric", "pyspark", "pandas"}),
        ("reelgraph.recommend.recommender", {"torch", "torch_geometric", "pyspark", "pandas"}),
        ("reelgraph.cli.main", {"torch", "torch_geometric", "pyspark", "pandas", "pydantic", "pyarrow", "rich"}),
        *(
            (f"reelgraph.cli.{module}", {"torch", "torch_geometric", "pyspark", "pandas"})
            for module in ("compare", "completion", "data", "demo", "doctor", "evaluate", "recommend", "train")
        ),
        ("reelgraph.doctor.environment", {"torch", "torch_geometric", "pyspark"}),
        ("reelgraph.cli.serve", {"torch", "torch_geometric", "pyspark", "fastapi", "sqlalchemy"}),
        ("reelgraph.service.server", {"torch", "torch_geometric", "pyspark", "duckdb", "sqlframe", "pandas"}),
    ],
)
def test_import_leaves_out(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; sys.stdout.write(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert module in loaded.stdout.split()
    assert absent & set(loaded.stdout.split()) == set()


def package(folder: Path, /, **sources: str) -> Tree:
    """A package of the given modules; `data__load` is data/load.py, `data` is data/__init__.py."""
    top = folder / "reelgraph"
    for name in ("data", "models", "metrics", "bench", "service"):
        (top / name).mkdir(parents=True)
    (top / "__init__.py").write_text(sources.pop("root", ""))
    for name, text in sources.items():
        path = top.joinpath(*name.split("__"))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        path.write_text(text)
    return Tree(top)


@pytest.mark.parametrize(
    "text",
    [
        "import reelgraph.models.graph",
        "from reelgraph.models import graph",
        "from reelgraph.models.graph import build_graph",
        "from ..models import graph",
        "from ..models.graph import build_graph",
        "def f():\n    from reelgraph.models.graph import build_graph\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reelgraph.models import graph\n",
    ],
)
def test_a_forbidden_import_is_seen(tmp_path: Path, text: str) -> None:
    tree = package(tmp_path, models__graph="import reelgraph.errors", errors="", metrics__ranking=text)
    assert "metrics.ranking may not import models.graph" in forbidden_imports(tree)


def test_one_module_of_a_package_may_be_allowed(tmp_path: Path) -> None:
    text = "from reelgraph.bench.results import a\nfrom reelgraph.bench.compare import b"
    tree = package(tmp_path, bench__results="", bench__compare="", service__insights=text)
    assert forbidden_imports(tree) == ["service.insights may not import bench.compare"]


def test_a_package_without_a_row_is_named(tmp_path: Path) -> None:
    assert forbidden_imports(package(tmp_path, helpers="")) == [
        "helpers is not in ALLOWED of tests/test_architecture.py"
    ]


def test_the_package_itself_may_import_lazily_only(tmp_path: Path) -> None:
    lazy = "def __getattr__(name):\n    from reelgraph.data import load\n"
    assert forbidden_imports(package(tmp_path / "lazy", root=lazy, data__load="")) == []
    eager = package(tmp_path / "eager", root="from reelgraph.data.load import x", data__load="")
    assert forbidden_imports(eager) == ["reelgraph imports data.load when it is imported"]
    back = package(tmp_path / "back", config="from reelgraph import __version__")
    assert forbidden_imports(back) == ["config may not import reelgraph"]


def test_a_cycle_is_seen(tmp_path: Path) -> None:
    tree = package(
        tmp_path,
        data__load="from .dataset import a",
        data__dataset="def f():\n    from reelgraph.data import vocabulary\n",
        data__vocabulary="from reelgraph.data import load",
        errors="",
    )
    assert cycles(tree) == ["data.dataset -> data.vocabulary -> data.load -> data.dataset"]


def test_a_way_to_torch_is_seen(tmp_path: Path) -> None:
    lazily = "def f():\n    import torch\n"
    tree = package(
        tmp_path / "far", metrics__baselines=lazily, scoring="import reelgraph.metrics.baselines", data__load=lazily
    )
    assert torch_imports(tree) == ["metrics.baselines -> torch", "scoring -> metrics.baselines -> torch"]
    tree = package(tmp_path / "near", models="", models__gcn="import torch", cli="from reelgraph.models import gcn")
    assert torch_imports(tree) == ["cli -> models.gcn -> torch"]
    hint = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    assert torch_imports(package(tmp_path / "hint", cli=hint)) == []


def test_a_long_function_is_seen(tmp_path: Path) -> None:
    body = "    x = 1\n"
    tree = package(
        tmp_path, cli=f"def short():\n{body * 59}\n\nclass A:\n    async def long(self):\n    {(body + '    ') * 60}\n"
    )
    assert long_functions(tree.root) == ["cli.py: long has 61 lines, at most 60"]
