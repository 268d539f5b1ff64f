"""The commands `predict`, `recommend`, `search`, `similar` and `explain`."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from reelgraph.cli import console, progress
from reelgraph.cli.help import GroupedCommand, examples
from reelgraph.cli.options import JSON, PATH, reading, settings_of
from reelgraph.config import DataConfig
from reelgraph.data import pair_files
from reelgraph.data.vocabulary import describe_overlap
from reelgraph.engines.engine import check_name
from reelgraph.errors import ConfigError
from reelgraph.files import new_file
from reelgraph.recommend import lists, output
from reelgraph.recommend.matching import Matched, match_file
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.recommend.results import GroupSuggestions, Suggestions
from reelgraph.recommend.together import STRATEGIES, GroupSuggestion, Strategy

RATINGS = click.option(
    "--ratings", type=PATH, help="a new user: a file with movieId and rating, or a Letterboxd, IMDb or Trakt export"
)
LENGTH = click.option(
    "-k", "--length", "k", type=int, default=10, show_default=True, help="number of entries in a list"
)
VISITOR = settings_of(DataConfig, only=("columns", "missing", "strict"))
DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
PART = 4096  # users listed between two updates of the progress bar


@click.command(epilog=examples("reelgraph predict model pairs.csv --interval 0.9 --out predictions.csv"))
@click.argument("model", type=PATH)
@click.argument("pairs_file", metavar="PAIRS", type=PATH)
@click.option("--out", type=PATH, required=True, help="CSV file for the pairs with their predictions")
@click.option("--interval", "level", type=float, help="add columns low and high that hold this share of ratings: 0.9")
@reading()
def predict(config: DataConfig, model: Path, pairs_file: Path, out: Path, level: float | None) -> None:
    """Predict the stars of the users and movies in PAIRS.

    PAIRS has columns userId and movieId. Its rows are written to --out in the same order, with a column prediction.
    """
    predictor = open_model(model).predictor
    predictor.require_stars("predict")
    rows = progress.noted(pair_files.read_pairs(pairs_file, config))
    users, movies = (predictor.users, rows.user_ids), (predictor.items, rows.movie_ids)
    progress.note(describe_overlap(str(pairs_file), users, movies))
    predictions = {"prediction": predictor.predict(rows.user_ids, rows.movie_ids, rows.timestamps)}
    if level is not None:
        bounds = predictor.interval(rows.user_ids, rows.movie_ids, level, rows.timestamps)
        predictions["low"], predictions["high"] = bounds
    with new_file(out) as temporary:
        output.write_predictions(rows, predictions, temporary)
    progress.note(f"{out}: {len(rows.user_ids):,} predictions")


@click.command(
    cls=GroupedCommand,
    epilog=examples(
        "reelgraph recommend model --user 1",
        "reelgraph recommend model --user 1 --genre Drama --year 1990-1999 --length 20",
        "reelgraph recommend model --ratings my-ratings.csv",
        "reelgraph recommend model --ratings letterboxd.zip --only-watchlist",
        "reelgraph recommend model --together 1,33,my-ratings.csv --strategy fair",
        "reelgraph recommend model --all --out lists.parquet",
    ),
)
@click.argument("model", type=PATH)
@click.option("--user", help="a user of the training data")
@RATINGS
@click.option("--only-watchlist", is_flag=True, help="only movies on the watchlist of the export in --ratings")
@click.option(
    "--together",
    multiple=True,
    help="one list for several people: users, and files as for --ratings, separated by commas or each with --together",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="fair",
    show_default=True,
    help="for --together: fair along the list, the best average, or nobody against it",
)
@click.option("--all", "everyone", is_flag=True, help="lists for all users, written to --out as Parquet")
@LENGTH
@click.option("--genre", help="only movies of this genre")
@click.option("--year", help="only movies of this year or range of years, such as 1990-1999")
@click.option(
    "--order",
    type=click.Choice(lists.ORDERS),
    help="best match, predicted stars, less-known movies, or a surprise; blend and rank are without damping of popular "
    "movies [best]",
)
@click.option("--diversity", type=float, help="how much the movies of a list should differ, 0 to 1")
@click.option("--calibration", type=float, default=0.0, help="how far its genres follow those of the ratings, 0 to 1")
@click.option("--popularity-penalty", type=float, default=0.0, help="how much to demote popular movies, 0 or more")
@click.option("--min-ratings", type=int, default=0, help="only movies with at least this many training ratings")
@click.option("--allow", type=PATH, help="only movies in this file with a column movieId")
@click.option("--deny", type=PATH, help="no movies in this file with a column movieId")
@click.option("--include-seen", is_flag=True, help="include movies that the user has rated")
@JSON
@click.option("--out", type=PATH, help="JSON file; with --all a Parquet file, or with Spark a directory")
@click.option("--engine", default="duckdb", show_default=True, help="for --all: duckdb (this process) or Spark")
@click.option("--partitions", type=click.IntRange(min=1), help="parts of --all with Spark [default: 1 per 4,096 users]")
@click.option(
    "--stage", type=DIRECTORY, help="directory for unfinished parts that Spark's workers share [beside --out]"
)
@click.option("--resume", is_flag=True, help="keep the finished parts of an interrupted --all with Spark")
@VISITOR
def recommend(
    config: DataConfig, model: Path, user: str | None, ratings: Path | None, everyone: bool, as_json: bool,
    out: Path | None, engine: str, partitions: int | None, stage: Path | None, resume: bool, only_watchlist: bool,
    together: tuple[str, ...], strategy: Strategy, **choice: Any,
) -> None:  # fmt: skip
    """Recommend movies to a user, a new user, a group or everybody.

    Name them with one of --user, --ratings (of somebody whom the model does not know), --together and --all.
    """
    if (user is not None) + (ratings is not None) + everyone + bool(together) != 1:
        problem = "recommend: expected one of --user, --ratings, --together and --all, found none or several"
        raise ConfigError(problem, "give one")
    if only_watchlist and ratings is None:
        raise ConfigError("--only-watchlist: expected --ratings with an export, found none", "name the export")
    check_name(engine)
    by_spark = everyone and engine != "duckdb"
    if not by_spark and (engine != "duckdb" or partitions or stage or resume):
        raise ConfigError(
            "recommend: expected --engine, --partitions, --stage and --resume only with --all and Spark",
            "add --all and --engine spark, or remove them",
        )
    choice |= _movie_lists(choice["allow"], choice["deny"], config)
    if everyone:
        if out is None:
            raise ConfigError("recommend --all: expected --out FILE.parquet, found none", "name a file for the lists")
        if by_spark:
            _write_by_spark(model, out, choice, engine=engine, partitions=partitions, stage=stage, resume=resume)
        else:
            _write_all(model, out, choice)
        return
    recommender = open_model(model)
    suggestions: Suggestions | GroupSuggestions
    if together:
        suggestions = _for_group(recommender, together, config, strategy, choice)
        title = f"For {', '.join(opinion.name for opinion in suggestions[0].opinions)}" if suggestions else "Together"
    elif ratings is not None:
        suggestions = _for_visitor(recommender, ratings, config, only_watchlist, choice)
        title = f"For the ratings in {ratings.name}"
    else:
        suggestions, title = recommender.recommend(user=user, **choice), f"For user {user}"
    _print_or_write(title, suggestions, out, as_json)


def _print_or_write(title: str, suggestions: Suggestions | GroupSuggestions, out: Path | None, as_json: bool) -> None:
    lines: Sequence[lists.Suggestion | GroupSuggestion] = suggestions
    rows = [line.to_json(rank) for rank, line in enumerate(lines, 1)]
    if out is not None:
        with new_file(out) as temporary:
            temporary.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        progress.note(f"{out}: {len(suggestions)} movies")
    elif as_json:
        console.show_json(rows)
    else:
        console.show_list(title, suggestions)
        if suggestions:
            progress.note(suggestions.order_reason)


def _movie_lists(allow: Path | None, deny: Path | None, config: DataConfig) -> dict[str, Any]:
    """The movies in the files of --allow and --deny, as options of a list."""
    lists = {
        name: progress.noted(pair_files.read_movies(path, config)).movie_ids
        for name, path in (("allow", allow), ("deny", deny))
        if path is not None
    }
    return {"allow": None, "deny": ()} | lists


def _match(recommender: Recommender, path: Path, config: DataConfig) -> Matched:
    """Match the films of a file to the model's; those that it does not know are reported."""
    matched = match_file(recommender, path, config, progress.note)
    for line in matched.report():
        progress.note(f"{path.name}: {line}")
    return matched


