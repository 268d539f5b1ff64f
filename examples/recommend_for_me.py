"""Make a list from a file of your own stars: python examples/recommend_for_me.py MODEL mine.csv [GENRE].

The file has the columns `title` and `rating`, or is an export of Letterboxd, IMDb or Trakt. MODEL comes from
`reelgraph train --out MODEL`.
"""

import sys
from pathlib import Path

import reelgraph as rg
from reelgraph.recommend.matching import match_file


def main(model_directory: str, ratings_file: str, genre: str | None = None) -> None:
    """Print ten movies with predicted stars and what speaks for the first one."""
    model = rg.open(model_directory)
    films = match_file(model, Path(ratings_file))
    for line in films.report():
        print(line)
    suggestions = model.recommend(ratings=films.ratings, k=10, genre=genre, deny=films.watched)
    for place, suggestion in enumerate(suggestions, 1):
        print(f"{place:2}  {suggestion.prediction:.1f} stars  {suggestion.movie}")
    for line in model.explain(ratings=films.ratings, movie=suggestions[0].movie.movie_id).text():
        print(line)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except (rg.ReelgraphError, TypeError) as error:
        sys.exit(f"error: {error}")
