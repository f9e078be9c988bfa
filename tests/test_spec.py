"""System files: defaults, overrides, and a clear line for every key that is wrong, before any weight is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from rmas.designs import LINKS, SOFT_TOKEN, STARTS
from rmas.errors import BackboneError, ConfigError, PatternError, PromptError, RmasError, unknown
from rmas.packs import PACKS
from rmas.pattern import Edge, load_pattern
from rmas.spec import SystemSpec
from rmas.system import load_system
from rmas.systemfile import known_systems, load_spec

ROLES = """[roles.expert]
backbone = "tiny:llama"
[roles.learner]
backbone = "tiny:qwen2"
"""
MINIMAL = 'pattern = "distillation"\n' + ROLES


def parse(folder: Path, text: str) -> SystemSpec:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return load_spec(str(folder / "mine.toml"))


def with_line(line: str) -> str:
    """The minimal system with one more top-level line, which is line 2."""
    return MINIMAL.replace("\n", f"\n{line}\n", 1)


def with_role_line(line: str) -> str:
    """The minimal system with one more line for the expert, which is line 4."""
    return MINIMAL.replace('"tiny:llama"\n', f'"tiny:llama"\n{line}\n')


def test_the_answerer_alone_keeps_wording_of_its_own_where_it_was_alone(tmp_path: Path) -> None:
    (tmp_path / "words.toml").write_text('[roles.solver]\nsystem = "s"\nsections = ["{question}"]\n', encoding="utf-8")
    text = 'pattern = "solo"\nprompts = "words.toml"\n[roles.solver]\nbackbone = "tiny:llama"\n'
    spec = parse(tmp_path, text)
    assert spec.alone().pack == spec.pack
    team = parse(tmp_path, with_line('prompts = "terse"'))
    assert (team.alone().pattern.name, team.alone().pack.name) == ("solo", "terse")


def test_the_answerer_alone_has_the_wording_that_stands_beside_its_team_s(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.mkdir()
    (words / "tasks.toml").write_text((PACKS / "native" / "tasks.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("distillation", "solo"):
        own = (PACKS / "terse" / f"{name}.toml").read_text(encoding="utf-8")
        (words / f"{name}.toml").write_text(own, encoding="utf-8")
    pack = parse(tmp_path, with_line('prompts = "words"')).alone().pack
    assert (pack.name, pack.path, pack.holders) == ("words", words / "solo.toml", {"solver": "learner"})
    (words / "solo.toml").unlink()
    assert parse(tmp_path, with_line('prompts = "words"')).alone().pack.name == "native"


def test_a_role_may_be_told_what_another_would_be(tmp_path: Path) -> None:
    text = with_line('team = ["pro", "con"]')
    spec = parse(tmp_path, text.replace('"tiny:llama"\n', '"tiny:llama"\ntold = "con"\n'))
    assert (spec.team, spec.pack.holders) == (("pro", "con"), {"expert": "con"})
    assert spec.alone().team == ("expert", "learner", "pro", "con")


@pytest.mark.parametrize("name", known_systems())
def test_a_shipped_system_reads(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert set(spec.outer) == set(spec.pattern.edges)
    assert set(spec.roles) == (set() if spec.solver == "echo" else set(spec.pattern.roles))


def test_the_defaults(tmp_path: Path) -> None:
    spec = parse(tmp_path, MINIMAL)
    assert (spec.name, spec.path, spec.pattern) == ("mine", tmp_path / "mine.toml", load_pattern("distillation"))
    assert (spec.pack.name, spec.solver, spec.start, spec.tau, spec.links) == ("native", "recursive", "align", 1, None)
    assert (spec.rounds, spec.latent_steps, spec.max_new_tokens, spec.message_tokens) == (3, 32, 256, 64)
    assert {role.inner for role in spec.roles.values()} == {"mlp_ln_res"} == set(spec.outer.values())
    assert {(role.device, role.dtype) for role in spec.roles.values()} == {("auto", "auto")}


def test_a_role_and_an_edge_may_differ_from_the_rest(tmp_path: Path) -> None:
    text = with_role_line('inner = "soft_token"\ndevice = "cpu"\ndtype = "float32"').replace(
        "\n", '\ninner = "linear"\nouter = "mlp"\n', 1
    )
    spec = parse(tmp_path, text + '[edges]\n"learner->expert" = { outer = "linear_res" }\n')
    assert (spec.roles["expert"].inner, spec.roles["learner"].inner) == ("soft_token", "linear")
    assert (spec.roles["expert"].device, spec.roles["expert"].dtype) == ("cpu", "float32")
    assert spec.outer == {Edge("expert", "learner"): "mlp", Edge("learner", "expert"): "linear_res"}


def test_a_roles_own_device_and_dtype_win_over_the_callers(tmp_path: Path) -> None:
    spec = parse(tmp_path, with_role_line('dtype = "float64"')).placed(device="cpu", dtype="bfloat16")
    assert {name: (role.device, role.dtype) for name, role in spec.roles.items()} == {
        "expert": ("cpu", "float64"),
        "learner": ("cpu", "bfloat16"),
    }


@pytest.mark.parametrize("design", LINKS)
def test_every_design_may_be_named_for_either_place(tmp_path: Path, design: str) -> None:
    spec = parse(tmp_path, with_line(f'inner = "{design}"\nouter = "{design}"'))
    assert spec.roles["expert"].inner == design == spec.outer[Edge("expert", "learner")]


@pytest.mark.parametrize("start", STARTS)
def test_every_start_may_be_named(tmp_path: Path, start: str) -> None:
    assert parse(tmp_path, with_line(f'start = "{start}"')).start == start


def test_links_are_found_beside_the_system_file(tmp_path: Path) -> None:
    assert parse(tmp_path, with_line('links = "links.safetensors"')).links == tmp_path / "links.safetensors"


def test_zero_latent_steps_are_legal(tmp_path: Path) -> None:
    assert parse(tmp_path, with_line("latent_steps = 0")).latent_steps == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rounds = 0", "rounds: expected a whole number of 1 or more, got 0."),
        ("rounds = -1", "rounds: expected a whole number of 1 or more, got -1."),
        ("rounds = 1.5", "rounds: expected a whole number of 1 or more, got 1.5."),
        ("rounds = true", "rounds: expected a whole number of 1 or more, got True."),
        ('rounds = "3"', "rounds: expected a whole number of 1 or more, got '3'."),
        ("latent_steps = -1", "latent_steps: expected a whole number of 0 or more, got -1."),
        ("max_new_tokens = 0", "max_new_tokens: expected a whole number of 1 or more, got 0."),
        ("message_tokens = 0", "message_tokens: expected a whole number of 1 or more, got 0."),
        ("halts = 1", "halts: expected true or false, got 1."),
        ("tau = 0", "tau: expected a number above 0, got 0."),
        ("tau = -0.5", "tau: expected a number above 0, got -0.5."),
        ("tau = nan", "tau: expected a number above 0, got nan."),
        ("tau = inf", "tau: expected a number above 0, got inf."),
        ("tau = true", "tau: expected a number above 0, got True."),
        ('tau = "warm"', "tau: expected a number above 0, got 'warm'."),
        ("links = 3", "links: expected a text, got 3."),
        ('team = "pro"', "team: expected a list of roles, got 'pro'."),
        ("prompts = 3", "prompts: expected a text, got 3."),
        ("solver = 3", "solver: expected a text, got 3."),
        ("start = 3", "start: expected a text, got 3."),
        ('start = "alin"', f"start: {unknown('start', 'alin', STARTS)}"),
        ('inner = "mlp_rez"', "inner: unknown inner link design 'mlp_rez'"),
        ('outer = "mlp_rez"', "outer: unknown outer link design 'mlp_rez'"),
        ("inner = 3", "inner: unknown inner link design '3'"),
        (f'outer = "{SOFT_TOKEN}"', "outer: unknown outer link design 'soft_token'"),
        ("edges = 3", "edges: expected a table, got 3."),
        ("round = 3", "round: unknown key 'round'"),
        ("latent_step = 3", "Did you mean 'latent_steps'?"),
    ],
)
def test_a_key_that_is_wrong_is_refused_with_file_line_and_value(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, with_line(line))
    assert str(caught.value).startswith(f"{tmp_path}/mine.toml:2: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('inner = "mlp_rez"', "roles.expert.inner: unknown inner link design 'mlp_rez'"),
        ('dtype = "float23"', "roles.expert.dtype: unknown dtype 'float23'"),
        ("dtype = 3", "roles.expert.dtype: expected a text, got 3."),
        ("device = 0", "roles.expert.device: expected a text, got 0."),
        ('told = "learnr"', "roles.expert.told: unknown role 'learnr' (have expert, learner). Did you mean 'learner'?"),
        ('backend = "x"', "Did you mean 'backbone'?"),
    ],
)
def test_a_roles_key_that_is_wrong_is_refused_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tmp_path, with_role_line(line))
    assert str(caught.value).startswith(f"{tmp_path}/mine.toml:4: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        (ROLES, ConfigError, "pattern: expected a text, got None"),
        ("pattern = 3\n", ConfigError, ":1: pattern: expected a text, got 3"),
        ('pattern = "destillation"\n', PatternError, "Did you mean 'distillation'?"),
        ('pattern = "missing.toml"\n', PatternError, "missing.toml: no such file"),
        (with_line('prompts = "nativ"'), PromptError, "Did you mean 'native'?"),
        ('pattern = "distillation"\n', ConfigError, "roles.expert: pattern 'distillation' needs this role. Add"),
        ('pattern = "distillation"\nroles = 3\n', ConfigError, ":2: roles: expected a table, got 3"),
        (MINIMAL + '[roles.lerner]\nbackbone = "x"\n', ConfigError, ":6: roles.lerner: unknown role 'lerner'"),
        (
            MINIMAL.replace('backbone = "tiny:qwen2"\n', ""),
            ConfigError,
            ":4: roles.learner: pattern 'distillation'",
        ),
        (MINIMAL.replace('"tiny:qwen2"', "3"), ConfigError, ":4: roles.learner: pattern 'distillation'"),
        (MINIMAL.replace("tiny:qwen2", "smolm2-135m"), BackboneError, ":5: roles.learner.backbone: unknown model"),
        (MINIMAL + '[edges]\n"expert->lerner" = {}\n', ConfigError, ":7: edges.expert->lerner: unknown key"),
        (
            MINIMAL + '[edges]\n"expert->learner" = 3\n',
            ConfigError,
            ":7: edges.expert->learner: expected a table",
        ),
        (MINIMAL + '[edges."expert->learner"]\nouter = "x"\n', ConfigError, ":7: edges.expert->learner.outer: unknown"),
        (MINIMAL + '[edges."expert->learner"]\ninner = "mlp"\n', ConfigError, "unknown key 'inner' (have outer)"),
        ("pattern = \n", ConfigError, "not valid TOML: "),
    ],
)
def test_a_system_file_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, error: type[RmasError], problem: str
) -> None:
    with pytest.raises(error) as caught:
        parse(tmp_path, text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"Did you mean 'smollm2-135m'\?"):
        parse(tmp_path, MINIMAL.replace("tiny:qwen2", "smolm2-135m"))


def test_an_unknown_tiny_family_is_refused(tmp_path: Path) -> None:
    spec = parse(tmp_path, MINIMAL.replace("tiny:qwen2", "tiny:qwen22"))
    with pytest.raises(BackboneError, match=r"unknown tiny family 'qwen22' .*Did you mean 'qwen2'\?"):
        load_system(str(spec.path), cache=tmp_path / "cache")


def test_an_unknown_system_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown system 'smoll' .*Did you mean 'smol'\?.* ends in \.toml or is a"):
        load_spec("smoll")


def test_a_missing_system_file_and_a_folder_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
        load_spec(str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match=r"system\.toml: no such file"):
        load_spec(str(tmp_path))


def test_a_folder_with_a_system_file_is_a_system_of_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "system.toml").write_text(MINIMAL, encoding="utf-8")
    assert load_spec(str(tmp_path / "bundle")).name == "bundle"


@pytest.mark.parametrize("role", ["eval", "train", "items", "training"])
def test_a_role_whose_name_torch_takes_is_refused_before_any_weight(tmp_path: Path, role: str) -> None:
    (tmp_path / "chat.toml").write_text(
        f'schedule = [["{role}"], ["solver"]]\nedges = [["{role}", "solver"]]\nanswerer = "solver"', encoding="utf-8"
    )
    words = "".join(f'[roles.{name}]\nsystem = "s"\nsections = [{{}}]\n' for name in (role, "solver"))
    (tmp_path / "words.toml").write_text(
        words.replace("{}", '"{question}"', 1).replace("{}", f'"{{question}}", "{{{role}}}"'), encoding="utf-8"
    )
    (tmp_path / "mine.toml").write_text(
        'pattern = "chat.toml"\nprompts = "words.toml"\n'
        f'[roles.{role}]\nbackbone = "tiny:llama"\n[roles.solver]\nbackbone = "tiny:llama"\n',
        encoding="utf-8",
    )
    with pytest.raises(PatternError, match=f"role '{role}' is a name that torch takes"):
        load_system(str(tmp_path / "mine.toml"), cache=tmp_path / "cache")


def test_an_unknown_design_is_refused_without_loading_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(with_line('outer = "mlp_rez"'), encoding="utf-8")
    script = (
        "import sys\nfrom rmas.errors import ConfigError\nfrom rmas.systemfile import load_spec\n"
        "try:\n    load_spec(sys.argv[1])\nexcept ConfigError:\n    sys.exit('torch' in sys.modules)\nsys.exit(2)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "mine.toml")], check=False)
    assert done.returncode == 0
