"""Titles found as they are typed: accents, articles at the end, years. Numpy only."""

import re
import unicodedata
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from reelgraph.catalogue import Catalogue

Indices = npt.NDArray[np.int32]

_ARTICLES = (
    "the", "a", "an", "le", "la", "les", "l", "il", "lo", "gli", "i", "un", "une", "uno", "una", "el", "los", "las",
    "der", "die", "das", "ein", "eine", "de", "het", "o", "os", "as", "en", "det",
)  # fmt: skip
_MOVED = re.compile(rf"^(?P<rest>.*), (?P<article>{'|'.join(_ARTICLES)})(?=$| \()(?P<end>.*)$")
_WORD = re.compile(r"[^\W_]+")
_SPELLED = re.compile(r"(?<=\b[^\W\d_])[^\w\s](?=[^\W\d_]\b)")  # what stands between the letters of M*A*S*H
_LAST = "\U0010ffff"


def words(text: str) -> list[str]:
    """The words of a text without accents and capitals; "Matrix, The (1999)" is the, matrix, 1999; M*A*S*H is mash."""
    plain = unicodedata.normalize("NFKD", text.replace("'", "").replace("\u2019", "")).casefold()
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    moved = _MOVED.match(plain)
    if moved:
        plain = f"{moved['article']} {moved['rest']}{moved['end']}"
    return _WORD.findall(_SPELLED.sub("", plain))


class TitleIndex:
    """Movies by the beginnings of their titles' words.

    Args:
        catalogue: the movies.
        counts: ratings of each, int `(num_items,)`; of movies that fit alike, the more rated one comes first.
    """

    def __init__(self, catalogue: Catalogue, counts: npt.NDArray[np.integer]) -> None:
        table = catalogue.table
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * table.num_rows
        self.counts = counts
        self.popular = np.lexsort((np.arange(len(counts)), -counts)).astype(np.int32)
        self._place = np.empty(len(counts), np.int32)
        self._place[self.popular] = np.arange(len(counts), dtype=np.int32)
        self._titles: list[str] = []
        postings: dict[str, list[int]] = {}
        for item, (title, year) in enumerate(zip(titles, catalogue.years.tolist(), strict=True)):
            found = words(title or catalogue.items.id(item))
            self._titles.append(" ".join(found))
            extra = () if np.isnan(year) else (f"{year:.0f}",)
            for word in {*found, *extra}:
                postings.setdefault(word, []).append(item)
        self._words = sorted(postings)
        self._movies = [np.asarray(postings[word], np.int32) for word in self._words]

    def find(self, text: str) -> Indices:
        """Movies whose title or year has, for every word of a text, a word that begins with it; the best fit first.

        A title that begins with the text goes before one that holds it elsewhere; a more rated movie before a less
        rated one. An empty text finds all movies.
        """
        wanted = words(text)
        if not wanted:
            return self.popular if not text.strip() else self.popular[:0]
        mask = np.ones(len(self.counts), bool)
        for word in wanted:
            mask &= self._beginning(word)
        items = np.flatnonzero(mask)
        start = " ".join(wanted)
        rank = np.asarray([self._fit(self._titles[item], start) for item in items.tolist()], np.int8)
        return items[np.lexsort((self._place[items], rank))].astype(np.int32)

    def _beginning(self, word: str) -> npt.NDArray[np.bool_]:
        low, high = bisect_left(self._words, word), bisect_left(self._words, word + _LAST)
        mask = np.zeros(len(self.counts), bool)
        for movies in self._movies[low:high]:
            mask[movies] = True
        return mask

    @staticmethod
    def _fit(title: str, start: str) -> int:
        """0 for a title that begins with the text, with its article or without; 1 for any other."""
        article, _, rest = title.partition(" ")
        return 0 if title.startswith(start) or (article in _ARTICLES and rest.startswith(start)) else 1