def _for_visitor(
    recommender: Recommender, path: Path, config: DataConfig, only_watchlist: bool, choice: dict[str, Any]
) -> Suggestions:
    """The list for the person of an export or ratings file, without what they have watched."""
    matched = _match(recommender, path, config)
    if not choice["include_seen"]:
        choice["deny"] = [*choice["deny"], *matched.watched]
    if only_watchlist:
        if not matched.watchlist:
            raise ConfigError(
                f"--only-watchlist: expected a watchlist with movies of the model in {path}, found none",
                "give the zip of a whole export, or its watchlist file",
            )
        allow = choice["allow"]
        choice["allow"] = [movie for movie in matched.watchlist if allow is None or movie in allow]
    return recommender.recommend(ratings=matched.ratings, **choice)


def _for_group(
    recommender: Recommender, names: Sequence[str], config: DataConfig, strategy: Strategy, choice: dict[str, Any]
) -> GroupSuggestions:
    """One list for users of the model and the people of exports or ratings files, without what they have watched."""
    members: dict[str, object] = {}
    for name in (part for text in names for part in ([text] if Path(text).is_file() else text.split(","))):
        if name in recommender.users:
            members[name] = name
        elif Path(name).is_file():
            matched = _match(recommender, Path(name), config)
            if not choice["include_seen"]:
                choice["deny"] = [*choice["deny"], *matched.watched]
            members[Path(name).stem if Path(name).stem not in members else name] = matched.ratings
        else:
            problem = f"--together: expected a user of the training data or a file with ratings, found {name!r}"
            raise ConfigError(problem, "correct it")
    return recommender.recommend_together(members, strategy=strategy, **choice)


