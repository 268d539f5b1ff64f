"""Text files of every dialect and encoding are read back as they were written."""

import codecs
import csv
import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelgraph.data.rows import Dialect, Malformed, RowReader
from reelgraph.data.text_files import TextTable, layout_of
from reelgraph.errors import DataError

Cells = list[tuple[str | None, ...]]


def read(path: Path, *names: str, header: int = 0) -> tuple[Cells, list[Malformed]]:
    """All rows in order of their numbers, and the malformed ones."""
    kept: dict[int, tuple[str | None, ...]] = {}
    malformed: list[Malformed] = []
    for block in TextTable.open(path, [path], 1).blocks(names, names, header):
        kept |= zip(block.rows.tolist(), zip(*(column.to_pylist() for column in block.cells), strict=True), strict=True)
        malformed += block.malformed
    numbers = sorted([*kept, *(row.row for row in malformed)])
    assert numbers == list(range(1, len(numbers) + 1)), "every row has a number of its own"
    return [kept[number] for number in sorted(kept)], malformed


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
        ("1 2   4.5\n  10 3 2.5\n", " "),
        ('id,text\n1,"one\ntwo, three"\n2,"four; five; six\n\n"\n', ","),
        ("sep=;\na,b;c\n1,2;3\n", ";"),
    ],
)
def test_the_separator_is_detected(tmp_path: Path, text: str, separator: str) -> None:
    (tmp_path / "f").write_text(text)
    assert layout_of(tmp_path / "f").separator == separator


@pytest.mark.parametrize(
    ("data", "encoding", "cell"),
    [
        ("1,é\n".encode(), "utf-8", "é"),
        ("1,é\n".encode("latin-1"), "latin-1", "é"),
        (codecs.BOM_UTF8 + "1,用户\n".encode(), "utf-8", "用户"),
        ("1,用户\n".encode("utf-16"), "utf-16", "用户"),
        ("1,user é\n".encode("utf-16-le"), "utf-16-le", "user é"),
        ("1,user é\n".encode("utf-16-be"), "utf-16-be", "user é"),
    ],
)
def test_the_encoding_is_detected(tmp_path: Path, data: bytes, encoding: str, cell: str) -> None:
    (tmp_path / "f.csv").write_bytes(data)
    assert layout_of(tmp_path / "f.csv").encoding == encoding
    assert read(tmp_path / "f.csv", "a", "b") == ([("1", cell)], [])


def test_latin_1_far_down_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(b"1,plain\n" * 50_000 + "2,é\n".encode("latin-1"))
    rows, _ = read(tmp_path / "f.csv", "a", "b")
    assert rows[-1] == ("2", "é")
    assert len(rows) == 50_001


def test_a_character_that_the_sample_cuts_is_read(tmp_path: Path) -> None:
    # 262,143 bytes and then a letter of two: the sample of 256 KiB ends within it.
    (tmp_path / "f.csv").write_text("1,2\n" * 65_535 + "1,2" + "é\n", encoding="utf-8")
    assert layout_of(tmp_path / "f.csv").encoding == "utf-8"
    assert read(tmp_path / "f.csv", "a", "b")[0][-2:] == [("1", "2"), ("1", "2é")]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz"])
def test_line_endings_and_compression_make_no_difference(tmp_path: Path, ending: str, name: str) -> None:
    data = ending.join(["a,b", "1,2", "3,4"]).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(tmp_path / name, "a", "b", header=1) == ([("1", "2"), ("3", "4")], [])


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 300_000)[:-20])
    with pytest.raises(DataError, match=r"f\.csv\.gz"):
        read(tmp_path / "f.csv.gz", "a", "b")


