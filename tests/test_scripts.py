"""The scripts run from a clone, twice, on a bare machine; constraints.txt holds everything that they install."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import programs

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("script/quickstart", "script/test", "script/supply", ".ci/run")
SOURCED = "script/environment.sh"
PYTEST = "pytest -n,2,--dist,loadfile,--no-loadscope-reorder"
FOR_GRAPHICS = re.compile(r"nvidia-|cuda-|triton")

# What the scripts call, so that a test decides which Python, Java and apt-get they find.
TOOLS = (
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cut",
    "dirname",
    "env",
    "grep",
    "id",
    "ln",
    "mkdir",
    "rm",
    "sed",
    "tail",
    "tee",
)

# Stands for Python: makes a .venv whose python and reelgraph are stand-ins too, and writes down every call.
PYTHON = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$CALLS"
[ -z "${PYTHONPATH-}" ] || exit 1
case "$*" in
*version_info\\ \\<*) exit %(too_old)s ;;
"-c import ensurepip, venv") exit %(without_venv)s ;;
"--version") echo "Python %(version)s" ;;
"-m venv .venv")
    mkdir -p .venv/bin
    cat "$0" >.venv/bin/python
    for tool in reelgraph ruff mypy pytest; do
        cat >.venv/bin/$tool <<END
#!/usr/bin/env bash
IFS=,
echo "$tool \\$*" >>"\\$CALLS"
[ "\\$1" != train ] || mkdir -p demo/model
[ "\\$FAILS" != $tool ]
END
    done
    chmod +x .venv/bin/*
    ;;
"-m pip install"*)
    echo "  Downloading torch-2.13.0-cp311-none-any.whl (190.5 MB)"
    [ "$FAILS" != pip ] || { echo "ERROR: no route"; exit 1; }
    ;;
esac
"""
JAVA = "#!/usr/bin/env bash\necho 'openjdk version \"{}\"' >&2\n"