def _write_all(model: Path, out: Path, choice: dict[str, Any]) -> None:
    """Write lists for all users to a file."""
    recommender = open_model(model, lists_only=True)
    count = len(recommender.users)

    def tables(show: Callable[[str, int, int], None]) -> Iterator[pa.Table]:
        for start in range(0, count, PART):
            yield from recommender.recommend_all(slice(start, start + PART), **choice)
            show("lists", min(start + PART, count), count)

    with progress.progress("users") as show:
        rows = output.write_lists(tables(show), recommender.id_types, out)
    progress.note(f"{out}: {rows:,} rows for {count:,} users")


def _write_by_spark(model: Path, out: Path, choice: dict[str, Any], **where: Any) -> None:
    """Write lists for all users to a directory with Spark."""
    from reelgraph.spark.lists import Batch, write_lists  # noqa: PLC0415

    with progress.job_progress() as report:
        result = write_lists(Batch(model, lists.Choice(**choice), out, **where), report.note, report.jobs)
    progress.note(f"{out}: {result.rows:,} rows for {result.users:,} users in {result.parts:,} parts")


@click.command(epilog=examples("reelgraph search model star wars 1977", "reelgraph search model godfather 2 --json"))
@click.argument("model", type=PATH)
@click.argument("title", nargs=-1, required=True)
@LENGTH
@JSON
def search(model: Path, title: tuple[str, ...], k: int, as_json: bool) -> None:
    """Find movies by TITLE as people type it, and print their ids.

    The best match comes first. A year may stand among the words.
    """
    text = " ".join(title)
    rows = [asdict(movie) for movie in open_model(model).search(text, k)]
    if as_json:
        console.show_json(rows)
    else:
        console.show_movies(f"Movies that match {text!r}", rows)


