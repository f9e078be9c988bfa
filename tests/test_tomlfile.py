"""Settings files: their errors name the file, the line and the key."""

from pathlib import Path

import pytest

from rmas.errors import ConfigError, PatternError
from rmas.tomlfile import TomlFile, read_toml

TEXT = """# a comment
rounds = 3
pairs = [
  ["a", "b"],
  ["b", "a"],
]

[roles.planner]
backbone = "x"
inner = "mlp"
[roles.planner.tasks.code]
system = "s"
[roles.critic]
backbone = "y"
inner = "linear"
[edges."a->b"]
outer = "mlp"
"""


def write(folder: Path, text: str = TEXT) -> TomlFile:
    path = folder / "file.toml"
    path.write_text(text, encoding="utf-8")
    return read_toml(path, ConfigError)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("rounds", 2),
        ("pairs[1]", 3),
        ("roles.planner", 8),
        ("roles.planner.inner", 10),
        ("roles.critic", 13),
        ("roles.critic.inner", 15),
        ("roles.planner.tasks.code", 11),
        ("roles.planner.tasks.code.system", 12),
        ("edges.a->b.outer", 17),
    ],
)
def test_an_error_points_at_the_line_of_its_key(tmp_path: Path, key: str, line: int) -> None:
    assert str(write(tmp_path).fail(key, "no.")) == f"{tmp_path}/file.toml:{line}: {key}: no."


def test_an_error_about_a_key_that_is_not_written_points_at_its_parent(tmp_path: Path) -> None:
    assert f"{tmp_path}/file.toml:13: roles.critic.dtype: no." == str(write(tmp_path).fail("roles.critic.dtype", "no."))


def test_an_error_about_a_key_without_a_written_parent_names_no_line(tmp_path: Path) -> None:
    assert str(write(tmp_path).fail("tau", "no.")) == f"{tmp_path}/file.toml: tau: no."


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(ConfigError, match=r"file\.toml:2: rounds: unknown key 'rounds' .*Did you mean 'round'\?"):
        file.only(file.table, ("round", "pairs", "edges", "roles"))


def test_a_value_in_the_place_of_a_table_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "roles = 3\n")
    with pytest.raises(ConfigError, match=r"file\.toml:1: roles: expected a table, got 3"):
        file.only(file.table["roles"], ("planner",), prefix="roles.")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PatternError, match=r"^.*nothing\.toml: no such file\. Check the path\.$"):
        read_toml(tmp_path / "nothing.toml", PatternError)


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path, ConfigError)


def test_text_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_bytes(b'name = "\xff"\n')
    with pytest.raises(ConfigError, match=r"file\.toml: cannot be read .*utf-8"):
        read_toml(tmp_path / "file.toml", ConfigError)


def test_a_toml_mistake_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"file\.toml: not valid TOML: .*line 2"):
        write(tmp_path, "rounds = 3\nedges = [1 2]\n")
