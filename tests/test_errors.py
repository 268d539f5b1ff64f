"""Error classes and their mapping to exit codes."""

from pathlib import Path

import pytest

from reelgraph import errors
from reelgraph.cli import main, recommend
from reelgraph.errors import ReelgraphError, StoppedError

FAMILY = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
]  # everything the module defines


def test_all_errors_have_one_base_class() -> None:
    assert len(FAMILY) > 5
    assert all(issubclass(kind, ReelgraphError) for kind in FAMILY)


def test_messages_are_one_line() -> None:
    error = ReelgraphError("a\nb.csv: expected  this, found\tthat\r\n", "do so")
    assert str(error) == "a b.csv: expected this, found that ; do so"
    assert (error.problem, error.remedy) == ("a\nb.csv: expected  this, found\tthat\r\n", "do so")
    assert str(ReelgraphError("x: expected this, found that")) == "x: expected this, found that"


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(recommend, "open_model", fail)


def code_of(*arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


@pytest.mark.parametrize("kind", FAMILY)
def test_errors_print_one_line_and_set_the_exit_code(
    kind: type[ReelgraphError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, kind("here:\nexpected this, found that", "do so"))
    code = code_of("recommend", "m", "--user", "1")
    out, err = capsys.readouterr()
    assert out == ""
    if kind is StoppedError:
        assert code == 130
        assert err == "reelgraph: interrupted: here: expected this, found that; do so; continue with --resume\n"
    else:
        assert (code, err) == (2, "error: here: expected this, found that; do so\n")


def test_file_names_with_line_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("recommend", "no\nwhere", "--user", "1") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_bugs_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["recommend", "m", "--user", "1"])


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert code_of("recommend", "m", "--user", "1") == 130
    assert capsys.readouterr().err.strip() == "reelgraph: interrupted"
