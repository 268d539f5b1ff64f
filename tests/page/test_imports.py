"""Exports of other services are imported: ratings join the visitor's, watched films leave the list."""

import csv
import io
import json
import zipfile
from collections.abc import Callable

from tests.page.browsing import SMALL, Visit

HEAD = ("Date", "Name", "Year", "Letterboxd URI")
RATINGS = (
    ("The Matrix", 1999, 5), ("Alien", 1979, 4.5), ("Blade Runner", 1982, 4), ("Amelie", 2001, 0.5),
    ("Twelve Monkeys", 1996, 4.5), ("Mettropolis", 1927, 4),
)  # fmt: skip


def table(*rows: tuple[object, ...]) -> str:
    """Rows as Letterboxd writes them."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def letterboxd() -> bytes:
    data = io.BytesIO()
    uri = "https://boxd.it/x"
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        rated = [("2024-02-03", name, year, uri, stars) for name, year, stars in RATINGS]
        archive.writestr("ratings.csv", table((*HEAD, "Rating"), *rated))
        watched = [("2024-01-01", name, year, uri) for name, year in (("Aliens", 1986), ("Gattaca", 1997))]
        archive.writestr("watched.csv", table(HEAD, *watched))
        wanted = [("2024-01-01", name, year, uri) for name, year in (("Brazil", 1985), ("Casablanca", 1942))]
        archive.writestr("watchlist.csv", table(HEAD, *wanted))
    return data.getvalue()


def choose(visit: Visit, name: str, content: bytes, button: str = "Import from Letterboxd, IMDb or Trakt") -> None:
    """Choose a file with the keyboard."""
    with visit.page.expect_file_chooser() as chooser:
        visit.page.get_by_role("button", name=button).and_(visit.page.locator(":visible")).press("Enter")
    chooser.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def test_a_letterboxd_zip_is_imported(visit: Visit) -> None:
    page = visit.open()
    visit.photograph("import-start")
    visit.rate("Alien", 1)
    choose(visit, "letterboxd.zip", letterboxd())
    dialog = page.get_by_role("dialog", name="9 of 10 films found")
    dialog.wait_for()
    assert "4 ratings added, 1 movie keeps your own rating" in dialog.inner_text()
    assert "Mettropolis (1927)" in dialog.inner_text()
    visit.photograph("import")
    assert visit.barriers() == []
    dialog.get_by_role("button", name="Metropolis (1927)").click()
    page.locator("#sheet .sheet-inside").wait_for()
    visit.close()
    visit.settled()
    assert visit.rated() == {
        "The Matrix": "5 of 5 stars", "Alien": "1 of 5 stars", "Blade Runner": "4 of 5 stars",
        "Amélie": "0.5 of 5 stars", "Twelve Monkeys": "4.5 of 5 stars",
    }  # fmt: skip
    page.click("#more")
    page.wait_for_selector(".card >> nth=24")
    page.click("#more")
    page.wait_for_selector("#more", state="hidden")
    assert len(visit.titles()) == 60 - 5 - 2, "neither rated nor watched movies"
    assert not {"Aliens", "Gattaca"} & set(visit.titles())


def test_the_list_is_limited_to_the_watchlist(visit: Visit) -> None:
    page = visit.open()
    assert page.get_by_text("Only my watchlist").is_hidden()
    choose(visit, "letterboxd.zip", letterboxd())
    page.get_by_role("dialog").get_by_role("button", name="Close").press("Enter")
    only = page.get_by_role("checkbox", name="Only my watchlist")
    only.press("Space")
    visit.settled()
    assert sorted(visit.titles()) == ["Brazil", "Casablanca"]
    visit.photograph("import-watchlist")
    assert visit.barriers() == []
    page.get_by_text("Sci-Fi", exact=True).click()
    visit.settled()
    assert visit.titles() == ["Brazil"]
    visit.reload()
    assert not {"Aliens", "Gattaca"} & set(visit.titles()), "the import is remembered"
    only.press("Space")
    visit.settled()
    page.get_by_role("button", name="Forget them").click()
    visit.settled()
    assert only.is_hidden()
    assert len(visit.titles()) == 24
    page.get_by_role("button", name="Undo").click()
    visit.settled()
    assert not only.is_checked()
    assert page.locator("#imported-words").inner_text().count("2 ") == 2


def test_other_files_on_a_small_screen(visits: Callable[..., Visit]) -> None:
    visit = visits(**SMALL)
    page = visit.open()
    trakt = [{"rated_at": "2024-02-03", "rating": 9, "movie": {"title": "Heat", "year": 1995, "ids": {}}}]
    choose(visit, "trakt.json", json.dumps(trakt).encode())
    page.get_by_text("1 of 1 film found. 1 rating added.").wait_for()
    choose(visit, "mine.csv", b"movieId,rating\n1,4.5\n2,3\n")
    page.get_by_text("2 of 2 films found. 2 ratings added.").wait_for()
    visit.settled()
    assert visit.rated() == {
        "Heat": "4.5 of 5 stars", "The Matrix": "4.5 of 5 stars", "The Matrix Reloaded": "3 of 5 stars"
    }  # fmt: skip
    visit.photograph("import-small")
    assert visit.barriers() == []


def test_a_file_that_is_no_export_is_refused(visit: Visit) -> None:
    page = visit.open()
    choose(visit, "photo.csv", b"\xff\xd8\xff\xe0 no table")
    page.locator(".notice", has_text="photo.csv could not be imported").wait_for()
    visit.complaints[:] = [words for words in visit.complaints if "422" not in words]  # Chromium logs the answer.
    assert visit.rated() == {}
