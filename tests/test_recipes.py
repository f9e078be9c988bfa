"""The recipes of benchmarks/trained say how its bundles were trained."""

from pathlib import Path

import pytest
from benchmarks.trained.recipe import HERE, stages

from rmas.configfile import load_config
from rmas.systemfile import load_spec
from rmas.train.config import OuterConfig
from rmas.train.resolve import resolved

NO_MATTER = {"constants", "dev_batch", "keep_heads"}  # where the same lies now; what no result depends on
RECIPES = sorted(file.parent.name for file in HERE.glob("*/recipe.toml") if (file.parent / "links").is_dir())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_what_was_trained(name: str) -> None:
    for bundle, arguments in stages(name, HERE / name):
        system, config, *rest = (word for word in arguments if word not in ("--config", "--out", "--set"))
        says = resolved(load_config(OuterConfig, Path(config), rest[1:]), load_spec(system))
        was = load_config(OuterConfig, bundle / "config.toml", [])
        differs = {key for key, value in vars(says).items() if value != vars(was)[key]}
        assert differs <= NO_MATTER, f"{bundle}: {differs}"
