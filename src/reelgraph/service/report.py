"""The /insights page as one HTML file that opens without a server."""

import base64
import json
import re
from importlib.resources import files
from typing import Any

from pydantic_core import to_json

from reelgraph.recommend.insights import describe, summarize
from reelgraph.recommend.recommender import Recommender

STATIC = files("reelgraph.service").joinpath("static")
ENTRY = "insights.js"


def export_page(model: Recommender, analysis: dict[str, Any] | None = None, cold: dict[str, Any] | None = None) -> str:
    """The page with the JSON of `/api/insights`, its scripts and its styles inlined.

    Args:
        model: the model to report on.
        analysis: an evaluation on test ratings that replaces the one made in training.
        cold: an evaluation on held-out users and movies, see `ColdReport.to_json`.
    """
    artifact = {"id": model.artifact.checksum, "created": model.artifact.manifest.get("created"), "since": None}
    facts = {
        "model": {"artifact": artifact, **summarize(model, analysis)},
        "other": None,
        "leaderboard": None,
        "cold": cold,
        **describe(model, analysis),
    }
    return _inline(_read("insights.html"), facts)


def _inline(page: str, facts: dict[str, Any]) -> str:
    content = to_json(facts, inf_nan_mode="null").decode().replace("<", "\\u003c")  # "</script>" would end the element
    modules = json.dumps({"imports": {name: _data_url(text) for name, text in _modules().items()}})
    script = (
        f'<script type="application/json" id="facts">{content}</script>\n'
        f'<script type="importmap">{modules}</script>\n<script type="module">import "{ENTRY}";</script>'
    )
    icon = _data_url(_read("favicon.svg"), "image/svg+xml")
    page = re.sub(r'<link rel="preload"[^>]*>\n', "", page)
    page = re.sub(r'<link rel="stylesheet" href="static/(.*?)">', lambda m: f"<style>\n{_read(m[1])}</style>", page)
    page = page.replace(f'<script type="module" src="static/{ENTRY}"></script>', script)
    page = re.sub(r'<script src="static/(.*?)"></script>', lambda m: f"<script>\n{_read(m[1])}</script>", page)
    return page.replace("static/favicon.svg", icon)


def _modules() -> dict[str, str]:
    """The page's modules by name; `./name.js`, which a data: URL cannot resolve, becomes `name.js`."""
    modules: dict[str, str] = {}
    waiting = [ENTRY]
    while waiting:
        name = waiting.pop()
        if name not in modules:
            modules[name] = re.sub(r'(from|import) "\./', r'\1 "', _read(name))
            waiting += re.findall(r'^(?:import|\}).* from "(.*?)";$', modules[name], re.MULTILINE)
    return modules


def _data_url(text: str, media_type: str = "text/javascript") -> str:
    return f"data:{media_type};base64,{base64.b64encode(text.encode()).decode()}"


def _read(name: str) -> str:
    return STATIC.joinpath(name).read_text(encoding="utf-8")
