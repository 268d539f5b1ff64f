"""How soon the page shows its first list, and how much it takes: python benchmarks/opening.py MODEL [--pictures].

Opens the page in Chromium again and again, each time with nothing held from before, on the machine that serves it;
benchmarks/results/opening.json gets the times to the first list and the bytes. With `--pictures` it also takes the
pictures of docs/pictures.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import URL

import reelgraph as rg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))  # The tests do the same at less length.

from kills import Server  # noqa: E402
from page.browsing import SMALL, WIDE, Visit, chromium  # noqa: E402

OPENED = 30
PICTURES = HERE.parent / "docs" / "pictures"
# When the first suggestion came to stand in the document, in milliseconds after the visit began.
WATCH = """new MutationObserver((_, watch) => {
    if (document.querySelector(".card")) { window.listed = performance.now(); watch.disconnect(); }
}).observe(document, { childList: true, subtree: true });"""
SIZES = "performance.getEntries().reduce((sum, one) => sum + (one.transferSize ?? 0), 0)"
RATED = {"The Matrix": 5, "Amelie": 4, "Pretty Woman": 2, "Alien": 4, "Fargo": 5, "Toy Story": 3}


def measured(visits: Callable[..., Visit]) -> dict[str, Any]:
    """Times to the first list in milliseconds, and bytes of one visit."""
    times, sizes = [], []
    for _ in range(OPENED):
        visit = visits()
        visit.context.add_init_script(WATCH)
        page = visit.open()
        times.append(page.evaluate("listed"))
        sizes.append(page.evaluate(SIZES))
        visit.context.close()
    return {
        "milliseconds to the first list": {"p50": round(float(np.median(times))), "max": round(max(times))},
        "bytes of a visit": int(max(sizes)),
    }


def picture(visit: Visit, name: str) -> None:
    """A picture in at most 256 colours, which keeps it small."""
    visit.page.wait_for_timeout(600)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.png"
        visit.page.screenshot(path=whole)
        few = (
            Image.open(whole)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
        )
        few.save(PICTURES / f"{name}.png", optimize=True)


def pictures(visits: Callable[..., Visit]) -> None:
    """The list of someone with ratings, the reasons in dark colours, and a phone."""
    PICTURES.mkdir(exist_ok=True)
    visit = visits()
    visit.open()
    for title, stars in RATED.items():
        visit.rate(title, stars)
    visit.page.reload()  # Without what has changed since the last rating.
    picture(visit, "page")
    visit = visits(color_scheme="dark")
    visit.open()
    for title, stars in RATED.items():
        visit.rate(title, stars)
    visit.page.get_by_role("button", name="Why The Usual Suspects").click()
    visit.page.wait_for_selector(".pulls")
    picture(visit, "why")
    visit = visits(**SMALL)
    visit.open()
    for title in ("Fargo", "The Matrix"):
        visit.rate(title, RATED[title])
    visit.page.evaluate("document.activeElement.blur()")
    picture(visit, "phone")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", action="store_true", help="take the pictures of docs/pictures, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(chosen.model, URL.create("sqlite", database=f"{folder}/ratings.sqlite"))

        def visits(**options: Any) -> Visit:
            context = browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | options))
            return Visit(context, server.address)

        try:
            found = measured(visits)
            if chosen.pictures:
                pictures(visits)
        finally:
            server.stop()
        facts = {
            "reelgraph": rg.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "browser": f"Chromium {browser.version}",
            "command": f"python benchmarks/opening.py {chosen.model.name}",
            "opened": OPENED,
            **found,
        }
    text = json.dumps(facts, indent=1) + "\n"
    (HERE / "results" / "opening.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
