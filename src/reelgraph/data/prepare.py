"""From raw rows to checked, indexed and split ratings; written once against the PySpark DataFrame API.

`engine` decides who runs it. Between the passes the rows go through Parquet files in a temporary directory, which keeps
the plans short and lets either engine start each pass from disk.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph import __version__
from reelgraph.atomic import MANIFEST, new_directory
from reelgraph.config import DataConfig
from reelgraph.data import checks, tables
from reelgraph.data.dataset import KIND, VERSION, describe_splits
from reelgraph.data.engine import Run, check_name, check_seen, check_whole, open_engine
from reelgraph.data.sources import CANONICAL, Source, Staged, stage_ratings
from reelgraph.data.spark_jobs import Observer
from reelgraph.data.splits import assign_splits
from reelgraph.errors import ConfigError, DataError

DataFrame = Any  # pyspark.sql.DataFrame or sqlframe's, which share no base class
IDS = {"user": "userId", "item": "movieId"}
RAW = ("userId", "movieId", "rating", "timestamp", "raw")
PAIR = ("part", "user_index", "item_index")
ROW = ("part", "row")
DUPLICATE = "duplicate: a newer rating of the same user and movie is kept"
ALSO_IN_TEST = "also in the test file: kept there, not in training"


def prepare(
    source: Source,
    config: DataConfig,
    out: Path,
    report: Callable[[str], None],
    observe: Observer | None = None,
) -> Path:
    """Prepare ratings: check, refuse, resolve duplicates, index, split, write.

    Args:
        source: the files.
        config: data settings.
        out: the Prepared directory to write; an earlier one there is replaced.
        report: takes a line of text at a time on what was inferred and refused.
        observe: is told how Spark's jobs get on, from another thread.

    Returns:
        `out`.

    Raises:
        DataError: if the files cannot be used, or nothing is left of them, or `strict` and a row was refused.
        ConfigError: if a setting does not fit the data.
        OutputError: if `out` cannot be written.
        SetupError: if the engine is not there.
        EngineError: if a job of the engine fails, or rows are lost on its way.
    """
    check_name(config.engine)
    if config.split == "given" and source.test is None:
        raise ConfigError("--split given: expected test ratings, found none", "name them with --test")
    stages = tempfile.TemporaryDirectory(prefix="reelgraph-", dir=config.stage)
    with stages as directory, new_directory(out, KIND) as target:
        stage = Path(directory)
        staged = _stage(source, config, stage)
        for file in staged:
            report(str(file))
        with open_engine(config.engine, observe) as engine:
            check_seen(engine, stage)
            run = Run(engine, stage, target)
            named = {CANONICAL[role] for file in staged for role in file.columns}
            judged, facts = _judge(run, named, config, report)
            _index(run, judged)
            _split(run, _dedupe(run), config)
            _write_rejects(run, judged)
        facts["reasons"] = _sum_up(pq.read_table(target / "rejects.parquet"), config, report)
        manifest = _manifest(target, staged, config, facts, source)
        check_whole(stage, manifest["counts"]["rows"])
        (target / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


def _stage(source: Source, config: DataConfig, stage: Path) -> list[Staged]:
    """Copy every input into Parquet of one form."""
    files = {"train": source.ratings} | ({"test": source.test} if source.test is not None else {})
    alike = len({path.name for path in files.values()}) < len(files)
    staged = [
        stage_ratings(path, config.columns, stage / f"{part}.parquet", str(path) if alike else path.name)
        for part, path in files.items()
    ]
    for role, path, read in (("item", source.items, tables.read_items), ("user", source.users, tables.read_users)):
        if path is not None:
            side = read(path)
            pq.write_table(side, stage / f"{role}_side.parquet")
            pq.write_table(side.select([IDS[role]]), stage / f"{role}_side_ids.parquet")
    return staged


def _judge(
    run: Run, named: set[str], config: DataConfig, report: Callable[[str], None]
) -> tuple[DataFrame, dict[str, Any]]:
    """Type every cell and give every row that cannot be used its reason; returns the rows and what was found.

    The raw text stays in the staged files, where `_write_rejects` finds it again: few rows need it.
    """
    f = run.engine.functions
    rows = checks.typed(f, run.staged())
    run.keep(rows.select(*ROW, *IDS.values(), "value", "seconds", "reason"), "typed")
    judged = run.read("typed")
    columns = checks.missing_counts(f, run.staged(), judged)
    for name, missing in columns.items():
        kinds = [f"{count:,} {kind}" for kind, count in (("null", missing["null"]), ("NaN", missing["nan"])) if count]
        if kinds and name in named:
            report(f"{name}: {' and '.join(kinds)}")
    scale = checks.infer_scale(f, judged.where(f.col("reason").isNull()), config.scale)
    if scale is not None:
        report(str(scale))
        outside = f.col("reason").isNull() & ((f.col("value") < scale.low) | (f.col("value") > scale.high))
        judged = judged.withColumn("reason", f.when(outside, f.lit(scale.refusal)).otherwise(f.col("reason")))
    checks.check_enough(judged, f)
    assert scale is not None
    return judged, {"columns": columns, "scale": scale.to_json()}


def _index(run: Run, judged: DataFrame) -> None:
    """Give every id an index and the ratings their indices; writes `users` and `items`, keeps `indexed`.

    Indices follow the ids' MD5, numbered bucket by bucket: no sort passes through a single partition.
    """
    f, spark, window = run.engine.functions, run.engine.spark, run.engine.window
    good = judged.where(f.col("reason").isNull())
    for role, identity in IDS.items():
        index = f"{role}_index"
        ids = good.select(identity)
        if (run.stage / f"{role}_side_ids.parquet").exists():
            ids = ids.unionByName(run.read(f"{role}_side_ids.parquet"))
        ids = ids.distinct().withColumn("digest", f.md5(f.col(identity)))
        ids = ids.withColumn("bucket", f.substring(f.col("digest"), 1, 2))
        within = window.partitionBy("bucket").orderBy(f.col("digest"), f.col(identity))
        run.keep(ids.withColumn("place", f.row_number().over(within)), f"{role}_ids")
        ids = run.read(f"{role}_ids")
        counted = ids.groupBy("bucket").agg(f.count(f.lit(1)).alias("size"))
        sizes = {row["bucket"]: row["size"] for row in counted.collect()}
        starts = spark.createDataFrame(_cumulative(sizes), ["bucket", "start"])
        number = (f.col("start") + f.col("place") - f.lit(1)).cast("int").alias(index)
        run.keep(ids.join(starts, on="bucket").select(number, f.col(identity)), f"{role}_index")
        vocabulary = run.read(f"{role}_index")
        _write_nodes(run, role)
        good = good.join(vocabulary, on=identity)
    run.keep(good.select(*PAIR, "row", *IDS.values(), "value", "seconds"), "indexed")


def _write_nodes(run: Run, role: str) -> None:
    """Write `users` or `items` in index order; the side columns, of whatever names, join outside of the engine."""
    index, identity = f"{role}_index", IDS[role]
    table = pq.read_table(run.stage / index).sort_by(index)
    if (run.stage / f"{role}_side.parquet").exists():
        side = pq.read_table(run.stage / f"{role}_side.parquet")
        place = pc.index_in(table[identity], side[identity])
        for name in side.column_names:
            if name not in {index, identity}:
                table = table.append_column(name, side[name].take(place))
    pq.write_table(table, run.target / f"{role}s.parquet")


def _cumulative(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    starts, total = [], 0
    for bucket in sorted(sizes):
        starts.append((bucket, total))
        total += int(sizes[bucket])
    return starts


def _dedupe(run: Run) -> str:
    """Keep the newest rating of a user and movie, and none in training that the test file has; returns the rows' name.

    Only pairs that do occur again are sorted by age: most data has few or none, and counting is cheap.
    """
    f, window = run.engine.functions, run.engine.window
    rows = run.read("indexed")
    again = rows.groupBy(*PAIR).agg(f.count(f.lit(1)).alias("times")).where(f.col("times") > 1).drop("times")
    newest = window.partitionBy(*PAIR).orderBy(
        f.coalesce(f.col("seconds"), f.lit(-(2**62))).desc(), f.col("row").desc()
    )
    older = rows.join(again, on=list(PAIR)).withColumn("age", f.row_number().over(newest)).where(f.col("age") > 1)
    run.keep(older.select(*ROW, f.lit(DUPLICATE).alias("reason")), "repeated")
    name = _drop(run, "indexed", "repeated")
    if (run.stage / "test.parquet").exists():
        rows = run.read(name)
        tested = rows.where(f.col("part") == f.lit("test")).select(*PAIR[1:])
        both = rows.where(f.col("part") == f.lit("train")).join(tested, on=list(PAIR[1:]))
        run.keep(both.select(*ROW, f.lit(ALSO_IN_TEST).alias("reason")), "tested")
        name = _drop(run, name, "tested")
    return name


def _drop(run: Run, name: str, refused: str) -> str:
    """The name of the rows without the refused ones, which are kept anew only if there are any."""
    losers = run.read(refused).select(*ROW)
    if not losers.count():
        return name
    run.keep(run.read(name).join(losers, on=list(ROW), how="left_anti"), f"{name}_without_{refused}")
    return f"{name}_without_{refused}"


def _split(run: Run, name: str, config: DataConfig) -> None:
    """Give every rating its split and write `ratings`, sorted by user and movie."""
    f = run.engine.functions
    rows = assign_splits(run.engine, run.read(name), config)
    columns = [
        f.col("user_index"), f.col("item_index"), f.col("value").cast("float").alias("rating"),
        f.col("seconds").alias("timestamp"), f.col("split"),
    ]  # fmt: skip
    run.write(rows.select(*columns).orderBy("user_index", "item_index"), "ratings.parquet")


def _write_rejects(run: Run, judged: DataFrame) -> None:
    """Write the refused rows as they stood, with their reasons."""
    wrong = judged.where(run.engine.functions.col("reason").isNotNull()).select(*ROW, "reason")
    refused = wrong.unionByName(run.read("repeated"))
    if (run.stage / "tested").exists():
        refused = refused.unionByName(run.read("tested"))
    rows = refused.join(run.staged(), on=list(ROW)).select("file", "row", *RAW, "reason")
    run.write(rows.orderBy("file", "row"), "rejects.parquet")


def _sum_up(rejects: pa.Table, config: DataConfig, report: Callable[[str], None]) -> dict[str, int]:
    """How many rows each reason refused; reports each with its first row."""
    counts = {pair["values"]: pair["counts"] for pair in rejects["reason"].value_counts().to_pylist()}
    for reason, count in counts.items():
        first = rejects.slice(pc.index(rejects["reason"], reason).as_py(), 1).to_pylist()[0]
        shown = first["raw"] or ",".join(first[name] for name in RAW[:4] if first[name] is not None)
        where = f"first {first['file']} row {first['row']:,}: {shown}"
        report(f"refused {count:,} row{'s' if count > 1 else ''}: {reason} ({where})")
    if rejects.num_rows and config.strict:
        first = rejects.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"{first['file']}: expected no row to be refused (--strict), found {rejects.num_rows:,}, the first in row "
            f"{first['row']:,}: {first['reason']}",
            "mend the rows, or run without --strict",
        )
    return counts


def _manifest(
    target: Path, staged: list[Staged], config: DataConfig, facts: dict[str, Any], source: Source
) -> dict[str, Any]:
    splits = describe_splits(target)
    reasons, rejected = facts["reasons"], sum(facts["reasons"].values())
    split = {"kind": config.split, "seed": config.split_seed, "valid": config.valid_share, "test": config.test_share}
    counts = splits["counts"] | {"rows": splits["counts"]["ratings"] + rejected, "rejected": rejected}
    if not counts["train"]:
        raise DataError(
            "split: expected some ratings to train on, found none", "choose smaller shares or another --split"
        )
    return {
        "kind": KIND,
        "version": VERSION,
        "reelgraph": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "engine": config.engine,
        "counts": counts,
        "columns": facts["columns"],
        "reasons": reasons,
        "scale": facts["scale"],
        "split": split | {"fingerprints": splits["fingerprints"]},
        "source": {"files": [file.to_json() for file in staged], "id_types": dict(staged[0].id_types)},
        "side": {side: path and path.name for side, path in (("items", source.items), ("users", source.users))},
    }
