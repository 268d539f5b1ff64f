"""Settings: validation, files and command-line options."""

from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel, ValidationError

from reelgraph.cli.main import commands
from reelgraph.cli.options import read_settings
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (TrainConfig, "dims", 3),
        (TrainConfig, "dim", 0),
        (TrainConfig, "dim", 1025),
        (TrainConfig, "hide", 0.0),
        (TrainConfig, "hide", 1.0),
        (TrainConfig, "dropout", 1.0),
        (TrainConfig, "huber_delta", 0.0),
        (TrainConfig, "l2", -1e-9),
        (TrainConfig, "learning_rate", 0.0),
        (TrainConfig, "max_steps", 0),
        (TrainConfig, "eval_every", 0),
        (TrainConfig, "patience", 0),
        (TrainConfig, "seed", -1),
        (TrainConfig, "seed", 2**63),
        (TrainConfig, "model", "svd"),
        (DataConfig, "separator", ","),
        (DataConfig, "split", "half"),
        (DataConfig, "valid_share", 1.0),
        (DataConfig, "test_share", -0.1),
        (DataConfig, "last", 0),
        (DataConfig, "scale", (5, 1)),
        (DataConfig, "scale", (1, 1)),
        (DataConfig, "scale", (0, float("inf"))),
        (DataConfig, "scale", (float("nan"), 5)),
    ],
)
def test_invalid_values_are_refused_by_name(config: type[BaseModel], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^setting {name}: .*found"):
        config(**{name: value})


def test_settings_are_frozen() -> None:
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.dim = 3  # type: ignore[misc]


def test_rates_depend_on_the_number_of_ratings_unless_given() -> None:
    assert TrainConfig().rates(80_000) == pytest.approx((4.1e-4, 0.01, 100, 300, 20, 32))
    assert TrainConfig().rates(160_000) == pytest.approx((4.1e-4 / 2**0.83, 0.01, 100, 300, 20, 32))
    assert TrainConfig(l2=0.0).rates(32_000_000) == pytest.approx((0, 0.01 / 4, 400, 400, 10, 32))
    assert [TrainConfig().rates(number).dim for number in (299_999, 300_000, 1_000_000, 1_000_001)] == [32, 64, 64, 32]
    assert TrainConfig(dim=32).rates(500_000).dim == TrainConfig(model="gcn").rates(500_000).dim == 32
    given = TrainConfig(l2=0.3, learning_rate=0.5, decay_steps=0, max_steps=7, patience=3)
    assert tuple(given.rates(32_000_000)) == (0.3, 0.5, 0, 7, 3, 32)
    assert tuple(TrainConfig(model="gcn").rates(32_000_000)) == (0, 0.01, 0, 800, 20, 32)


def test_gcn_has_its_own_defaults() -> None:
    gcn, default = TrainConfig(model="gcn"), TrainConfig()
    assert (gcn.decay_steps, gcn.average, gcn.eval_every, gcn.l2) == (0, 0, 1, 0)
    assert (default.decay_steps, default.average, default.eval_every, default.l2) == (None, 0.98, 10, None)
    assert TrainConfig(model="gcn", eval_every=7, l2=1e-3).eval_every == 7
    assert TrainConfig(model="gcn", eval_every=7, l2=1e-3).l2 == 1e-3


@pytest.mark.parametrize(("command", "configs"), [("train", (TrainConfig, DataConfig)), ("prepare", (DataConfig,))])
def test_every_setting_is_an_option_with_its_description_as_help(
    command: str, configs: tuple[type[BaseModel], ...]
) -> None:
    options = {option.name: option for option in commands.load(command).params}
    for config in configs:
        for name, field in config.model_fields.items():
            option = options[name]
            assert isinstance(option, click.Option)
            assert field.description
            assert (option.help or "").startswith(field.description)
            assert f"--{name.replace('_', '-')}" in option.opts


def from_file(folder: Path, text: str, config: type[BaseModel], **given: object) -> BaseModel:
    (folder / "s.toml").write_text(text, encoding="utf-8")
    return read_settings(config, folder / "s.toml", given)


def test_options_override_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    text = '[train]\ndim = 5\nmodel = "gcn"\n[data]\nscale = [1, 10]\ncolumns = { user = "who" }\n'
    train = from_file(tmp_path, text, TrainConfig, dim=3, patience=None)
    assert train == TrainConfig(model="gcn", dim=3)
    assert from_file(tmp_path, text, DataConfig) == DataConfig(scale=(1, 10), columns={"user": "who"})
    assert from_file(tmp_path, "", TrainConfig, refit=False) == TrainConfig(refit=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\ndims = 3\n", "setting dims: .*, found 3; the settings are model, seed, dim, "),
        ('[train]\ndim = "many"\n', "setting dim: .*, found 'many'"),
        ("[train]\ndim = 2.5\n", "setting dim: .*, found 2.5"),
        ("[fit]\ndim = 3\n", r"expected tables \[data\] and \[train\], found \[fit\]"),
        ("dim = 3\n", r"expected tables \[data\] and \[train\], found \[dim\]"),
        ("train = 3\n", r"expected a table \[train\], found 3"),
        ("[train\n", "expected a TOML file"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_file(tmp_path, text, TrainConfig)


def test_step_size_of_the_ranking_head_grows_with_the_number_of_ratings() -> None:
    small, large = (TrainConfig().for_ranking(number) for number in (80_000, 810_000))
    assert (small.learning_rate, small.decay_steps) == pytest.approx((0.02, 100))
    assert (large.learning_rate, large.decay_steps) == pytest.approx((0.03, 150), rel=0.01)
    assert small.l2 == pytest.approx(1e-4)
    assert large.l2 == pytest.approx(5.5e-6, rel=0.02)
    assert TrainConfig(rank_l2=0.5).for_ranking(810_000).l2 == 0.5
    assert (small.dim, large.dim, TrainConfig(rank_dim=9).for_ranking(810_000).dim) == (64, 128, 9)


@pytest.mark.parametrize(
    ("ratings", "length"),
    [
        (100, (300, 20, 200)),
        (1_000_000, (300, 20, 200)),
        (1_000_001, (400, 10, 100)),
    ],
)
def test_the_length_of_fit_and_refit_depends_on_the_number_of_ratings(
    ratings: int, length: tuple[int, int, int]
) -> None:
    rates, again = TrainConfig().rates(ratings), TrainConfig().refit_steps(200, ratings)
    assert (rates.max_steps, rates.patience, again) == length
    assert TrainConfig(model="gcn").refit_steps(200, ratings) == 100
