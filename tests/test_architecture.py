"""The source holds to its order: imports go one way, serving stays without torch, files stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "reelgraph"

# From low to high: a module may import only what stands before it. A new module gets its place here.
ORDER = (
    "errors",
    "atomic",
    "config",
    "machine",
    "capacity",
    "data",
    "data.vocabulary",
    "data.textfile",
    "data.parquet",
    "data.dataset",
    "data.fingerprints",
    "data.features",
    "data.sources",
    "data.staging",
    "data.tables",
    "data.spark_settings",
    "data.spark_jobs",
    "data.spark_session",
    "data.engine",
    "data.checks",
    "data.splits",
    "data.passes",
    "data.prepare",
    "data.pairs",
    "data.counting",
    "costs",
    "planning",
    "baselines",
    "shard",
    "products",
    "graph",
    "chance",
    "models.residual",
    "models.gcn",
    "models.ranking",
    "models",
    "metrics",
    "ranking",
    "objectives",
    "training",
    "leaks",
    "checkpoint",
    "runs",
    "tuning",
    "heads",
    "folding",
    "exact",
    "ranker",
    "scoring",
    "gcn_scoring",
    "scorers",
    "catalogue",
    "artifact",
    "analysis",
    "evaluation",
    "session",
    "intervals",
    "predictor",
    "why",
    "ordering",
    "lists",
    "visitor",
    "recommender",
    "quality",
    "pipeline",
    "spark",
    "spark.part",
    "spark.batch",
    "spark.process",
    "spark.launch",
    "cold",
    "rebuild",
    "update",
    "drawing",
    "checkup",
    "doctor_workers",
    "doctor_spark",
    "doctor",
    "console",
    "bars",
    "reporting",
    "bench",
    "bench.datasets",
    "bench.fitted",
    "bench.libraries",
    "bench.own",
    "bench.methods",
    "bench.report",
    "bench.figures",
    "bench.race",
    "options",
    "asking",
    "judging",
    "changing",
    "estimating",
    "service",
    "service.settings",
    "service.schema",
    "service.migrations.env",
    "service.migrations.versions.v1_ratings",
    "service.migrations.versions.v2_history",
    "service.database",
    "service.store",
    "service.problems",
    "service.search",
    "service.held",
    "service.current",
    "service.metrics",
    "service.logs",
    "service.ledger",
    "service.state",
    "service.models",
    "service.answers",
    "service.guard",
    "service.limits",
    "service.visits",
    "service.ratings",
    "service.operations",
    "service.insights",
    "service.assets",
    "service.edge",
    "service.app",
    "service.server",
    "hosting",
    "cli",
    "__main__",
)
SERVING = (
    "metrics",
    "baselines",
    "folding",
    "exact",
    "ranker",
    "scoring",
    "gcn_scoring",
    "scorers",
    "catalogue",
    "artifact",
    "ranking",
    "analysis",
    "evaluation",
    "session",
    "intervals",
    "predictor",
    "why",
    "ordering",
    "lists",
    "visitor",
    "recommender",
    "quality",
    "spark.part",
    "service.server",
)
STARTING = (
    "cli",
    "asking",
    "judging",
    "estimating",
    "planning",
    "costs",
    "capacity",
    "options",
    "console",
    "bars",
    "doctor",
    "hosting",
)  # They may come to torch, but only within the command that needs it.
LEARNING = (
    "torch", "torch_geometric", "shard", "products", "graph", "chance", "leaks", "models", "objectives", "training",
    "checkpoint", "runs", "tuning", "heads", "pipeline", "spark.process", "spark.launch", "cold", "rebuild", "update",
)  # fmt: skip
MAX_LINES = 300
MAX_FILES = 127


class Tree:
    """The modules of a package and what they import, read from the source without importing anything."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = sorted(root.rglob("*.py"))
        self.files = {self._name(path): path for path in paths}
        self.all = {name: set(self._imports(name, ast.walk(self._parse(name)))) for name in self.files}
        self.eager = {name: set(self._imports(name, executed(self._parse(name)))) for name in self.files}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    def _parse(self, name: str) -> ast.Module:
        return ast.parse(self.files[name].read_text(encoding="utf-8"))

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


def wrong_ways(tree: Tree) -> list[str]:
    """Imports against the order, one line each; the package itself may import lazily only."""
    place = {name: rank for rank, name in enumerate(ORDER)}
    unknown = [name for name in tree.files if name and name not in place]
    if unknown:
        return [f"{name} has no place: put it into ORDER of tests/test_architecture.py" for name in unknown]
    lines = [f"{tree.root.name} imports {name} when it is imported" for name in tree.eager[""] & tree.files.keys()]
    for name in sorted(tree.files.keys() - {""}):
        later = {target for target in tree.all[name] & tree.files.keys() - {""} if place[target] >= place[name]}
        lines += [f"{name} imports {target}, which does not stand before it" for target in sorted(later)]
    return lines


