"""Separator, encoding and rows of text files."""

import codecs
import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reelgraph.data.text_files import Malformed, layout_of, read_text
from reelgraph.errors import DataError


def read(path: Path, *names: str, header: int = 0) -> tuple[list[tuple[str | None, ...]], list[Malformed]]:
    """All rows as tuples, and the malformed ones."""
    malformed: list[Malformed] = []
    batches = read_text(path, layout_of(path), names, names, header, malformed.append)
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()], malformed


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1,5;2,5;3,5\n", ";"),
        ("a\tb c, d\te\n1\t2, 3\t4\n", "\t"),
        ("1|Toy Story, the (1995)|01-Jan-1995||x\n2|Heat|02-Feb-1995||y\n", "|"),
        ("1::Toy: Story, the::A|B\n2::Heat::A\n", "::"),
        ('"a, b";1\n"c, d";2\n', ";"),
        ("1,A|B|C\n2,A|B|C\n", "|"),
    ],
)
def test_the_separator_is_the_one_that_cuts_every_line_alike(tmp_path: Path, text: str, separator: str) -> None:
    (tmp_path / "f").write_text(text)
    assert layout_of(tmp_path / "f").separator == separator


@pytest.mark.parametrize(
    ("data", "encoding", "cell"),
    [
        ("1,é\n".encode(), "utf-8", "é"),
        ("1,é\n".encode("latin-1"), "latin-1", "é"),
        (codecs.BOM_UTF8 + "1,用户\n".encode(), "utf-8", "用户"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, data: bytes, encoding: str, cell: str) -> None:
    (tmp_path / "f.csv").write_bytes(data)
    assert layout_of(tmp_path / "f.csv").encoding == encoding
    assert read(tmp_path / "f.csv", "a", "b") == ([("1", cell)], [])


def test_latin_1_far_down_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(b"1,plain\n" * 50_000 + "2,é\n".encode("latin-1"))
    rows, _ = read(tmp_path / "f.csv", "a", "b")
    assert rows[-1] == ("2", "é")
    assert len(rows) == 50_001


def test_utf_8_that_is_cut_by_the_sample_stays_utf_8(tmp_path: Path) -> None:
    # 65,535 bytes and then a letter of two: the sample of 64 KiB ends in its middle.
    (tmp_path / "f.csv").write_text("1,2\n" * 16_383 + "1,2" + "é\n", encoding="utf-8")
    assert layout_of(tmp_path / "f.csv").encoding == "utf-8"
    assert read(tmp_path / "f.csv", "a", "b")[0][-2:] == [("1", "2"), ("1", "2é")]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz"])
def test_line_endings_and_compression_make_no_difference(tmp_path: Path, ending: str, name: str) -> None:
    data = ending.join(["a,b", "1,2", "3,4"]).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(tmp_path / name, "a", "b", header=1) == ([("1", "2"), ("3", "4")], [])


def test_blank_lines_count_nowhere(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("\n \na,b\n\n1,2\n\n3\n4,5\n")
    rows, malformed = read(tmp_path / "f.csv", "a", "b", header=1)
    assert rows == [("1", "2"), ("4", "5")]
    assert malformed == [Malformed(2, 1, "3")]


def test_quotes_are_text_where_they_do_not_quote(tmp_path: Path) -> None:
    (tmp_path / "u.item").write_text('1|"Heat|x\n2|Say "Yes"|y\n')
    assert read(tmp_path / "u.item", "a", "b", "c")[0] == [("1", '"Heat', "x"), ("2", 'Say "Yes"', "y")]
    (tmp_path / "movies.dat").write_text('1::"Heat::x\n2::Say: "Yes"::y\n3::z\n')
    rows, malformed = read(tmp_path / "movies.dat", "a", "b", "c")
    assert rows == [("1", '"Heat', "x"), ("2", 'Say: "Yes"', "y")]
    assert malformed == [Malformed(3, 2, "3::z")]


# What `|` and `::` files can hold: no separator, no line break, and no quoting.
BARE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="|:"), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(BARE, BARE), min_size=1, max_size=20), separator=st.sampled_from(["|", "::"]))
@example(rows=[('"', "'")], separator="|")
def test_unquoted_text_comes_back_cell_by_cell(tmp_path: Path, rows: list[tuple[str, str]], separator: str) -> None:
    # A first and a last cell with a letter keep a row from being blank or a byte order mark.
    lines = [separator.join(("x", *row, "x")) for row in rows]
    (tmp_path / "f").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert layout_of(tmp_path / "f").separator == separator
    found, malformed = read(tmp_path / "f", "a", "b", "c", "d")
    assert found == [("x", first or None, second or None, "x") for first, second in rows]
    assert malformed == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected rows, found an empty file"),
        (b"\n \n\n", "expected rows, found blank lines"),
        (b"word\nother\n", "expected cells separated by comma, tab, semicolon, | or ::, found 'word'"),
        (b"1,2\x00,3\n", "expected text in UTF-8 or Latin-1, found binary data"),
        ("userId,movieId\n".encode("utf-16"), "found binary data"),
        (b"PAR1 and more", "expected text, found a Parquet file; name it .parquet"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        layout_of(tmp_path / "f.csv")
    assert message in str(caught.value)
    assert str(tmp_path / "f.csv") in str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none.csv", "found none"), (tmp_path, "found a directory")):
        with pytest.raises(DataError, match=f"expected a file, {found}"):
            layout_of(path)
