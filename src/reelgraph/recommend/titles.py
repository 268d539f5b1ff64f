"""Movie titles as people write them: without accents and capitals, with moved articles and alternative names."""

import re
import unicodedata
from collections.abc import Iterator

ARTICLES = frozenset((
    "the", "a", "an", "le", "la", "les", "l", "il", "lo", "gli", "i", "un", "une", "uno", "una", "el", "los", "las",
    "der", "die", "das", "den", "ein", "eine", "de", "het", "o", "os", "as", "en", "det",
))  # fmt: skip
_MOVED = re.compile(rf"(?P<rest>.+), (?P<article>(?:{'|'.join(sorted(ARTICLES))})'?)$")
WORD = re.compile(r"[^\W_]+")
# Letters that Unicode does not decompose, though people type them without the accent.
_LETTERS = str.maketrans({
    "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i", "\u2019": "'", "&": " and ",
})  # fmt: skip

_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii")
_SPELLED = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
)  # fmt: skip
# All spellings of a number, digits first, by each of them.
NUMBERS = {
    word: spellings for spellings in zip(map(str, range(1, 14)), _ROMAN, _SPELLED, strict=True) for word in spellings
}


def words(text: str) -> list[str]:
    """The words of a text in lower case and without accents: "Amélie (2001)" is amelie, 2001."""
    return WORD.findall(_plain(text))


def title_names(title: str) -> Iterator[tuple[str, bool]]:
    """The names of a movie, each with whether it begins with an article.

    "Postman, The (Postino, Il)" is postman, the postman, postino and il postino.
    """
    for part in _plain(title).replace(")", "(").split("("):
        name = part.strip().removeprefix("a.k.a. ")
        moved = _MOVED.match(name) if ", " in name else None
        first, _, rest = name.partition(" ")
        if moved:
            gap = "" if moved["article"].endswith("'") else " "
            yield moved["rest"], False
            yield moved["article"] + gap + moved["rest"], True
        elif first in ARTICLES and rest:
            yield rest, False
            yield name, True
        elif name:
            yield name, False


def _plain(text: str) -> str:
    """A text in lower case and without accents."""
    if text.isascii():
        return text.lower().replace("&", " and ")
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
    return "".join(letter for letter in folded if not unicodedata.combining(letter))
