"""Titles found as they are typed: accents, articles at the end, years, slips of the finger. Numpy only."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Indices, Ints, Mask
from reelgraph.recommend.catalogue import Catalogue

_ARTICLES = frozenset((
    "the", "a", "an", "le", "la", "les", "l", "il", "lo", "gli", "i", "un", "une", "uno", "una", "el", "los", "las",
    "der", "die", "das", "den", "ein", "eine", "de", "het", "o", "os", "as", "en", "det",
))  # fmt: skip

_MOVED = re.compile(rf"(?P<rest>.+), (?P<article>(?:{'|'.join(sorted(_ARTICLES))})'?)$")

_WORD = re.compile(r"[^\W_]+")

_YEAR = re.compile(r"\d{4}$")

# Letters that are no letter with an accent for Unicode, but are typed like one.
_LETTERS = str.maketrans({
    "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i", "\u2019": "'", "&": " and ",
})  # fmt: skip

_LAST = "\U0010ffff"

_SHORTEST_SLIP = 4  # letters; a slip in a shorter word makes it any other word, and in a year another year


def _plain(text: str) -> str:
    """A text without capitals and accents."""
    if text.isascii():
        return text.lower().replace("&", " and ")
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
    return "".join(sign for sign in folded if not unicodedata.combining(sign))


def words(text: str) -> list[str]:
    """The words of a text without accents and capitals: "Amélie (2001)" is amelie, 2001."""
    return _WORD.findall(_plain(text))


def _names(title: str) -> Iterator[tuple[str, bool]]:
    """What a movie is called, and whether an article leads.

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
        elif first in _ARTICLES and rest:
            yield rest, False
            yield name, True
        elif name:
            yield name, False


class TitleIndex:
    """Movies by the beginnings of their titles' words.

    Args:
        catalogue: the movies.
        counts: ratings of each, int `(num_items,)`; of movies that fit alike, the more rated one comes first.
    """

    def __init__(self, catalogue: Catalogue, counts: Ints) -> None:
        table = catalogue.table
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * table.num_rows
        self.popular = np.lexsort((np.arange(len(counts)), -counts)).astype(np.int32)
        self._place = np.empty(len(counts), np.int32)
        self._place[self.popular] = np.arange(len(counts), dtype=np.int32)
        named: dict[str, list[int]] = {}
        led: dict[str, list[int]] = {}
        worded: dict[str, list[int]] = {}
        for item, (title, year) in enumerate(zip(titles, catalogue.years.tolist(), strict=True)):
            own = set() if np.isnan(year) else {f"{year:.0f}"}
            called = (title or catalogue.items.id(item)).removesuffix(f"({year:.0f})")
            for name, by_article in _names(called):
                pieces = [_WORD.findall(chunk) for chunk in name.split()]
                # "Spider-Man" is also typed spiderman, "M*A*S*H" mash and "Schindler's" schindlers.
                apart = [word for piece in pieces for word in piece]
                joined = ["".join(piece) for piece in pieces if piece]
                own.update(apart, joined)
                for text in {" ".join(apart), " ".join(joined)}:
                    (led if by_article else named).setdefault(text, []).append(item)
            for word in own:
                worded.setdefault(word, []).append(item)
        self._named, self._led, self._words = _Texts(named), _Texts(led), _Texts(worded)

    def find(self, text: str) -> Indices:
        """Movies whose title or year has, for every word of a text, a word that begins with it; the best fit first.

        A movie that is called like the text goes before one whose name begins with it, and that before one that holds
        it elsewhere; of these the more rated first. Where nothing fits, articles of the text are left out, and then
        one slip in each longer word is forgiven. An empty text finds all movies.
        """
        wanted = words(text)
        if not wanted:
            return self.popular if not text.strip() else self.popular[:0]
        telling = [word for word in wanted if word not in _ARTICLES] or wanted
        mask = self._all(wanted, self._beginning)
        if not mask.any():
            mask = self._all(telling, self._beginning)
        if not mask.any():
            mask = self._all(telling, self._almost)
        items = np.flatnonzero(mask)
        return items[np.lexsort((self._place[items], self._fit(wanted)[items]))].astype(np.int32)

    def _all(self, wanted: list[str], having: Callable[[str], Mask]) -> Mask:
        return np.asarray(np.logical_and.reduce([having(word) for word in wanted]), bool)

    def _beginning(self, word: str) -> Mask:
        """Which movies have a word that begins so."""
        mask = np.zeros(len(self._place), bool)
        mask[self._words.beginning(word)] = True
        return mask

    def _almost(self, word: str) -> Mask:
        """Which movies have a word that begins so but for one letter too many, too few, wrong or with its neighbour."""
        mask = self._beginning(word)
        for near in _slips(word) if len(word) >= _SHORTEST_SLIP and not word.isdigit() else ():
            mask[self._words.beginning(near)] = True
        return mask

    def _fit(self, wanted: list[str]) -> npt.NDArray[np.int8]:
        """0 for a movie called so, 1 for one whose name begins so, 2 for any other; a year at the end is no name."""
        fit = np.full(len(self._place), 2, np.int8)
        ways = [wanted, wanted[:-1]] if len(wanted) > 1 and _YEAR.match(wanted[-1]) else [wanted]
        for way in ways:
            name = " ".join(way)
            # One word, say the letter t, is no article: else every "The ..." would be called so.
            for texts in (self._named, self._led)[: len(way)]:
                begin = texts.beginning(name)
                fit[begin] = np.minimum(fit[begin], 1)
                fit[texts.same(name)] = 0
        return fit


class _Texts:
    """Texts in order, and the movies that they belong to, found by how they begin."""

    def __init__(self, movies: dict[str, list[int]]) -> None:
        self._texts = sorted(movies)
        self._start = np.cumsum([0, *(len(movies[text]) for text in self._texts)])
        self._movies = np.fromiter((item for text in self._texts for item in movies[text]), np.int32, self._start[-1])

    def beginning(self, text: str) -> Indices:
        """The movies of texts that begin so; a movie may come more than once."""
        return self._between(text, text + _LAST)

    def same(self, text: str) -> Indices:
        """The movies of one text."""
        return self._between(text, text + "\0")

    def _between(self, low: str, high: str) -> Indices:
        first, last = bisect_left(self._texts, low), bisect_left(self._texts, high)
        return self._movies[self._start[first] : self._start[last]]


def _slips(word: str) -> set[str]:
    """All that is one slip from a word, its first letter being right."""
    cuts = [(word[:place], word[place:]) for place in range(1, len(word) + 1)]
    missing = {head + tail[1:] for head, tail in cuts if tail}
    turned = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    wrong = {head + sign + tail[1:] for head, tail in cuts if tail for sign in ascii_lowercase}
    more = {head + sign + tail for head, tail in cuts for sign in ascii_lowercase}
    return missing | turned | wrong | more
