"""Search of movies by their titles as people type them."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np

from reelgraph.arrays import Float32s, Indices, Ints
from reelgraph.errors import UnknownIdError
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.titles import ARTICLES, NUMBERS, WORD, title_names, words

_OPTIONAL = ARTICLES | {"of", "and", "in", "part", "episode", "chapter", "vol", "volume", "movie", "film"}
_SUBTITLE = re.compile(r":\s|\s[-\u2013]\s")
_YEAR = re.compile(r"\d{4}$")
_LAST = "\U0010ffff"
_MIN_INITIALS = 3
_SHORTEST = 3  # letters of a word that may have a slip

# The score of a match: log10 of the movie's ratings, plus or minus these. An exact name outweighs 30 times the
# ratings of a name that only begins so, which in turn outweighs 10 times those of any other match.
_EXACT_NAME, _BEGINS = 2.5, 1.0
_PREFIX, _PREFIX_INSIDE, _LEFT_OUT, _SLIP = 0.3, 0.6, 0.3, 1.0  # costs; inside: not the last word, still being typed
_MISSING = np.inf


class TitleIndex:
    """Movies by the words and names of their titles.

    Args:
        catalogue: the movies.
        counts: ratings of each movie, int `(num_items,)`; among equal matches the most rated movies come first.
    """

    def __init__(self, catalogue: Catalogue, counts: Ints) -> None:
        table = catalogue.table
        titles = table["title"].to_pylist() if "title" in table.column_names else [None] * table.num_rows
        self._catalogue, self._years = catalogue, catalogue.years
        self.popular = np.lexsort((np.arange(len(counts)), -counts)).astype(np.int32)
        self._popularity = np.log10(1 + counts).astype(np.float32)
        names: list[tuple[str, int]] = []
        with_article: list[tuple[str, int]] = []
        own_words: list[tuple[str, int]] = []
        joined_words: list[tuple[str, int]] = []
        for item, (title, year) in enumerate(zip(titles, self._years.tolist(), strict=True)):
            text = (title or catalogue.items.id(item)).removesuffix(f"({year:.0f})")
            title_words: set[str] = set() if np.isnan(year) else {f"{year:.0f}"}
            squeezed: set[str] = set()
            for name, has_article in _names(text):
                chunks = [WORD.findall(chunk) for chunk in name.split()]
                split = [word for chunk in chunks for word in chunk]
                # People also type "Spider-Man" as spiderman, "M*A*S*H" as mash and "Schindler's" as schindlers.
                joined = split if len(split) == len(chunks) else ["".join(chunk) for chunk in chunks if chunk]
                title_words.update(split, joined)
                for word in NUMBERS.keys() & split:
                    title_words.update(NUMBERS[word])
                squeezed.update(map("".join, pairwise(split)))
                if len(split) >= _MIN_INITIALS:
                    squeezed.add("".join(word[0] for word in split))
                for full_name in {_canonical(split), _canonical(joined)}:
                    (with_article if has_article else names).append((full_name, item))
            own_words += [(word, item) for word in title_words]
            joined_words += [(word, item) for word in squeezed - title_words]
        self._names, self._names_with_article = _SortedTexts(names), _SortedTexts(with_article)
        self._words, self._joined = _SortedTexts(own_words), _SortedTexts(joined_words)

    def find(self, text: str) -> Indices:
        """Movies whose title and year match all words of `text`, in any order; best match first.

        A word matches a word that begins with it. Numbers match in any form (2, II, two), two words may be written
        as one or one as two, initials stand for a name ("lotr"), and articles and words such as "part" may be left
        out. Only if nothing matches, the search takes a number at the end as a place in a series ("harry potter 3");
        then accepts one slip in a word of 4 letters or more, or of 3 beside another word, and two in one of 7 or
        more; then leaves out the one of three words or more that matches nothing. Exact names and names that begin
        with the text come first, weighed against the number of ratings. An empty text finds all movies.
        """
        query = words(text)
        if not query:
            return self.popular if not text.strip() else self.popular[:0]
        for cost in self._attempts(query):
            items = np.flatnonzero(np.isfinite(cost))
            if len(items):
                score = self._popularity[items] + self._name_bonus(query)[items] - cost[items]
                return items[np.argsort(-score, kind="stable")].astype(np.int32)
        return self.popular[:0]

    def movie(self, text: str) -> int:
        """The index of the one movie that `text` means: its id, its exact name, or its only match.

        Raises:
            UnknownIdError: if no movie or more than one matches.
        """
        if text in self._catalogue.items:
            return self._catalogue.items.index(text)
        items = self.find(text)
        exact = items[self._name_bonus(words(text))[items] == _EXACT_NAME] if len(items) else items
        for candidates in (exact, items):
            if len(candidates) == 1:
                return int(candidates[0])
        near = ", ".join(f"{self._catalogue.movie(item)} (id {self._catalogue.items.id(item)})" for item in items[:5])
        if not near:
            raise UnknownIdError(
                f"movie {text!r}: expected an id or a title of the model, such as {self._catalogue.items.id(0)}, found "
                "no match", "check its spelling",
            )  # fmt: skip
        raise UnknownIdError(
            f"movie {text!r}: expected one movie, found {len(items):,}: {near}", "give an id or a year"
        )

    def _attempts(self, query: list[str]) -> Iterator[Float32s]:
        """What it costs each movie to match the query, float32 `(num_items,)`, at first strictly, then less so."""
        size = len(query)
        matches = [self._match(word, place == size - 1, size == 1) for place, word in enumerate(query)]
        yield self._cost_with_joins(matches, query)
        if size > 1 and query[-1] in NUMBERS:
            yield self._in_series(query[:-1], int(NUMBERS[query[-1]][0]))
        loose = [self._match_slips(match, place, query) for place, match in enumerate(matches)]
        yield self._cost(loose, query)
        found = [
            place
            for place, word in enumerate(query)
            if np.isfinite((loose if len(word) > _SHORTEST else matches)[place]).any()
        ]
        if len(found) == size - 1 and sum(query[place] not in _OPTIONAL for place in found) >= 2:
            yield self._cost([loose[place] for place in found], [query[place] for place in found])

    def _cost(self, matches: list[Float32s], query: list[str]) -> Float32s:
        """The sum over the words of a query, of which optional ones may be missing."""
        required = all(word in _OPTIONAL for word in query)
        costs = [match if required else _or_left_out(match, word) for match, word in zip(matches, query, strict=True)]
        return np.asarray(np.sum(costs, axis=0), np.float32)

    def _cost_with_joins(self, matches: list[Float32s], query: list[str]) -> Float32s:
        """As `_cost`, or less where two neighbouring words are one in the title: "god father" is godfather.

        Both sums are extended word by word, so that a long query takes as many matches as it has words and pairs.
        """
        required = all(word in _OPTIONAL for word in query)
        earlier = apart = np.zeros(len(self._popularity), np.float32)  # up to the word before the last, and the last
        joined = np.full(len(self._popularity), _MISSING, np.float32)
        for place, (match, word) in enumerate(zip(matches, query, strict=True)):
            cost = match if required else _or_left_out(match, word)
            joined = joined + cost
            if place:
                pair = query[place - 1] + word
                both = self._match(pair, place == len(query) - 1, len(query) == 2)
                both = both if required else _or_left_out(both, pair)
                joined = np.minimum(joined, earlier + both + np.float32(_PREFIX))
            earlier, apart = apart, apart + cost
        return np.minimum(apart, joined)

    def _match(self, word: str, last: bool, alone: bool) -> Float32s:
        """Cost of one word for each movie, infinite where no word of the title begins with it."""
        cost = np.full(len(self._popularity), _MISSING, np.float32)
        prefix = _PREFIX if last else _PREFIX_INSIDE
        whole_only = not alone and word.isdigit() and len(word) < len("1999")  # else 2 finds all of 2003
        if len(word) >= _MIN_INITIALS:
            cost[self._joined.starting_with(word)] = prefix
        if not whole_only:
            cost[self._words.starting_with(word)] = prefix
        cost[self._words.equal_to(word)] = 0
        return cost

    def _match_slips(self, match: Float32s, place: int, query: list[str]) -> Float32s:
        """Cost of one word that may have wrong, missing, extra or swapped letters; `match` is that without any."""
        from rapidfuzz import process  # noqa: PLC0415 (slow to import, and rarely needed)
        from rapidfuzz.distance import OSA  # noqa: PLC0415

        word, cost = query[place], match.copy()
        if len(word) == len("the") and OSA.distance(word, "the") <= 1:
            return np.minimum(cost, np.float32(_LEFT_OUT))
        # A word of 3 letters is near so many others that another word must narrow the search.
        least = _SHORTEST + (len(query) == 1)
        slips = 0 if word.isdigit() or len(word) < least else 2 if len(word) >= 7 else 1
        if not slips:
            return cost
        for texts in (self._words, self._joined):
            # The last word may not be finished; the first letter is right, swapped with the second, or the only slip.
            begun = texts.texts(word[0])
            unfinished = all(later.isdigit() for later in query[place + 1 :])  # apart from a year
            ends = range(len(word) - 1, len(word) + 2) if unfinished and len(word) > 4 else ()
            beginnings = {text[:end] for text in begun for end in ends}
            for compared, items_of in (
                ([*begun, *texts.texts(word[1])], texts.equal_to), (list(beginnings), texts.starting_with)
            ):  # fmt: skip
                distance = process.cdist([word], compared, scorer=OSA.distance, score_cutoff=slips, dtype=np.int32)[0]
                for index in np.flatnonzero(distance <= slips):
                    items = items_of(compared[index])
                    cost[items] = np.minimum(cost[items], distance[index] * _SLIP)
            for text in texts.with_other_start(word) if len(word) > _SHORTEST else ():
                items = texts.equal_to(text)
                cost[items] = np.minimum(cost[items], _SLIP)
            if np.isfinite(cost).any():
                break
        return cost

    def _in_series(self, query: list[str], place: int) -> Float32s:
        """Cost 0 for the movie at a place, from 1, among those whose names begin with the query, by year."""
        cost = np.full(len(self._popularity), _MISSING, np.float32)
        name, all_names = _canonical(query), (self._names, self._names_with_article)
        found = [texts.starting_with(name + " ") for texts in all_names] + [texts.equal_to(name) for texts in all_names]
        items = np.unique(np.concatenate(found))
        if 1 <= place <= len(items):
            cost[items[np.argsort(self._years[items], kind="stable")[place - 1]]] = 0
        return cost

    def _name_bonus(self, query: list[str]) -> Float32s:
        """The part of the score that is for names equal to the query, or beginning with it."""
        bonus = np.zeros(len(self._popularity), np.float32)
        queries = [query, query[:-1]] if len(query) > 1 and _YEAR.match(query[-1]) else [query]
        for name_words in queries:
            name = _canonical(name_words)
            # A single word that is not an article: otherwise "t" would match the beginning of every "The ...".
            takes_article = len(name_words) > 1 or name in ARTICLES
            for texts in (self._names, self._names_with_article)[: 1 + takes_article]:
                begins = texts.starting_with(name)
                bonus[begins] = np.maximum(bonus[begins], _BEGINS)
                bonus[texts.equal_to(name)] = _EXACT_NAME
        return bonus


def _or_left_out(cost: Float32s, word: str) -> Float32s:
    return np.minimum(cost, np.float32(_LEFT_OUT)) if word in _OPTIONAL else cost


def _names(text: str) -> Iterator[tuple[str, bool]]:
    """The names in a title and its subtitles, each with whether it begins with an article."""
    for name, has_article in title_names(text):
        yield name, has_article
        for subtitle in _SUBTITLE.split(name)[1:]:
            yield from title_names(subtitle)


def _canonical(name_words: list[str]) -> str:
    """A name with all numbers in digits: "rocky ii" is "rocky 2"."""
    return " ".join(NUMBERS[word][0] if word in NUMBERS else word for word in name_words)


class _SortedTexts:
    """Texts in alphabetical order, each with its movies, for searches by prefix."""

    def __init__(self, texts: list[tuple[str, int]]) -> None:
        self._texts: list[str] = []
        start: list[int] = []
        texts = sorted(texts)
        for place, (text, _) in enumerate(texts):
            if not self._texts or text != self._texts[-1]:
                self._texts.append(text)
                start.append(place)
        self._start = [*start, len(texts)]
        self._movies = np.asarray([item for _, item in texts], np.int32)

    def with_other_start(self, word: str) -> list[str]:
        """All texts that differ from `word` in the first letter only, or have one more before it."""
        return [*self._by_end.get(word[1:], ()), *self._by_end.get(word, ())]

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """The texts by all but their first letter; made for the first search that finds nothing else."""
        ends: dict[str, list[str]] = defaultdict(list)
        for text in self._texts:
            ends[text[1:]].append(text)
        return ends

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
