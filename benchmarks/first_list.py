"""Time and bytes to the first list in an empty browser (results/first_list.json): benchmarks/first_list.py MODEL."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import describe
from playwright.sync_api import Browser
from sqlalchemy import URL

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for tests.page

from tests.page.browsing import SMALL, WIDE, chromium  # noqa: E402
from tests.support.kills import Server  # noqa: E402

VISITS = 20
LINES = {  # of the visitor: bytes a second and milliseconds to the server and back
    "this machine": None,
    "10 Mbit/s, 40 ms": (10e6 / 8, 40),
}
SCREENS: dict[str, Any] = {"desktop": {"viewport": WIDE}, "phone": SMALL}
# Notes when the first card is in the document; the next frame paints it.
WATCH = """new MutationObserver((_, watcher) => {
    if (!document.querySelector(".card")) return;
    watcher.disconnect();
    requestAnimationFrame(() => { document.documentElement.dataset.listed = performance.now(); });
}).observe(document, { childList: true, subtree: true });"""
BYTES = """performance.getEntries().filter(({ transferSize }) => transferSize)
    .reduce((sum, { transferSize }) => sum + transferSize, 0)"""


def visit(
    browser: Browser, address: str, line: tuple[float, float] | None, screen: dict[str, Any]
) -> tuple[float, int]:
    """Milliseconds from the start of the navigation to the first list, and bytes transferred, with nothing cached."""
    context = browser.new_context(**screen)
    page = context.new_page()
    page.add_init_script(WATCH)
    if line is not None:
        speed, latency = line
        limits = {"offline": False, "latency": latency, "downloadThroughput": speed, "uploadThroughput": speed}
        context.new_cdp_session(page).send("Network.emulateNetworkConditions", limits)
    page.goto(f"{address}/")
    page.wait_for_selector("html[data-listed]")
    taken, size = page.evaluate("Number(document.documentElement.dataset.listed)"), page.evaluate(BYTES)
    context.close()
    return float(taken), int(size)


def main() -> None:
    """Serve the model, visit it with an empty browser each time, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(model, URL.create("sqlite", database=f"{folder}/ratings.sqlite"))
        try:
            for place, line in LINES.items():
                for screen, options in SCREENS.items():
                    visit(browser, server.address, line, options)  # warms the service, not the browser
                    visits = [visit(browser, server.address, line, options) for _ in range(VISITS)]
                    times = [taken for taken, _ in visits]
                    measured[f"{screen}, {place}"] = {
                        "p50": round(float(np.median(times))),
                        "worst": round(max(times)),
                        "kilobytes": round(max(size for _, size in visits) / 1000),
                    }
        finally:
            server.stop()
    command = describe(f"python benchmarks/first_list.py {model.name}")
    result = command | {"browser": browser.version, "visits": VISITS, "milliseconds": measured}
    (HERE / "results" / "first_list.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
