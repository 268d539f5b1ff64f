"""prepare(): check, index and split ratings on either engine."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelgraph._version import __version__
from reelgraph.config import DataConfig
from reelgraph.data import side_tables
from reelgraph.data.dataset import KIND, VERSION
from reelgraph.data.parquet_files import parts_of
from reelgraph.data.prepare import clean
from reelgraph.data.prepare.fingerprint import describe_splits
from reelgraph.data.prepare.passes import (
    DUPLICATE,
    IDS,
    REPEAT,
    ROW,
    TRAIN,
    DataFrame,
    assign_splits,
    check_table,
    drop_duplicates,
    index_again,
    parse_and_index,
)
from reelgraph.data.prepare.stage import Staged, stage_ratings
from reelgraph.data.rows import Malformed
from reelgraph.data.sources import CANONICAL, SAMPLE, Source
from reelgraph.data.stored_files import sha256_of
from reelgraph.engines.engine import Run, check_name, check_seen, check_whole, open_engine
from reelgraph.engines.spark_jobs import Observer
from reelgraph.errors import ConfigError, DataError
from reelgraph.files import MANIFEST, new_directory

RAW = ("userId", "movieId", "rating", "timestamp", "raw")


def prepare(
    source: Source, config: DataConfig, out: Path, report: Callable[[str], None], observe: Observer | None = None
) -> Path:
    """Check, index and split ratings and write them as a prepared directory.

    Args:
        source: the files.
        config: data settings.
        out: the directory to write; an earlier prepared directory there is replaced.
        report: called with each line on what was inferred and refused.
        observe: called with the progress of Spark jobs, from another thread.

    Returns:
        `out`.

    Raises:
        DataError: if the files cannot be used, no row is left, or `strict` is set and a row was refused.
        ConfigError: if a setting does not fit the data.
    """
    check_name(config.engine)
    if config.split == "given" and source.test is None:
        raise ConfigError("--split given: expected test ratings, found none", "name them with --test")
    stages = tempfile.TemporaryDirectory(prefix="reelgraph-", dir=config.stage)
    with stages as directory, new_directory(out, KIND) as target:
        stage = Path(directory)
        staged, side_rejects = _stage(source, config, stage, report)
        for file in staged:
            report(str(file))
        with open_engine(config.engine, observe) as engine:
            check_seen(engine, stage)
            run = Run(engine, stage, target)
            named = {CANONICAL[role] for file in staged for role in file.columns}
            checked, facts = _check(run, named, config, staged, report)
            good = index_again(run, checked)
            for role, table in (("item", source.items), ("user", source.users)):
                if table is not None and (matches := check_table(run, role, table.name)) is not None:
                    report(matches)
            _split(run, drop_duplicates(run, good, REPEAT if config.implicit else DUPLICATE), config)
            if config.implicit:
                facts["implicit"] = _count(run, facts["highest"], report)
            _write_rejects(run, checked, staged)
        _add_rejects(target / "rejects.parquet", side_rejects)
        facts["side_rejected"] = len(side_rejects)
        facts["reasons"] = _sum_up(pq.read_table(target / "rejects.parquet"), config, report)
        manifest = _manifest(target, staged, config, facts, source)
        check_whole(stage, manifest["counts"]["rows"])
        (target / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


def _stage(
    source: Source, config: DataConfig, stage: Path, report: Callable[[str], None]
) -> tuple[list[Staged], list[dict[str, Any]]]:
    """Copy every input into Parquet files of one schema; returns the files and the malformed rows of side tables."""
    files = {"train": source.ratings} | ({"test": source.test} if source.test is not None else {})
    names = {part: path.absolute().name for part, path in files.items()}  # "." has a name only as an absolute path
    for name in names.values():
        name.encode()  # Results hold it: fail before reading, not while writing them.
    same_name = len(set(names.values())) < len(files)
    staged = [
        stage_ratings(
            path,
            config.columns,
            stage / f"{part}.parquet",
            str(path) if same_name else names[part],
            matrix=config.matrix,
            implicit=config.implicit,
        )
        for part, path in files.items()
    ]
    rejects: list[dict[str, Any]] = []
    for role, path, read, columns in (
        ("item", source.items, side_tables.read_items, config.item_columns),
        ("user", source.users, side_tables.read_users, config.user_columns),
    ):
        if path is not None:
            refused: list[Malformed] = []
            side = read(path, refused.append, columns=columns, rating_column=config.columns.get(role))
            rejects += _as_rejects(path, refused)
            if role == "item" and source.links is not None:
                refused = []
                side = side_tables.add_links(side, source.links, refused.append, report)
                rejects += _as_rejects(source.links, refused)
            pq.write_table(side, stage / f"{role}_side.parquet")
            pq.write_table(side.select([IDS[role]]), stage / f"{role}_side_ids.parquet")
    return staged, rejects


def _as_rejects(path: Path, refused: list[Malformed]) -> list[dict[str, Any]]:
    return [{"file": path.name, "row": row.row, "raw": row.text, "reason": row.reason} for row in refused]


def _check(
    run: Run, named: set[str], config: DataConfig, staged: list[Staged], report: Callable[[str], None]
) -> tuple[DataFrame, dict[str, Any]]:
    """Parse the cells and give unusable rows a reason; returns the rows and facts for the manifest."""
    f = run.engine.functions
    checked = parse_and_index(run, config, [file.time_unit for file in staged])
    checked = clean.refuse_codes(f, checked, config.missing)
    columns = clean.missing_counts(f, run.staged, checked)
    for name, missing in columns.items():
        kinds = [f"{count:,} {kind}" for kind, count in (("null", missing["null"]), ("NaN", missing["nan"])) if count]
        if kinds and name in named:
            report(f"{name}: {' and '.join(kinds)}")
    if config.implicit:
        clean.check_enough(checked, f, implicit=True)
        highest = clean.totals(checked.where(f.col("reason").isNull()), f.max("value").alias("highest"))["highest"]
        _report_lost_times(run, checked, config, staged, report)
        unit = clean.Scale(0.0, 1.0, 1.0, inferred=True).to_json()
        return checked.withColumn("value", f.lit(1.0)), {"columns": columns, "scale": unit, "highest": highest}
    scale = clean.infer_scale(f, checked.where(f.col("reason").isNull()), config.scale)
    if scale is not None:
        report(str(scale))
        codes = clean.suspected_codes(f, checked.where(f.col("reason").isNull()), scale)
        if codes and config.strict:
            raise DataError(f"{staged[0].name}: expected ratings (--strict), found {codes[0]}", codes[0].remedy)
        for code in codes:
            report(f"{code}; {code.remedy}")
        outside = f.col("reason").isNull() & ((f.col("value") < scale.low) | (f.col("value") > scale.high))
        checked = checked.withColumn("reason", f.when(outside, f.lit(scale.refusal)).otherwise(f.col("reason")))
    clean.check_enough(checked, f)
    assert scale is not None
    _report_lost_times(run, checked, config, staged, report)
    return checked, {"columns": columns, "scale": scale.to_json()}


def _count(run: Run, highest: float, report: Callable[[str], None]) -> dict[str, Any]:
    """Report how views, likes or counts are taken; returns their entry in the manifest."""
    f = run.engine.functions
    repeats = int(run.read("repeated").where(f.col("reason") == f.lit(REPEAT)).count())
    found = [f"counts up to {highest:g}"] * (highest > 1) + [f"{repeats:,} repeated pairs"] * (repeats > 0)
    report(f"views, likes or counts ({', '.join(found) or 'each pair once'}): every pair counts as 1 (binary)")
    return {"counts": "binary", "highest": float(highest), "repeats": repeats}


def _report_lost_times(
    run: Run, checked: DataFrame, config: DataConfig, staged: list[Staged], report: Callable[[str], None]
) -> None:
    """Report the ratings that are kept without their unreadable time."""
    f = run.engine.functions
    lost = checked.where(f.col("unreadable_time") & f.col("reason").isNull())
    counts = {
        row["part"]: row
        for row in lost.groupBy("part").agg(f.count(f.lit(1)).alias("rows"), f.min("row").alias("first")).collect()
    }
    for part, row in sorted(counts.items()):
        cells = run.staged.where((f.col("part") == f.lit(part)) & (f.col("row") == f.lit(int(row["first"]))))
        cell = cells.select("time_text", "number").collect()[0]
        found = cell["number"] if cell["time_text"] is None else cell["time_text"]
        name = staged[part].name
        problem = f"{clean.NO_TIME} in {row['rows']:,} rows (first {name} row {row['first']:,}: {found!s})"
        if config.strict:
            raise DataError(f"{name}: {problem} (--strict)", clean.TIME_REMEDY)
        report(f"{problem}; these ratings are kept without a time")


def _split(run: Run, rows: DataFrame, config: DataConfig) -> None:
    """Assign splits and write `ratings`, sorted by user and movie."""
    f = run.engine.functions
    rows = assign_splits(run.engine, rows, config)
    columns = [
        f.col("user_index"), f.col("item_index"), f.col("value").cast("float").alias("rating"),
        f.col("seconds").alias("timestamp"), f.col("split"),
    ]  # fmt: skip
    run.write(rows.select(*columns).orderBy("user_index", "item_index"), "ratings.parquet")


def _write_rejects(run: Run, checked: DataFrame, staged: list[Staged]) -> None:
    """Write the refused rows with their original cells and reasons."""
    f = run.engine.functions
    refused = checked.where(f.col("reason").isNotNull()).select(*ROW, "reason")
    refused = refused.unionByName(run.read("repeated").where(f.col("reason") != f.lit(REPEAT)))
    names = f.when(f.col("part") == f.lit(TRAIN), f.lit(staged[0].name)).otherwise(f.lit(staged[-1].name))
    times = f.coalesce(f.col("time_text"), f.coalesce(f.col("number"), f.col("moment")).cast("string"))
    rows = run.staged.withColumn("timestamp", times).withColumn("file", names)
    rows = refused.join(rows, on=list(ROW)).select("file", "row", *RAW, "reason")
    run.write(rows.orderBy("file", "row"), "rejects.parquet")


def _add_rejects(path: Path, rows: list[dict[str, Any]]) -> None:
    """Add the malformed rows of side tables to the refused ratings."""
    if not rows:
        return
    rejects = pq.read_table(path)
    rejects = pa.concat_tables([rejects, pa.Table.from_pylist(rows, schema=rejects.schema)])
    if path.is_dir():
        shutil.rmtree(path)
    pq.write_table(rejects.sort_by([("file", "ascending"), ("row", "ascending")]), path)


def _sum_up(rejects: pa.Table, config: DataConfig, report: Callable[[str], None]) -> dict[str, int]:
    """Count the refused rows by reason and report each reason with its first row."""
    counts = {pair["values"]: pair["counts"] for pair in rejects["reason"].value_counts().to_pylist()}
    for reason, count in counts.items():
        first = rejects.slice(pc.index(rejects["reason"], reason).as_py(), 1).to_pylist()[0]
        shown = first["raw"] or ",".join(first[name] for name in RAW[:4] if first[name] is not None)
        where = f"first {first['file']} row {first['row']:,}: {shown}"
        report(f"refused {count:,} row{'s' if count > 1 else ''}: {reason} ({where})")
    if config.strict:
        for reason in clean.EXPECTED:
            rejects = rejects.filter(pc.invert(pc.starts_with(rejects["reason"], reason)))
    if rejects.num_rows and config.strict:
        first = rejects.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"{first['file']}: expected no row to be refused (--strict), found {rejects.num_rows:,}, the first in row "
            f"{first['row']:,}: {first['reason']}",
            "correct the rows, or run without --strict",
        )
    return counts


def _manifest(
    target: Path, staged: list[Staged], config: DataConfig, facts: dict[str, Any], source: Source
) -> dict[str, Any]:
    splits = describe_splits(target)
    reasons, rejected = facts["reasons"], sum(facts["reasons"].values()) - facts["side_rejected"]
    split = {"kind": config.split, "seed": config.split_seed, "valid": config.valid_share, "test": config.test_share}
    implicit = {} if "implicit" not in facts else {"implicit": facts["implicit"]}
    repeats = facts["implicit"]["repeats"] if implicit else 0
    counts = splits["counts"] | {"rows": splits["counts"]["ratings"] + rejected + repeats, "rejected": rejected}
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
        **implicit,
        "split": split | {"fingerprints": splits["fingerprints"]},
        "source": {"files": [file.to_json() for file in staged], "id_types": dict(staged[0].id_types)},
        "side": {side: path and path.name for side, path in (("items", source.items), ("users", source.users))},
        "settings": config.model_dump(mode="json", include=config.model_fields_set - {"engine", "stage"}),
        "inputs": _inputs(source, staged),
    }


def _inputs(source: Source, staged: list[Staged]) -> dict[str, Any]:
    """Path and checksum of every input by its name in `Source`; files of the bundled sample have no path."""
    sums = {"ratings": staged[0].sha256, "test": staged[-1].sha256}
    paths = {field.name: getattr(source, field.name) for field in fields(source)}
    return {
        name: {
            "path": None if path.parent == SAMPLE else str(path.absolute()),
            "sha256": sums.get(name) or sha256_of(parts_of(path)),
        }
        for name, path in paths.items()
        if path is not None
    }