class Machine:
    """A clone of the scripts, in a folder with a space, and a PATH that holds only what is put there."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.bin, self.log = folder / "a clone", folder / "bin", folder / "calls"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        for name in ("chromium", "initdb", "nginx", "caddy"):
            self.put(self.bin / name, "#!/usr/bin/env bash\n")
        for name in (*COMMANDS, SOURCED, "pyproject.toml", "constraints.txt", "src/reelgraph/_version.py"):
            (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.clone / name)

    def put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def python(self, name: str, *, too_old: bool = False, without_venv: bool = False) -> None:
        version = "3.9.2" if too_old else "3.12.0"
        stub = PYTHON % {"too_old": int(too_old), "without_venv": int(without_venv), "version": version}
        self.put(self.bin / name, stub)

    def java(self, version: str) -> None:
        self.put(self.bin / "java", JAVA.format(version))

    def lack(self, name: str) -> None:
        """Have all programs of the system that script/test needs but one."""
        self.python("python3")
        script = self.clone / "script" / "test"
        # Let it look in this clone instead of the places where systems install programs.
        places = r"/(usr/lib/jvm|usr/lib/postgresql|usr/pgsql-\*|usr/sbin|Library|Applications|opt|usr/local)/"
        script.write_text(re.sub(places, "places/", script.read_text()))
        if name != "java":
            self.java("17.0.1")
        (self.bin / name).unlink(missing_ok=True)

    def debian(self, offers: str, then: str) -> None:
        """Be a Debian with a root user and one package, whose installation does `then`."""
        for tool in ("id", "mv"):
            (self.bin / tool).unlink(missing_ok=True)
        (self.bin / "mv").symlink_to(str(shutil.which("mv")))
        self.put(self.bin / "id", "#!/usr/bin/env bash\necho 0\n")
        self.put(self.bin / "apt-cache", f'#!/usr/bin/env bash\n[ "$2" = {offers} ]\n')
        installs = f'#!/usr/bin/env bash\necho "apt-get $*" >>"$CALLS"\n[ "$1" = update ] || {{ {then}; }}\n'
        self.put(self.bin / "apt-get", installs)

    def run(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run from elsewhere, with a CDPATH and a PYTHONPATH that would lead astray."""
        decoy = self.bin.parent / "decoy"
        (decoy / self.clone.name / Path(name).parent).mkdir(parents=True, exist_ok=True)
        astray = {"CDPATH": str(decoy), "PYTHONPATH": str(decoy)}
        return subprocess.run(
            [f"{self.clone.name}/{name}", *arguments],
            cwd=self.clone.parent,
            env={"PATH": str(self.bin), "CALLS": str(self.log), "FAILS": "", **astray, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self, first: str) -> list[str]:
        """The calls so far that begin with `first`, forgotten afterwards together with all others."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [line for line in lines if line.startswith(first)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("name", [*COMMANDS, SOURCED])
def test_shell(name: str) -> None:
    path, text = ROOT / name, (ROOT / name).read_text()
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert bool(path.stat().st_mode & stat.S_IXUSR) == (name in COMMANDS)
    if name in COMMANDS:
        assert text.startswith("#!/usr/bin/env bash\n")
        assert "\nset -eu\n" in text
    newer = re.search(r"declare -A|local -n|mapfile|readarray|&>>|\|&|\$\{\w+(,,|\^\^|@)|coproc|\$EPOCH", text)
    assert newer is None, f"{newer}: bash 3.2 of macOS does not know it"


@pytest.mark.parametrize("name", [*COMMANDS, SOURCED, "constraints.txt", "pyproject.toml", ".pre-commit-config.yaml"])
def test_no_machine_and_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"/(?:work|root|home|Users|tmp)\b\S*", text) == []
    text = re.sub(r"https://(github\.com/reelgraph/reelgraph|reelgraph\.github\.io)\b", "", text)  # the project's own
    assert re.findall(r"https?://\S+|\S*index-url\S*|\S*find-links\S*|\S*pypi\.\S*", text) == []


def test_ci_calls_the_tests_and_nothing_else() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert lines == ["#!/usr/bin/env bash", "set -eu", 'exec "$(dirname "$0")/../script/test"']


def test_constraints_hold_everything_that_is_installed() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert list(pins) == sorted(pins)
    assert all(name == canonicalize_name(name) for name in pins)
    assert [line for line in lines if "+" in line or FOR_GRAPHICS.match(line)] == [], (
        "they fit one kind of machine only"
    )

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(line) for line in [*project["dependencies"], *extras["spark"], *extras["test"]]]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if f"{requirement}" in seen or FOR_GRAPHICS.match(name):
            continue
        seen.add(f"{requirement}")
        assert name in pins, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {requirement}"
        try:
            inner = [Requirement(line) for line in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:  # A development environment may lack pre-commit; script/test does not.
            continue
        for extra in ("", *requirement.extras):
            waiting += [one for one in inner if one.marker is None or one.marker.evaluate({"extra": extra})]


def test_hooks_run_the_tools_of_the_environment() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    entries = re.findall(r"entry: (.+)", text)
    assert [entry.split()[:2] for entry in entries] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
        [".venv/bin/mypy"],
    ]
    assert re.findall(r"language: (\S+)", text) == ["system"] * 3


def test_quickstart_from_nothing_and_again(machine: Machine) -> None:
    machine.python("python3.12")
    first = machine.run("script/quickstart")
    assert (first.returncode, first.stderr) == (0, "")
    assert "downloading torch (190.5 MB)" in first.stdout
    calls = machine.calls("")
    (install,) = [call for call in calls if "pip install" in call]
    assert install.endswith("-c constraints.txt -e .")
    train, user, visitor = [call for call in calls if re.match("reelgraph (train|recommend)", call)]
    assert train == "reelgraph train,--out,demo/model"
    assert user == "reelgraph recommend,demo/model,--user,1,-k,10"
    assert visitor == "reelgraph recommend,demo/model,--ratings,demo/my-ratings.csv,-k,10"
    ratings = machine.clone / "demo" / "my-ratings.csv"
    assert ratings.read_text() == "movieId,rating\n260,5\n1198,5\n1270,4\n2571,5\n597,2\n"

    ratings.write_text("movieId,rating\n1,5\n")
    second = machine.run("script/quickstart")
    assert second.returncode == 0
    assert machine.calls("python -m pip install") == [], "nothing changed, nothing is installed"
    assert ratings.read_text() == "movieId,rating\n1,5\n", "a person's own ratings stay"

    with (machine.clone / "constraints.txt").open("a") as constraints:
        constraints.write("newer==1\n")
    assert machine.run("script/quickstart").returncode == 0
    assert len(machine.calls("python -m pip install")) == 1, "other versions are asked for"


@pytest.mark.parametrize("damage", ["python gone", "moved", "half made"])
def test_quickstart_mends_its_environment(machine: Machine, damage: str) -> None:
    machine.python("python3")
    assert machine.run("script/quickstart").returncode == 0
    environment = machine.clone / ".venv"
    if damage == "python gone":
        (environment / "bin" / "python").unlink()
        (environment / "bin" / "python").symlink_to("/nowhere/python3")
    elif damage == "moved":
        machine.clone = machine.clone.rename(machine.clone.with_name("another place"))
    else:
        shutil.rmtree(environment)
        environment.mkdir()
    machine.calls("")
    again = machine.run("script/quickstart")
    assert again.returncode == 0, again.stderr
    assert "creating it again" in again.stdout
    calls = machine.calls("python")
    assert "python3 -m venv .venv" in calls
    assert "pip install" in " ".join(calls)


def test_a_failed_installation_is_tried_again(machine: Machine) -> None:
    machine.python("python3")
    failed = machine.run("script/quickstart", FAILS="pip")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[0] == "ERROR: no route"
    assert failed.stderr.splitlines()[1].startswith("error: pip could not install reelgraph, see .venv/install.log")
    assert machine.calls("reelgraph train") == []
    assert machine.run("script/quickstart").returncode == 0
    assert len(machine.calls("python -m pip install")) == 1

    constraints = machine.clone / "constraints.txt"
    before = constraints.read_text()
    constraints.write_text(f"{before}newer==1\n")
    assert machine.run("script/quickstart", FAILS="pip").returncode == 2
    constraints.write_text(before)
    machine.calls("")
    assert machine.run("script/quickstart").returncode == 0
    assert len(machine.calls("python -m pip install")) == 1, "nobody knows what a failed installation left"


@pytest.mark.parametrize("name", ["script/quickstart", "script/test"])
def test_no_python_that_is_new_enough(machine: Machine, name: str) -> None:
    machine.java("17.0.1")
    assert "expected Python 3.11 or newer, found no Python: install" in one_line(machine.run(name))
    machine.python("python3", too_old=True)
    assert "expected Python 3.11 or newer, found Python 3.9.2: install" in one_line(machine.run(name))
    machine.python("python3.11", without_venv=True)
    assert "cannot make virtual environments" in one_line(machine.run(name))


def test_a_python_without_venv_is_passed_over(machine: Machine) -> None:
    machine.python("python3.13", without_venv=True)
    machine.python("python3.11")
    assert machine.run("script/quickstart").returncode == 0
    assert "python3.11 -m venv .venv" in machine.calls("python3.11")


def test_root_gets_the_python_that_debian_offers(machine: Machine) -> None:
    machine.python("later")
    machine.debian(offers="python3.12-venv", then=f"mv {machine.bin}/later {machine.bin}/python3.12")
    run = machine.run("script/quickstart")
    assert run.returncode == 0, run.stderr
    update, install = machine.calls("apt-get")
    assert update.split()[1] == "update"
    assert install.endswith(" python3.12 python3.12-venv")


def test_test_runs_every_step(machine: Machine) -> None:
    machine.python("python3")
    machine.java("21.0.4")
    run = machine.run("script/test", "-k", "two words")
    assert run.returncode == 0, run.stderr
    calls = [line for line in machine.calls("") if not line.startswith("python3 ")]
    assert any(call.endswith("-c constraints.txt -e .[test,spark,bench,postgresql,docs,notebook]") for call in calls)
    assert [call for call in calls if not call.startswith("python")] == [
        "ruff check",
        "ruff format,--check",
        "mypy ",
        f"{PYTEST},-k,two words",
    ]
    assert [line for line in run.stdout.splitlines() if line.startswith("== ")][5:] == [
        "== ruff check",
        "== ruff format --check",
        "== mypy",
        "== pytest",
    ]


def test_fast_needs_no_java_browser_or_database(machine: Machine) -> None:
    for name in ("java", "chromium", "initdb", "nginx", "caddy"):
        machine.lack(name)
    (machine.bin / "java").unlink(missing_ok=True)
    run = machine.run("script/test", "--fast", "-k", "two words")
    assert run.returncode == 0, run.stderr
    calls = [line for line in machine.calls("") if re.match("ruff|mypy|pytest", line)]
    assert calls == [
        "ruff check",
        "ruff format,--check",
        "mypy ",
        f"{PYTEST},-p,no:schemathesis,-m,not spark and not browser and not postgresql and not slow,-k,two words",
    ]
    assert (
        "   left out: tests that need Spark, a browser or PostgreSQL, and slow ones; script/test runs them too"
        in run.stdout
    )


@pytest.mark.parametrize(("step", "ran"), [("ruff", 1), ("mypy", 3), ("pytest", 4)])
def test_test_stops_at_the_first_step_that_fails(machine: Machine, step: str, ran: int) -> None:
    machine.python("python3")
    machine.java("17.0.1")
    assert machine.run("script/test", FAILS=step).returncode != 0
    assert len([call for call in machine.calls("") if re.match("ruff|mypy|pytest", call)]) == ran


def test_ci_runs_the_tests(machine: Machine) -> None:
    machine.python("python3")
    machine.java("17.0.1")
    assert machine.run(".ci/run", CI="true").returncode == 0
    assert machine.calls("pytest") == [PYTEST]
    assert machine.run(".ci/run", CI="true", FAILS="pytest").returncode != 0


@pytest.mark.parametrize("version", [None, "1.8.0_392", "11.0.2"])
def test_no_java_that_is_new_enough(machine: Machine, version: str | None) -> None:
    machine.lack("java")
    if version is not None:
        machine.java(version)
    assert "expected Java 17 or newer" in one_line(machine.run("script/test"))
    assert machine.calls("") == [], "Java is looked for before anything is installed"


@pytest.mark.parametrize("offered", ["openjdk-17-jre-headless", "default-jre-headless"])
def test_root_gets_the_java_that_debian_offers(machine: Machine, offered: str) -> None:
    machine.lack("java")
    machine.java("11.0.2")
    machine.put(machine.clone / "jdk-17" / "bin" / "java", JAVA.format("17.0.15"))
    machine.debian(offers=offered, then="mkdir -p places && mv jdk-17 places")
    run = machine.run("script/test")
    assert run.returncode == 0, run.stderr
    assert '   openjdk version "17.0.15"' in run.stdout.splitlines(), "not the older one on PATH"
    assert machine.calls("apt-get")[1].endswith(f" {offered}")


@pytest.mark.parametrize("name", ["chromium", "initdb", "nginx", "caddy"])
def test_no_program_of_the_system(machine: Machine, name: str) -> None:
    machine.lack(name)
    own = {"chromium": "expected Chromium or Google Chrome", "initdb": "expected PostgreSQL's initdb"}
    expected = own.get(name, f"expected {name}, found none")
    line = one_line(machine.run("script/test"))
    assert expected in line
    assert "apt-get install" in line
    assert "brew install" in line
    assert machine.calls("") == [], "it is looked for before anything is installed"


@pytest.mark.parametrize(("name", "package"), [("chromium", "chromium"), ("initdb", "postgresql"), ("nginx", "nginx")])
def test_root_gets_the_programs_that_debian_offers(machine: Machine, name: str, package: str) -> None:
    machine.lack(name)
    places = machine.clone / "places"
    place = {"chromium": machine.bin, "initdb": places / "15" / "bin", "nginx": places}[name] / name
    machine.put(machine.clone / "later", "#!/usr/bin/env bash\n")
    machine.debian(offers=package, then=f"mkdir -p '{place.parent}' && mv later '{place}'")
    run = machine.run("script/test")
    assert run.returncode == 0, run.stderr
    assert any(line.endswith(f"/{name}") for line in run.stdout.splitlines())
    assert machine.calls("apt-get")[1].endswith(f" {package}")


def test_ubuntu_has_no_chromium_that_starts(machine: Machine) -> None:
    """Its package is a snap, and what stands on PATH only says so."""
    machine.lack("chromium")
    machine.put(machine.bin / "chromium-browser", "#!/usr/bin/env bash\nexit 1\n")
    machine.debian(offers="chromium-browser", then="true")
    assert "Google Chrome's own package" in one_line(machine.run("script/test"))
    assert [call.split()[1] for call in machine.calls("apt-get")] == ["update"]
    machine.put(machine.bin / "google-chrome", "#!/usr/bin/env bash\n")
    assert machine.run("script/test").returncode == 0
    (machine.bin / "google-chrome").unlink()
    elsewhere = machine.clone / "browser"
    machine.put(elsewhere, "#!/usr/bin/env bash\n")
    run = machine.run("script/test", REELGRAPH_CHROMIUM=str(elsewhere))
    assert run.returncode == 0, run.stderr
    assert f"   {elsewhere}" in run.stdout.splitlines()


def test_scripts_and_tests_look_for_the_same_programs() -> None:
    text = (ROOT / "script" / "test").read_text()
    assert [place for place in programs.POSTGRESQL if f" {place}/initdb" not in text] == []
    names = [f'"{name}"' if name.startswith("/") else f" {name} " for name in programs.CHROMIUM]
    assert [name for name in names if name not in text] == []


def test_java_home_that_points_nowhere_is_left_out(machine: Machine) -> None:
    machine.python("python3")
    machine.java("17.0.1")
    run = machine.run("script/test", JAVA_HOME="/nowhere")
    assert run.returncode == 0, run.stderr
    assert "JAVA_HOME=/nowhere holds no Java" in run.stdout


def test_java_home_is_preferred(machine: Machine) -> None:
    machine.python("python3")
    machine.java("11.0.2")
    machine.put(machine.clone / "jdk/bin/java", JAVA.format("21.0.4"))
    run = machine.run("script/test", JAVA_HOME=os.fspath(machine.clone / "jdk"))
    assert run.returncode == 0, run.stderr
    assert '   openjdk version "21.0.4"' in run.stdout.splitlines()
