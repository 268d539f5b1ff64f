"""Search of movie titles by beginnings of words, tolerant of accents, moved articles and typing errors."""

import re
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from reelgraph.arrays import Indices, Ints, Mask
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.titles import ARTICLES, WORD, title_names, words

_YEAR = re.compile(r"\d{4}$")
_LAST = "\U0010ffff"
_MIN_MISTYPED = 4  # letters; one error turns a shorter word into any other


class TitleIndex:
    """Movies by the words of their titles.

    Args:
        catalogue: the movies.
        counts: ratings of each movie, int `(num_items,)`; among equal matches the most rated movies come first.
    """

    def __init__(self, catalogue: Catalogue, counts: Ints) -> None:
        table = catalogue.table
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * table.num_rows
        self.popular = np.lexsort((np.arange(len(counts)), -counts)).astype(np.int32)
        self._position = np.empty(len(counts), np.int32)
        self._position[self.popular] = np.arange(len(counts), dtype=np.int32)
        names: dict[str, list[int]] = {}
        names_with_article: dict[str, list[int]] = {}
        movies_of_word: dict[str, list[int]] = {}
        for item, (title, year) in enumerate(zip(titles, catalogue.years.tolist(), strict=True)):
            title_words = set() if np.isnan(year) else {f"{year:.0f}"}
            text = (title or catalogue.items.id(item)).removesuffix(f"({year:.0f})")
            for name, with_article in title_names(text):
                chunks = [WORD.findall(chunk) for chunk in name.split()]
                # People also type "Spider-Man" as spiderman, "M*A*S*H" as mash and "Schindler's" as schindlers.
                split = [word for chunk in chunks for word in chunk]
                joined = ["".join(chunk) for chunk in chunks if chunk]
                title_words.update(split, joined)
                for full_name in {" ".join(split), " ".join(joined)}:
                    (names_with_article if with_article else names).setdefault(full_name, []).append(item)
            for word in title_words:
                movies_of_word.setdefault(word, []).append(item)
        self._names, self._names_with_article = _SortedTexts(names), _SortedTexts(names_with_article)
        self._words = _SortedTexts(movies_of_word)

    def find(self, text: str) -> Indices:
        """Movies with, for every word of `text`, a word in title or year that begins with it; best match first.

        Movies with exactly this name come first, then names that begin with the text, then all others, each group
        by number of ratings. If nothing matches, the search ignores articles, and then accepts one typing error in
        each longer word. An empty text finds all movies.
        """
        query = words(text)
        if not query:
            return self.popular if not text.strip() else self.popular[:0]
        without_articles = [word for word in query if word not in ARTICLES] or query
        mask = self._match_all(query, self._match)
        if not mask.any():
            mask = self._match_all(without_articles, self._match)
        if not mask.any():
            mask = self._match_all(without_articles, self._match_mistyped)
        items = np.flatnonzero(mask)
        return items[np.lexsort((self._position[items], self._match_rank(query)[items]))].astype(np.int32)

    def _match_all(self, query: list[str], match: Callable[[str], Mask]) -> Mask:
        return np.asarray(np.logical_and.reduce([match(word) for word in query]), bool)

    def _match(self, word: str) -> Mask:
        """Movies with a word that begins with this one."""
        mask = np.zeros(len(self._position), bool)
        mask[self._words.starting_with(word)] = True
        return mask

    def _match_mistyped(self, word: str) -> Mask:
        """Movies with a word that begins with this one but for one wrong, missing, extra or swapped letter.

        The first letter has to be right.
        """
        mask = self._match(word)
        if len(word) >= _MIN_MISTYPED and not word.isdigit():
            from rapidfuzz.distance import OSA  # noqa: PLC0415 (slow to import, and rarely needed)

            ends = (len(word) - 1, len(word), len(word) + 1)
            for text in self._words.texts(word[0]):
                if any(OSA.distance(word, text[:end], score_cutoff=1) <= 1 for end in ends):
                    mask[self._words.equal_to(text)] = True
        return mask

    def _match_rank(self, query: list[str]) -> npt.NDArray[np.int8]:
        """0 for movies with exactly this name, 1 for names that begin with it, 2 for all others."""
        rank = np.full(len(self._position), 2, np.int8)
        queries = [query, query[:-1]] if len(query) > 1 and _YEAR.match(query[-1]) else [query]
        for name_words in queries:
            name = " ".join(name_words)
            # A single word is not an article: otherwise "t" would match the beginning of every "The ...".
            for texts in (self._names, self._names_with_article)[: len(name_words)]:
                begins = texts.starting_with(name)
                rank[begins] = np.minimum(rank[begins], 1)
                rank[texts.equal_to(name)] = 0
        return rank


class _SortedTexts:
    """Texts in alphabetical order, each with its movies, for searches by prefix."""

    def __init__(self, movies: dict[str, list[int]]) -> None:
        self._texts = sorted(movies)
        self._start = np.cumsum([0, *(len(movies[text]) for text in self._texts)])
        self._movies = np.fromiter((item for text in self._texts for item in movies[text]), np.int32, self._start[-1])

    def starting_with(self, prefix: str) -> Indices:
        """Movies of all texts that begin with `prefix`; a movie may appear more than once."""
        return self._between(prefix, prefix + _LAST)

    def equal_to(self, text: str) -> Indices:
        """Movies of exactly this text."""
        return self._between(text, text + "\0")

    def texts(self, prefix: str) -> list[str]:
        """All texts that begin with `prefix`."""
        return self._texts[bisect_left(self._texts, prefix) : bisect_left(self._texts, prefix + _LAST)]

    def _between(self, low: str, high: str) -> Indices:
        first, last = bisect_left(self._texts, low), bisect_left(self._texts, high)
        return self._movies[self._start[first] : self._start[last]]
