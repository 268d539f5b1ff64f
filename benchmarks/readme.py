"""Write the README's table of results from results/main_job.json: `python benchmarks/readme.py`."""

import json
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
START, END = "<!-- results:", "<!-- end of results -->"


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "## Measured",
        "",
        "| data | test RMSE | test MAE | whole command, s | peak memory, GB |",
        "|---|---|---|---|---|",
    ]
    for row in found["results"]:
        seconds = statistics.median(run["seconds"] for run in row["runs"])
        cells = [_number(row["test_rmse"]), _number(row["test_mae"]), f"{seconds:.0f}"]
        memory = f"{row['memory_mb']['mean'] / 1000:.2f}"
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {memory} |")
    costs = "; ".join(f"{name[:-3]} {seconds:.2f} s" for name, seconds in found["costs"].items())
    seeds = {row["seeds"] for row in found["results"]}
    lines += [
        "",
        f"Mean of {max(seeds)} seeds and half width of its 95 % interval, for time the median; settings and stopping",
        f"step come from validation ratings alone. {costs[0].upper()}{costs[1:]}.",
        f"reelgraph {found['reelgraph']}, {found['machine']}, {found['date']}:",
        f"`{found['command']}`.",
    ]
    return "\n".join(lines)


def _number(value: dict[str, float | None]) -> str:
    width = value["half_width"]
    return f"{value['mean']:.4f}" + ("" if width is None else f" ± {width:.4f}")


def rendered() -> str:
    """The README with the table that belongs into it."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(START, 1)
    note, rest = rest.split("-->", 1)
    found = json.loads((HERE / "results" / "main_job.json").read_text(encoding="utf-8"))
    return f"{head}{START}{note}-->\n{table(found)}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    README.write_text(rendered(), encoding="utf-8")
