"""Screenshots in docs/pictures: python benchmarks/pictures.py MODEL, a model trained on the bundled sample."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import URL

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for tests.page

from tests.page.browsing import SMALL, WIDE, Visit, chromium  # noqa: E402
from tests.support.kills import Server  # noqa: E402

PICTURES = HERE.parent / "docs" / "pictures"
RATED = {"The Matrix": 5, "Amelie": 4, "Pretty Woman": 2, "Alien": 4, "Fargo": 5, "Toy Story": 3}


def save(visit: Visit, name: str) -> None:
    """Save a screenshot with 256 colours, which keeps the file small."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.png"
        visit.page.screenshot(path=whole, animations="disabled")
        few = (
            Image.open(whole)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
        )
        few.save(PICTURES / f"{name}.png", optimize=True)


def pictures(visits: Callable[..., Visit]) -> None:
    """The list, an explanation in dark mode, a phone, and the insights."""
    for name, options in (("page", {}), ("why", {"color_scheme": "dark"}), ("phone", SMALL)):
        visit = visits(**options)
        page = visit.open()
        for title, stars in RATED.items():
            visit.rate(title, stars)
        page.get_by_role("button", name="Only in this browser").click()
        page.reload()  # without the changes since the last rating
        page.wait_for_selector(".card")
        if name == "why":
            page.get_by_role("button", name="Why The Usual Suspects").click()
            page.wait_for_selector(".pulls")
        save(visit, name)
    visit = visits()
    visit.page.goto(f"{visit.url}insights")
    visit.page.wait_for_selector("#sections:not([hidden])")
    save(visit, "insights")


def main() -> None:
    """Serve the model and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(model, URL.create("sqlite", database=f"{folder}/ratings.sqlite"))

        def visits(**options: Any) -> Visit:
            context = browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | options))
            return Visit(context, server.address)

        try:
            pictures(visits)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