@click.command(epilog=examples("reelgraph ask model", "reelgraph ask model --ratings my-ratings.csv --length 20"))
@click.argument("model", type=PATH)
@RATINGS
@LENGTH
@JSON
@VISITOR
def ask(config: DataConfig, model: Path, ratings: Path | None, k: int, as_json: bool) -> None:
    """List the movies whose ratings would say most about a new user.

    Without --ratings, the user has rated nothing so far.
    """
    recommender = open_model(model)
    matched = None if ratings is None else _match(recommender, ratings, config)
    denied = () if matched is None else matched.watched
    rows = [asdict(movie) for movie in recommender.ask(None if matched is None else matched.ratings, k, deny=denied)]
    if as_json:
        console.show_json(rows)
    else:
        console.show_movies("Movies to rate next", rows)


@click.command(
    epilog=examples(
        "reelgraph similar model --movie 260",
        "reelgraph similar model --movie 'toy story' --length 20",
        "reelgraph similar model --user 1",
    )
)
@click.argument("model", type=PATH)
@click.option("--movie", help="a movie of the training data: its id or its title")
@click.option("--user", help="a user of the training data")
@LENGTH
@JSON
def similar(model: Path, movie: str | None, user: str | None, k: int, as_json: bool) -> None:
    """List the movies like a --movie, or the users like a --user."""
    if (movie is None) == (user is None):
        given = "none" if movie is None else "both"
        raise ConfigError(f"similar: expected one of --movie and --user, found {given}", "give one")
    recommender = open_model(model)
    if movie is not None:
        item = recommender.titles.movie(movie)
        similar = recommender.similar(recommender.items.id(item), k)
        rows = [asdict(other) | {"similarity": value} for other, value in similar]
        title = f"Movies similar to {recommender.catalogue.movie(item)}"
    else:
        rows = [{"user_id": other, "similarity": value} for other, value in recommender.similar_users(user, k)]
        title = f"Users with a taste similar to user {user}"
    if as_json:
        console.show_json(rows)
    else:
        console.show_similar(title, rows)


@click.command(
    epilog=examples(
        "reelgraph explain model --user 1 --movie 260 --plot why.svg",
        "reelgraph explain model --ratings my-ratings.csv --movie 'toy story'",
    )
)
@click.argument("model", type=PATH)
@click.option("--user", help="a user of the training data")
@RATINGS
@click.option("--movie", required=True, help="the movie to explain: its id or its title")
@click.option("--plot", type=PATH, help="draw the most important ratings as a graph: a .svg or .png file")
@JSON
@VISITOR
def explain(
    config: DataConfig, model: Path, user: str | None, ratings: Path | None, movie: str, plot: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Explain a prediction for a --movie and a --user or --ratings."""
    if (user is None) == (ratings is None):
        given = "none" if user is None else "both"
        raise ConfigError(f"explain: expected one of --user and --ratings, found {given}", "give one")
    recommender = open_model(model)
    visitor = None if ratings is None else _match(recommender, ratings, config).ratings
    item = recommender.items.id(recommender.titles.movie(movie))
    explanation = recommender.explain(user, movie=item, ratings=visitor)
    if plot is not None:
        from reelgraph.recommend import explain_plot  # noqa: PLC0415

        explain_plot.draw(explanation, plot)
        progress.note(f"{plot}: graph of the most important ratings")
    if as_json:
        console.show_json(explanation.to_json())
    else:
        console.show_explanation(explanation)
