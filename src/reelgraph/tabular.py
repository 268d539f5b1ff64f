"""Results as tables: as text, HTML, pandas, polars and Arrow."""

import html
import io
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reelgraph.errors import SetupError

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80  # characters of a line where the screen's width is not known
_SHOWN = 20  # rows of a result that is displayed
_GAP = 2  # characters between two columns


class Tabular:
    """A result with rows; subclasses define `to_arrow`.

    Notebooks and the prompt show it as a table. Libraries that read Arrow streams, such as DuckDB, take it as it is.
    """

    __slots__ = ()
    spare: tuple[str, ...] = ()  # columns that narrow screens do without, the first first

    def to_arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`; raises a `SetupError` if pandas is not installed."""
        _require("pandas", "to_pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The rows as a `polars.DataFrame`; raises a `SetupError` if polars is not installed."""
        return _require("polars", "to_polars").from_arrow(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        from rich.console import Console  # noqa: PLC0415 (slow to import)

        title, header, rows, left = self._shown()
        spare = [header.index(name) for name in self.spare if name in header]
        page = io.StringIO()
        console = Console(file=page, width=WIDTH, force_terminal=False, force_jupyter=False)
        console.print(make_table("", header, rows, left, spare=spare, width=WIDTH))
        return "\n".join([title, *(line.rstrip() for line in page.getvalue().splitlines())])

    def _repr_html_(self) -> str:
        title, header, rows, left = self._shown()
        return html_table(title, header, rows, left)

    def _shown(self) -> tuple[str, list[str], list[list[str]], list[int]]:
        """Title, names of columns, the first rows as text, and the columns that are aligned on the left."""
        table = self.to_arrow()
        left = [place for place, kind in enumerate(table.schema.types) if not _is_number(kind)]
        rows = [list(map(_text, row.values())) for row in table.slice(0, _SHOWN).to_pylist()]
        return self._title(table), table.column_names, rows, left

    def _title(self, table: pa.Table) -> str:
        """The first line of a display."""
        count = f"{table.num_rows:,} row{'s' * (table.num_rows != 1)}"
        more = f", the first {_SHOWN} shown" if table.num_rows > _SHOWN else ""
        return f"{type(self).__name__}: {count}{more}"


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table in HTML for notebooks; the texts are escaped."""

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["left" if place in left else "right" for place in range(len(cells))]
        pairs = zip(sides, cells, strict=True)
        return "".join(f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for side, cell in pairs)

    head = f"<thead><tr>{line('th', header)}</tr></thead>" if any(header) else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table><caption>{html.escape(title)}</caption>{head}<tbody>{body}</tbody></table>"


def make_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[int] = (0,),
    bold: str = "",
    spare: Sequence[int] = (),
    narrow: int = 0,
    width: int = WIDTH,
) -> "Table":
    """A table without borders that breaks lines between words.

    Args:
        title: what stands above it.
        header: names of the columns.
        rows: cells; a row may be shorter than the header.
        left: columns that are aligned on the left.
        bold: first cell of the row that stands out.
        spare: columns that are left out, in this order, until the others fit; a line below names them.
        narrow: columns are left out before the others get narrower than this many characters.
        width: of the screen, in characters.
    """
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    cells = [list(map(str, row)) for row in rows]
    columns = [[name, *(row[place] for row in cells if place < len(row))] for place, name in enumerate(header)]
    least = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    widths = [max(map(cell_len, column)) for column in columns]
    readable = [max(word, min(whole, narrow)) for word, whole in zip(least, widths, strict=True)]
    kept = list(range(len(header)))
    dropped: list[int] = []
    while len(dropped) < len(spare) and sum(readable[place] + _GAP for place in kept) - _GAP > width:
        dropped.append(spare[len(dropped)])
        kept.remove(dropped[-1])
    while sum(widths[place] + _GAP for place in kept) - _GAP > width:
        wrapping = [place for place in kept if widths[place] > least[place]]
        widest = max(wrapping or kept, key=widths.__getitem__)  # the longest words are broken if nothing else helps
        if widths[widest] == 1:
            break
        widths[widest] -= 1
    note = f"not shown at this width: {', '.join(header[place] for place in sorted(dropped))}" if dropped else None
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", pad_edge=False, box=None,
        show_header=any(header), caption=note, caption_justify="left",
        min_width=max(cell_len(word) for word in f"{title} {note or ''}".split() or [""]),
    )  # fmt: skip
    for place in kept:
        side: Any = "left" if place in left else "right"
        table.add_column(escape(header[place]), justify=side, overflow="fold", width=widths[place])
    for row in cells:
        shown = [escape(row[place]) for place in kept if place < len(row)]
        table.add_row(*shown, style="bold" if bold and row[0] == bold else None)
    return table


def _require(library: str, what: str) -> Any:
    try:
        return import_module(library)
    except ImportError:
        raise SetupError(f"{what}: expected the library {library}, found none", f"pip install {library}") from None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)