def torch_ways(tree: Tree) -> list[str]:
    """Ways on which serving, or the start of a command, comes to torch or to the modules that learn."""
    lines = []
    for names, lazy in ((SERVING, True), (STARTING, False)):
        for name in (name for name in names if name in tree.files):
            ways = tree.reach(name, lazy)
            lines += [way for target, way in ways.items() if target in LEARNING or target.startswith("models.")]
    return lines


def size_faults(root: Path) -> list[str]:
    files = sorted(root.rglob("*.py"))
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    lines = [
        f"{path.name} has {count} lines, at most {MAX_LINES}" for path, count in lengths.items() if count > MAX_LINES
    ]
    return lines + ([f"{len(files)} source files, at most {MAX_FILES}"] if len(files) > MAX_FILES else [])


def test_imports_go_one_way() -> None:
    tree = Tree(SOURCE)
    assert {"errors", "data.dataset", "recommender", "cli"} <= tree.files.keys()
    faults = wrong_ways(tree)
    assert not faults, "\n".join(faults)


def test_serving_never_comes_to_torch() -> None:
    faults = torch_ways(Tree(SOURCE))
    assert not faults, "\n".join(faults)


def test_files_are_few_and_short() -> None:
    faults = size_faults(SOURCE)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("reelgraph", {"torch", "torch_geometric", "duckdb", "sqlframe", "pyspark", "pandas"}),
        ("reelgraph.recommender", {"torch", "torch_geometric", "pyspark"}),
        ("reelgraph.cli", {"torch", "torch_geometric", "pyspark", "pandas"}),
        ("reelgraph.doctor", {"torch", "torch_geometric", "pyspark"}),
        ("reelgraph.hosting", {"torch", "torch_geometric", "pyspark", "fastapi", "sqlalchemy"}),
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
    """A package of the given modules; `data__engine` is data/engine.py, `data` is data/__init__.py."""
    top = folder / "reelgraph"
    (top / "data").mkdir(parents=True)
    (top / "models").mkdir()
    (top / "__init__.py").write_text(sources.pop("root", ""))
    for name, text in sources.items():
        path = top.joinpath(*name.split("__"))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        path.write_text(text)
    return Tree(top)


@pytest.mark.parametrize(
    "text",
    [
        "import reelgraph.graph",
        "from reelgraph import graph",
        "from reelgraph.graph import build_graph",
        "from . import graph",
        "from .graph import build_graph",
        "def f():\n    from reelgraph.graph import build_graph\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reelgraph import graph\n",
    ],
)
def test_an_import_against_the_order_is_seen(tmp_path: Path, text: str) -> None:
    tree = package(tmp_path, graph="from reelgraph import __version__", config=text)
    assert wrong_ways(tree) == ["config imports graph, which does not stand before it"]


def test_relative_imports_within_a_folder_are_seen(tmp_path: Path) -> None:
    tree = package(tmp_path, data__dataset="from .engine import JAVA", data__engine="from ..errors import A", errors="")
    assert wrong_ways(tree) == ["data.dataset imports data.engine, which does not stand before it"]


def test_a_module_without_a_place_is_named(tmp_path: Path) -> None:
    (line,) = wrong_ways(package(tmp_path, helpers=""))
    assert "helpers has no place" in line
    assert "ORDER" in line


def test_the_package_itself_may_import_lazily_only(tmp_path: Path) -> None:
    lazy = "def __getattr__(name):\n    from reelgraph import graph\n"
    assert wrong_ways(package(tmp_path / "lazy", root=lazy, graph="")) == []
    eager = package(tmp_path / "eager", root="from reelgraph.graph import x", graph="")
    assert wrong_ways(eager) == ["reelgraph imports graph when it is imported"]


def test_a_way_to_torch_is_seen(tmp_path: Path) -> None:
    lazily = "def f():\n    import torch\n"
    tree = package(
        tmp_path / "far", baselines=lazily, scoring="import reelgraph.baselines", cli="from . import scoring"
    )
    assert torch_ways(tree) == ["baselines -> torch", "scoring -> baselines -> torch"]
    tree = package(tmp_path / "near", models="", models__gcn="import torch", cli="from reelgraph.models import gcn")
    assert "cli -> models.gcn -> torch" in torch_ways(tree)
    tree = package(tmp_path / "later", graph="import torch", cli="def train():\n    from reelgraph import graph\n")
    assert torch_ways(tree) == []
    hint = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    assert torch_ways(package(tmp_path / "hint", cli=hint)) == []


def test_size_limits_are_seen(tmp_path: Path) -> None:
    long = package(tmp_path / "long", graph="x = 1\n" * MAX_LINES, cli="x = 1\n" * (MAX_LINES + 1))
    assert size_faults(long.root) == [f"cli.py has {MAX_LINES + 1} lines, at most {MAX_LINES}"]
    many = package(tmp_path / "many", **{f"module{number}": "" for number in range(MAX_FILES)})
    assert size_faults(many.root) == [f"{MAX_FILES + 1} source files, at most {MAX_FILES}"]
