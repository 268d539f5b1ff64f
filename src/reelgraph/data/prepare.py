"""From raw rows to checked, indexed and split ratings; written once against the PySpark DataFrame API.

`engine` decides who runs it. Between the passes the rows go through Parquet files in a temporary directory, which keeps
the plans short and lets either engine start each pass from disk.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from reelgraph import __version__
from reelgraph.atomic import MANIFEST, new_directory
from reelgraph.config import DataConfig
from reelgraph.data import checks, tables
from reelgraph.data.dataset import KIND, VERSION, describe_splits
from reelgraph.data.engine import Engine, check_name, open_engine
from reelgraph.data.sources import CANONICAL, Source, Staged, stage_ratings
from reelgraph.data.splits import assign_splits
from reelgraph.errors import ConfigError, DataError

DataFrame = Any  # pyspark.sql.DataFrame or sqlframe's, which share no base class
IDS = {"user": "userId", "item": "movieId"}
RAW = ("userId", "movieId", "rating", "timestamp", "raw")


def prepare(source: Source, config: DataConfig, out: Path, report: Callable[[str], None]) -> Path:
    """Prepare ratings: check, refuse, resolve duplicates, index, split, write.

    Args:
        source: the files.
        config: data settings.
        out: the Prepared directory to write; an earlier one there is replaced.
        report: takes a line of text at a time on what was inferred and refused.

    Returns:
        `out`.

    Raises:
        DataError: if the files cannot be used, or nothing is left of them, or `strict` and a row was refused.
        ConfigError: if a setting does not fit the data.
        OutputError: if `out` cannot be written.
    """
    check_name(config.engine)
    if config.split == "given" and source.test is None:
        raise ConfigError("--split given: expected test ratings, found none", "name them with --test")
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as directory, new_directory(out, KIND) as target:
        stage = Path(directory)
        staged = _stage(source, config, stage)
        for file in staged:
            report(str(file))
        with open_engine(config.engine) as engine:
            run = _Run(engine, stage, target)
            named = {CANONICAL[role] for file in staged for role in file.columns}
            facts = _judge(run, named, config, report)
            _index(run)
            _dedupe(run)
            _split(run, config)
            facts["reasons"] = _write_rejects(run, config, report)
        manifest = _manifest(target, staged, config, facts, source)
        (target / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


@dataclass(frozen=True)
class _Run:
    """An engine at work between two directories."""

    engine: Engine
    stage: Path
    target: Path

    def read(self, name: str) -> DataFrame:
        return self.engine.spark.read.parquet(str(self.stage / name))

    def keep(self, rows: DataFrame, name: str) -> None:
        rows.write.mode("overwrite").parquet(str(self.stage / name))

    def write(self, rows: DataFrame, name: str) -> None:
        rows.write.mode("overwrite").parquet(str(self.target / name))


def _stage(source: Source, config: DataConfig, stage: Path) -> list[Staged]:
    """Copy every input into Parquet of one form."""
    staged = [stage_ratings(source.ratings, config.columns, stage / "train.parquet")]
    if source.test is not None:
        staged.append(stage_ratings(source.test, config.columns, stage / "test.parquet"))
    for role, path, read in (("item", source.items, tables.read_items), ("user", source.users, tables.read_users)):
        if path is not None:
            pq.write_table(read(path), stage / f"{role}_side.parquet")
    return staged


def _judge(run: _Run, named: set[str], config: DataConfig, report: Callable[[str], None]) -> dict[str, Any]:
    """Type every cell and give every row that cannot be used its reason; keeps `judged`."""
    f = run.engine.functions
    rows = run.read("train.parquet").withColumn("part", f.lit("train"))
    if (run.stage / "test.parquet").exists():
        rows = rows.unionByName(run.read("test.parquet").withColumn("part", f.lit("test")))
    run.keep(checks.with_reason(f, checks.typed(f, rows)), "typed")
    typed = run.read("typed")
    columns = checks.missing_counts(f, typed)
    for name, missing in columns.items():
        kinds = [f"{count:,} {kind}" for kind, count in (("null", missing["null"]), ("NaN", missing["nan"])) if count]
        if kinds and name in named:
            report(f"{name}: {' and '.join(kinds)}")
    scale = checks.infer_scale(f, typed.where(f.col("reason").isNull()), config.scale)
    if scale is not None:
        report(str(scale))
        outside = (f.col("value") < scale.low) | (f.col("value") > scale.high)
        typed = typed.withColumn(
            "reason", f.when(f.col("reason").isNull() & outside, f.lit(scale.refusal)).otherwise(f.col("reason"))
        )
    run.keep(typed, "judged")
    checks.check_enough(run.read("judged"), f)
    assert scale is not None
    return {"columns": columns, "scale": scale.to_json()}


def _index(run: _Run) -> None:
    """Give every id an index and the ratings their indices; writes `users` and `items`, keeps `indexed`.

    Indices follow the ids' MD5, numbered bucket by bucket: no sort passes through a single partition.
    """
    f, spark, window = run.engine.functions, run.engine.spark, run.engine.window
    good = run.read("judged").where(f.col("reason").isNull())
    for role, identity in IDS.items():
        index = f"{role}_index"
        ids = good.select(identity)
        side = (run.stage / f"{role}_side.parquet").exists()
        if side:
            ids = ids.unionByName(run.read(f"{role}_side.parquet").select(identity))
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
        table = vocabulary
        if side:
            table = vocabulary.join(run.read(f"{role}_side.parquet"), on=identity, how="left")
            others = [name for name in table.columns if name not in {index, identity}]
            table = table.select(index, identity, *others)
        run.write(table.orderBy(index), f"{role}s.parquet")
        good = good.join(vocabulary, on=identity)
    run.keep(
        good.select("part", "file", "row", "user_index", "item_index", *IDS.values(), "value", "seconds"), "indexed"
    )


def _cumulative(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    starts, total = [], 0
    for bucket in sorted(sizes):
        starts.append((bucket, total))
        total += int(sizes[bucket])
    return starts


def _dedupe(run: _Run) -> None:
    """Keep the newest rating of a user and movie, and none in training that the test file has; keeps `deduped`."""
    f, window = run.engine.functions, run.engine.window
    rows = run.read("indexed")
    newest = window.partitionBy("part", "user_index", "item_index").orderBy(
        f.coalesce(f.col("seconds"), f.lit(-(2**62))).desc(), f.col("row").desc()
    )
    rows = rows.withColumn("age", f.row_number().over(newest))
    reason = f.when(f.col("age") > 1, f.lit("duplicate: a newer rating of the same user and movie is kept"))
    if (run.stage / "test.parquet").exists():
        pair = window.partitionBy("user_index", "item_index")
        tested = f.max(f.when(f.col("part") == f.lit("test"), f.lit(1)).otherwise(f.lit(0))).over(pair)
        rows = rows.withColumn("tested", tested)
        in_test = (f.col("tested") == 1) & (f.col("part") == f.lit("train"))
        reason = reason.when(in_test, f.lit("also in the test file: kept there, not in training"))
    run.keep(rows.withColumn("reason", reason), "deduped")


def _split(run: _Run, config: DataConfig) -> None:
    """Give every rating its split and write `ratings`, sorted by user and movie."""
    f = run.engine.functions
    rows = run.read("deduped").where(f.col("reason").isNull())
    rows = assign_splits(run.engine, rows, config)
    columns = [
        f.col("user_index"), f.col("item_index"), f.col("value").cast("float").alias("rating"),
        f.col("seconds").alias("timestamp"), f.col("split"),
    ]  # fmt: skip
    run.write(rows.select(*columns).orderBy("user_index", "item_index"), "ratings.parquet")


def _write_rejects(run: _Run, config: DataConfig, report: Callable[[str], None]) -> dict[str, int]:
    """Write the refused rows as they stood and sum them up."""
    f = run.engine.functions
    judged = run.read("judged")
    wanted = ["file", "row", "userId", "movieId", "rating_text", "time_text", "raw", "reason"]
    refused = judged.where(f.col("reason").isNotNull()).select(*wanted)
    later = run.read("deduped").where(f.col("reason").isNotNull()).select("file", "row", "reason", "part")
    texts = judged.select("part", "row", "userId", "movieId", "rating_text", "time_text", "raw")
    refused = refused.unionByName(later.join(texts, on=["part", "row"]).select(*wanted))
    names = {"rating_text": "rating", "time_text": "timestamp"}
    refused = refused.select(*(f.col(name).alias(names.get(name, name)) for name in wanted))
    run.write(refused.orderBy("file", "row"), "rejects.parquet")
    rejects = pq.read_table(run.target / "rejects.parquet").to_pylist()
    reasons: dict[str, int] = {}
    for row in rejects:
        if row["reason"] not in reasons:
            reasons[row["reason"]] = sum(other["reason"] == row["reason"] for other in rejects)
            shown = row["raw"] or ",".join(str(row[name]) for name in RAW[:4] if row[name] is not None)
            where = f"first {row['file']} row {row['row']:,}: {shown}"
            count = reasons[row["reason"]]
            report(f"refused {count:,} row{'s' if count > 1 else ''}: {row['reason']} ({where})")
    if rejects and config.strict:
        first = rejects[0]
        raise DataError(
            f"{first['file']}: expected no row to be refused (--strict), found {len(rejects):,}, the first in row "
            f"{first['row']:,}: {first['reason']}",
            "mend the rows, or run without --strict",
        )
    return reasons


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
