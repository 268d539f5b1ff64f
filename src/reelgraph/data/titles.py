"""Titles as they are shown: without the year, leading articles in front."""

import re

_ARTICLES = (
    "The|An|A|Le|La|Les|L'|Un|Une|Der|Die|Das|Ein|Eine|El|Los|Las|Una|Il|Lo|I|Gli|Uno|O|Os|As|Um|Uma|De|Het|Een|"
    "Den|Det|En|Et"
)

_YEAR = re.compile(r"\s*[(\[](?P<year>[0-9]{4})(?:\s*[-\u2013]\s*(?:[0-9]{4})?)?[)\]]\s*$")

# "Postman, The (Postino, Il)": each name ends with the title or with a bracket.
_TRAILING = re.compile(
    rf"(?P<lead>^|\(\s*|a\.k\.a\.\s+)(?P<name>[^()]*[^()\s,]),\s+(?P<article>{_ARTICLES})(?=\s*(?:[()]|$))", re.I
)


def year_in(title: str) -> int | None:
    """The year in brackets at the end of a title."""
    found = _YEAR.search(title)
    return int(found["year"]) if found else None


def plain_title(title: str) -> str:
    """A title without a year at its end and with its article in front: "The Matrix" for "Matrix, The (1999)"."""
    text = _YEAR.sub("", title.strip()) or title.strip()
    return _TRAILING.sub(_turn, text) if ", " in text else text


def _turn(found: re.Match[str]) -> str:
    gap = "" if found["article"].endswith("'") else " "
    return f"{found['lead']}{found['article']}{gap}{found['name']}"