def test_blank_lines_are_not_rows(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("\n \na,b\n\n1,2\n\n3\n  \n4,5\n")
    rows, malformed = read(tmp_path / "f.csv", "a", "b", header=1)
    assert rows == [("1", "2"), ("4", "5")]
    assert malformed == [Malformed(2, "3", "expected 2 cells, found 1")]


def test_quotes_that_do_not_quote_are_text(tmp_path: Path) -> None:
    (tmp_path / "u.item").write_text('1|"Heat|x\n2|Say "Yes"|y\n')
    assert read(tmp_path / "u.item", "a", "b", "c")[0] == [("1", '"Heat', "x"), ("2", 'Say "Yes"', "y")]
    (tmp_path / "movies.dat").write_text('1::"Heat::x\n2::Say: "Yes"::y\n3::z\n')
    rows, malformed = read(tmp_path / "movies.dat", "a", "b", "c")
    assert rows == [("1", '"Heat', "x"), ("2", 'Say: "Yes"', "y")]
    assert malformed == [Malformed(3, "3::z", "expected 3 cells, found 2")]


NOTES = {
    "opened": {3: '"so good', 9: '"meh', 10: '"'},
    "opened and closed": {3: '"so good', 9: 'I was 5"', 20: "6'2\"", 30: '"x"y'},
    "swallowing rows": {3: '"so good', 9: "meh", 10: 'the end"'},
    "in text": {3: 'a "good" film', 5: '""good', 7: '"a" and "b"', 8: '" '},
    "one": {12: '"'},
}


@pytest.mark.parametrize("notes", NOTES.values(), ids=NOTES.keys())
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_stray_quotes_cost_no_row(tmp_path: Path, notes: dict[int, str], separator: str, place: int) -> None:
    written = [[str(row), str(row % 7), str(row % 5 + 1)] for row in range(40)]
    for row, cells in enumerate(written):
        cells.insert(place, notes.get(row, "fine"))
    path = tmp_path / "r.csv"
    path.write_text("".join(separator.join(cells) + "\n" for cells in [["a", "b", "c", "d"], *written]))
    rows, malformed = read(path, "a", "b", "c", "d", header=1)
    assert malformed == []
    assert [[cell or "" for cell in row] for row in rows] == written


@pytest.mark.parametrize("ids", ["{}", "u{}", "A{:09d}X", "{0:08x}-00{0}a-4{0}bc"])
def test_quotes_that_pair_up_by_chance_swallow_no_row(tmp_path: Path, ids: str) -> None:
    written = [(ids.format(row), f"m{row % 7}", row % 5 + 1, 'close"' if row % 2 else '"open') for row in range(40)]
    (tmp_path / "r.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in [("a", "b", "c", "d"), *written]))
    rows, malformed = read(tmp_path / "r.csv", "a", "b", "c", "d", header=1)
    assert malformed == []
    assert rows == [tuple(map(str, row)) for row in written]


def test_a_malformed_row_costs_only_itself(tmp_path: Path) -> None:
    text = 'id,text,stars\n1,"two\nlines",3\n2,"two\nlines",4,more\n3,a,5\n4\n5,"open,4\n6,"b, c",4\n'
    (tmp_path / "f.csv").write_text(text)
    rows, malformed = read(tmp_path / "f.csv", "id", "text", "stars", header=1)
    assert rows == [("1", "two\nlines", "3"), ("3", "a", "5"), ("5", '"open', "4"), ("6", "b, c", "4")]
    assert [(row.row, row.text) for row in malformed] == [(2, '2,"two\nlines",4,more'), (4, "4")]


def test_quotes_escaped_by_a_backslash_are_read(tmp_path: Path) -> None:
    text = 'id,text,stars\n1,"a \\"b\\", c",3\n2,"C:\\\\",4\n3,"plain, too",5\n4,"d\\"\ne",1\n'
    (tmp_path / "f.csv").write_text(text)
    rows, malformed = read(tmp_path / "f.csv", "id", "text", "stars", header=1)
    assert malformed == []
    assert rows == [("1", 'a "b", c', "3"), ("2", "C:\\\\", "4"), ("3", "plain, too", "5"), ("4", 'd"\ne', "1")]


def test_a_cell_may_be_longer_than_any_block(tmp_path: Path) -> None:
    long = 'a line, and "more"\n' * 1_200_000  # 22 MB
    with (tmp_path / "f.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("1", long, "2"), ("3", "x", "4"), ("5", long[:400_000], "6")])
    rows, malformed = read(tmp_path / "f.csv", "a", "b", "c")
    assert malformed == []
    assert rows == [("1", long, "2"), ("3", "x", "4"), ("5", long[:400_000], "6")]


# --- any table comes back as it was written ---

CELL = st.one_of(
    st.text(st.sampled_from("\",;\t|\n 'ab1\\"), max_size=6),
    st.sampled_from(["", " ", "NULL", "\\N", "nan", "NA", "None", "1.0", '"', '""', "a\r\nb", "4,5", "::", "é用"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00\ufeff"), max_size=5),
)
DIALECTS: dict[str, dict[str, Any]] = {
    "csv": {"lineterminator": "\r\n"},
    "csv on Unix": {"lineterminator": "\n"},
    "pandas": {"lineterminator": "\n", "doublequote": True},
    "polars": {"lineterminator": "\n", "quoting": csv.QUOTE_MINIMAL},
    "quoted": {"lineterminator": "\n", "quoting": csv.QUOTE_ALL},
    "text quoted": {"lineterminator": "\n", "quoting": csv.QUOTE_NONNUMERIC},
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """A table of ids, texts and stars as text, and its cells."""
    width = draw(st.integers(1, 3))
    cells = draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=12))
    head = ["userId", *(f"text{column}" for column in range(width)), "stars"]
    body = [[str(place), *row, str(place % 5 + 1)] for place, row in enumerate(cells)]
    separator = draw(st.sampled_from([",", ";", "\t"]))
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, **draw(st.sampled_from(list(DIALECTS.values())))).writerows([head, *body])
    return buffer.getvalue(), [head, *body]


def check_table(path: Path, table: tuple[str, list[list[str]]]) -> None:
    """Read a table whole, and in pieces of any size: the result must be what was written."""
    text, (head, *body) = table
    path.write_bytes(text.encode())
    rows, malformed = read(path, *head, header=1)
    assert malformed == []
    assert [[cell or "" for cell in row] for row in rows] == body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_any_table_comes_back_as_written(tmp_path: Path, table: tuple[str, list[list[str]]]) -> None:
    check_table(tmp_path / "f.csv", table)


IRREGULAR = st.lists(st.sampled_from(['"', '""', "a", ",", "\n", " ", "1", '"x"', "\r\n", '\n1,"', "\\"]), max_size=40)


@settings(max_examples=150, deadline=None)
@given(parts=IRREGULAR, size=st.integers(1, 9), width=st.integers(1, 4), escaped=st.booleans())
def test_the_result_does_not_depend_on_block_borders(parts: list[str], size: int, width: int, escaped: bool) -> None:
    text = "".join(parts).encode()
    names = [str(place) for place in range(width)]
    dialect = Dialect(b",", escaped=escaped, width=width, numeric=(0,))

    def read_in(chunks: list[bytes]) -> list[tuple[str | None, ...]]:
        rows: dict[int, tuple[str | None, ...]] = {}
        for block in RowReader(dialect, names, names, ",").read(iter(chunks), 0):
            cells = zip(*(column.to_pylist() for column in block.cells), strict=True)
            rows |= zip(block.rows.tolist(), cells, strict=True)
            rows |= {row.row: (row.text, row.reason) for row in block.malformed}
        return [rows[number] for number in range(1, len(rows) + 1)]

    rows, at = [], 0
    while at < len(text) and (row := dialect.row_at(text, at, final=True)):
        line, at = text[at : row[0]], row[0]
        if len(row[1]) == width and line.strip(b"\r\n" if width == 1 else b" \r\n"):
            rows.append(tuple(cell.decode() or None for cell in row[1]))
    assert read_in([text[at : at + size] for at in range(0, len(text), size)]) == read_in([text])
    assert [row for row in read_in([text]) if "cells, found" not in str(row[-1])] == rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found an empty file"),
        (b"\n \n\n", "found blank lines"),
        (b"word\nother\n", "found 'word'"),
        (b"1,2\x00,3\n", "found binary data"),
        (b"PAR1 and more", "found a Parquet file; name it .parquet"),
    ],
)
def test_files_without_a_table_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "f.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        layout_of(tmp_path / "f.csv")
    assert message in str(caught.value)
    assert str(tmp_path / "f.csv") in str(caught.value)


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none.csv", "found none"), (tmp_path, "found a directory")):
        with pytest.raises(DataError, match=f"expected a file, {found}"):
            layout_of(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read every file
    with pytest.raises(DataError, match=r"f\.csv: .* found no permission"):
        layout_of(tmp_path / "f.csv")
