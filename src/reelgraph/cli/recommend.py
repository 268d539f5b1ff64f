"""The commands that ask a model: lists, similar movies and users, reasons; results on stdout, all else on stderr."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from reelgraph.cli import console, progress
from reelgraph.cli.options import COLUMNS, PATH
from reelgraph.data import pair_files
from reelgraph.engines.engine import check_name
from reelgraph.errors import ConfigError
from reelgraph.files import new_file
from reelgraph.recommend import lists, output
from reelgraph.recommend.recommender import open_model


@click.command()
@click.argument("model", type=PATH)
@click.argument("pairs_file", metavar="PAIRS", type=PATH)
@click.option("--out", type=PATH, required=True, help="CSV file for the pairs with their predictions")
@click.option("--interval", "level", type=float, help="add low and high, which hold this share of ratings: 0.9, ...")
@COLUMNS
def predict(model: Path, pairs_file: Path, out: Path, level: float | None, columns: dict[str, str] | None) -> None:
    """Add a `prediction` column to the userId, movieId rows of PAIRS; their order is kept."""
    predictor = open_model(model).predictor
    rows = pair_files.read_pairs(pairs_file, columns or {})
    which = rows.user_ids, rows.movie_ids
    found = {"prediction": predictor.predict(*which, rows.timestamps)}
    if level is not None:
        found["low"], found["high"] = predictor.interval(*which, level, rows.timestamps)
    with new_file(out) as temporary:
        output.write_predictions(rows, found, temporary)
    progress.note(f"{out}: {len(rows.user_ids):,} predictions")


DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)

PART = 4096  # users whose lists are made before the bar moves


@click.command()
@click.argument("model", type=PATH)
@click.option("--user", help="a user of the training data")
@click.option("--ratings", type=PATH, help="a visitor's ratings: a file with movieId and rating")
@click.option("--all", "everyone", is_flag=True, help="every user's list, to --out as Parquet")
@click.option("-k", type=int, default=10, show_default=True, help="length of a list")
@click.option("--genre", help="only movies of this genre")
@click.option("--year", help="only movies of a year or of years such as 1990-1999")
@click.option("--order", type=click.Choice(lists.ORDERS), help="by ranking head, by predicted stars, or by both")
@click.option("--diversity", type=float, help="0 to 1: how much the movies of a list should differ")
@click.option("--popularity-penalty", type=float, default=0.0, help="0 or more: how much less the popular should count")
@click.option("--min-ratings", type=int, default=0, help="only movies with as many training ratings")
@click.option("--allow", type=PATH, help="only movies of this file: a column movieId")
@click.option("--deny", type=PATH, help="no movie of this file: a column movieId")
@click.option("--include-seen", is_flag=True, help="also movies that were rated already")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
@click.option("--out", type=PATH, help="where the lists go: JSON; with --all Parquet, of Spark a directory")
@click.option("--engine", default="duckdb", show_default=True, help="who makes --all: duckdb (this process) or Spark")
@click.option("--partitions", type=click.IntRange(min=1), help="parts that Spark makes --all in [one per 4,096 users]")
@click.option(
    "--stage", type=DIRECTORY, help="where unfinished parts go, shared by all workers of Spark [beside --out]"
)
@click.option("--resume", is_flag=True, help="keep the parts that an interrupted --all has finished")
def recommend(
    model: Path, user: str | None, ratings: Path | None, everyone: bool, as_json: bool, out: Path | None, engine: str,
    partitions: int | None, stage: Path | None, resume: bool, **how: Any,
) -> None:  # fmt: skip
    """The best movies for a --user, for a visitor's --ratings, or for --all users."""
    if (user is not None) + (ratings is not None) + everyone != 1:
        raise ConfigError("recommend: expected one of --user, --ratings and --all, found none or several", "give one")
    check_name(engine)
    by_spark = everyone and engine != "duckdb"
    if not by_spark and (engine != "duckdb" or partitions or stage or resume):
        raise ConfigError(
            "recommend: expected --engine, --partitions, --stage and --resume for --all by Spark, found other lists",
            "add --all and --engine spark, or leave them out",
        )
    how["allow"] = None if how["allow"] is None else pair_files.read_movies(how["allow"])
    how["deny"] = () if how["deny"] is None else pair_files.read_movies(how["deny"])
    if everyone:
        if out is None:
            raise ConfigError("recommend --all: expected --out FILE.parquet, found none", "name a file for the lists")
        if by_spark:
            _write_by_spark(model, out, how, engine=engine, partitions=partitions, stage=stage, resume=resume)
        else:
            _write_all(model, out, how)
        return
    recommender = open_model(model)
    if ratings is not None:
        suggestions = recommender.recommend(ratings=pair_files.read_visitor(ratings), **how)
        title = f"For the visitor of {ratings}"
    else:
        suggestions, title = recommender.recommend(user, **how), f"For user {user}"
    text = json.dumps([line.to_json(rank) for rank, line in enumerate(suggestions, 1)], indent=2, ensure_ascii=False)
    if out is not None:
        with new_file(out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        progress.note(f"{out}: {len(suggestions)} movies")
    elif as_json:
        click.echo(text)
    else:
        console.show_list(title, suggestions)


def _write_all(model: Path, out: Path, how: dict[str, Any]) -> None:
    """Everyone's lists to a file, some users at a time."""
    recommender = open_model(model, lists_only=True)
    count = len(recommender.users)

    def made(show: Callable[[str, int, int], None]) -> Iterator[pa.Table]:
        for start in range(0, count, PART):
            yield from recommender.recommend_all(slice(start, start + PART), **how)
            show("lists", min(start + PART, count), count)

    with progress.progress("users") as show:
        rows = output.write_lists(made(show), recommender.id_types, out)
    progress.note(f"{out}: {rows:,} rows for {count:,} users")


def _write_by_spark(model: Path, out: Path, how: dict[str, Any], **where: Any) -> None:
    """Everyone's lists to a directory, by Spark."""
    from reelgraph.spark.lists import Batch, write_lists  # noqa: PLC0415

    with progress.job_progress() as shown:
        done = write_lists(Batch(model, lists.Choice(**how), out, **where), shown.note, shown.jobs)
    progress.note(f"{out}: {done.rows:,} rows for {done.users:,} users in {done.parts:,} parts")


@click.command()
@click.argument("model", type=PATH)
@click.option("--movie", help="a movie of the training data")
@click.option("--user", help="a user of the training data, for users of similar taste")
@click.option("-k", type=int, default=10, show_default=True, help="length of the list")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
def similar(model: Path, movie: str | None, user: str | None, k: int, as_json: bool) -> None:
    """Movies like a --movie, or users of a taste like a --user's."""
    if (movie is None) == (user is None):
        found = "none" if movie is None else "both"
        raise ConfigError(f"similar: expected one of --movie and --user, found {found}", "give one")
    recommender = open_model(model)
    if movie is not None:
        rows = [asdict(other) | {"similarity": value} for other, value in recommender.similar(movie, k)]
        title = f"Movies like {recommender.catalogue.movie(recommender.items.index(movie))}"
    else:
        rows = [{"user_id": other, "similarity": value} for other, value in recommender.similar_users(user, k)]
        title = f"Users of a taste like that of user {user}"
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        console.show_similar(title, rows)


@click.command()
@click.argument("model", type=PATH)
@click.option("--user", help="a user of the training data")
@click.option("--ratings", type=PATH, help="a visitor's ratings: a file with movieId and rating")
@click.option("--movie", required=True, help="the movie whose prediction to explain")
@click.option("--plot", type=PATH, help="picture of the small graph behind it: a .svg or .png file")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of text")
def explain(
    model: Path, user: str | None, ratings: Path | None, movie: str, plot: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Why MODEL predicts what it does of a --movie, for a --user or a visitor's --ratings."""
    if (user is None) == (ratings is None):
        number = "none" if user is None else "both"
        raise ConfigError(f"explain: expected one of --user and --ratings, found {number}", "give one")
    given = None if ratings is None else pair_files.read_visitor(ratings)
    found = open_model(model).explain(user, movie=movie, ratings=given)
    if plot is not None:
        from reelgraph.recommend import explain_plot  # noqa: PLC0415

        explain_plot.draw(found, plot)
        progress.note(f"{plot}: the ratings that matter most")
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        console.show_explanation(found)
