"""The engines in docs/spark.md exist."""

import re
from pathlib import Path

from reelgraph.engines.engine import check_name

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spark.md").read_text(encoding="utf-8")


def test_documented_engines_exist() -> None:
    names = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    for name in names[1:] if names[0] == "--engine" else names:
        check_name(name.replace("[N]", "[4]"))
    assert len(names) >= 5
