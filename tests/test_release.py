"""Released systems: convert, load and run equal the longhand; the way back is byte-equal; what is bad is one line."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cli_runner import refusal, rmas
from release_reference import Asked, released_run
from release_zoo import FORMS, TEAMS, Form, Repositories, inner_state, outer_state, write_json, write_release
from rmas.engine import LatentChannel, run
from rmas.errors import CheckpointError, ConfigError
from rmas.packs import load_pack
from rmas.pattern import Edge, load_pattern
from rmas.prompt import Question
from rmas.release import RELEASED, Recipe, convert, export
from rmas.release.layout import LinkFile, inner_file, outer_files
from rmas.release.table import ALIASES, KEYS, TYPES
from rmas.release.weights import read_link
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from zoo import EXACT, RELAXED, Recorder, assert_close, greedily

ASKED = Asked(text="Plan 3 steps: what is 30 + 12?")


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Repositories:
    """The light system, for tests that leave its files as they are."""
    return write_release(tmp_path_factory.mktemp("light"), "sequential-light", "by_task")


def converted(name: str, repositories: Repositories, out: Path, *, task: str | None = None, **options: Any) -> Path:
    recipe = Recipe(
        system=name,
        task=task,
        roles={role: str(path) for role, path in repositories.roles.items()},
        outer=str(repositories.outer),
        **options,
    )
    convert(recipe, out, cache=out.with_name("cache"))
    return out


def loaded(bundle: Path) -> System:
    """In float64, the links too."""
    system = load_system(str(bundle), cache=bundle.with_name("cache"), device="cpu", dtype="float64")
    return system.double()


def assert_runs_as_released(
    name: str, repositories: Repositories, bundle: Path, asked: Asked, task: str | None
) -> None:
    """Every message of every turn, and the answer's ids."""
    system, recorder = loaded(bundle), Recorder(LatentChannel(latent_steps=asked.latent_steps))
    question = Question(text=asked.text, kind="code" if asked.kind == "code" else "math", function=asked.function)
    with torch.inference_mode():
        end = run(system, [question], rounds=asked.rounds, channel=recorder, speak=greedily(asked.new_tokens))
    expected = released_run(name, repositories, asked, task=task)
    atol = RELAXED if any(family.name == "qwen3_5_text" for family in TEAMS[name].roles.values()) else EXACT
    assert len(recorder.carried) == len(expected.sent)
    for ours, (_, theirs) in zip(recorder.carried, expected.sent, strict=True):
        assert isinstance(ours, Tensor)
        assert_close(ours[0], theirs, atol)
    assert end.ids == [expected.ids]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RELEASED)
def test_a_converted_system_runs_as_the_longhand_does(name: str, form: Form, tmp_path: Path) -> None:
    repositories = write_release(tmp_path, name, form)
    before = repositories.files()
    task = "math" if form == "by_task" and not TEAMS[name].tasks else None
    bundle = converted(name, repositories, tmp_path / "bundle", task=task)
    assert_runs_as_released(name, repositories, bundle, ASKED, "math")
    assert repositories.files() == before


@pytest.mark.parametrize("function", ["", "total"])
def test_the_links_for_code_are_others_than_those_for_mathematics(
    light: Repositories, tmp_path: Path, function: str
) -> None:
    bundle = converted("sequential-light", light, tmp_path / "bundle", task="code")
    asked = ASKED._replace(kind="code", function=function)
    assert_runs_as_released("sequential-light", light, bundle, asked, "code")
    other = converted("sequential-light", light, tmp_path / "math")
    assert load_system(str(bundle), cache=tmp_path).digest() != load_system(str(other), cache=tmp_path).digest()


def test_the_table_names_each_edge_of_its_pattern_once() -> None:
    for name, released in RELEASED.items():
        spec_edges = {Edge(*pair) for pair in TEAMS[name].keys.values()}
        assert set(KEYS[released.pattern].values()) == spec_edges
        assert {key: tuple(edge) for key, edge in KEYS[released.pattern].items()} == dict(TEAMS[name].keys)
        assert list(released.roles) == list(TEAMS[name].roles)
        assert released.has_tasks == bool(TEAMS[name].tasks)


def test_converting_keeps_every_links_dtype_and_bytes(tmp_path: Path) -> None:
    repositories = write_release(tmp_path, "distillation", "flat")
    own = inner_state(48, seed=7, dtype=torch.float32)
    torch.save(own, repositories.roles["expert"] / "adapter(math).pt")
    bundle = converted("distillation", repositories, tmp_path / "bundle")
    tensors = load_file(bundle / "links.safetensors")
    assert torch.equal(tensors["inner.expert.pre_norm.weight"], own["pre_ln.weight"])
    assert tensors["inner.expert.proj1.weight"].dtype == torch.float32
    assert tensors["inner.learner.proj1.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RELEASED)
def test_there_and_back_gives_equal_tensors(name: str, form: Form, tmp_path: Path) -> None:
    repositories = write_release(tmp_path, name, form)
    task = "math" if form == "by_task" else None
    bundle = converted(name, repositories, tmp_path / "bundle", task=task)
    export(str(bundle), tmp_path / "back", task=task, cache=tmp_path / "cache")
    back = Repositories({role: tmp_path / "back" / role for role in TEAMS[name].roles}, tmp_path / "back/outer")
    links = "math" if TEAMS[name].tasks else None  # whose links these are
    for role, folder in repositories.roles.items():
        ours, theirs = inner_file(back.roles[role], task), inner_file(folder, links)
        assert_same_bytes(state_of(ours.path), state_of(theirs.path))
    ours_by_key, theirs_by_key = outer_files(back.outer, task), outer_files(repositories.outer, "math")
    assert ours_by_key.keys() == theirs_by_key.keys()
    for key, file in theirs_by_key.items():
        assert_same_bytes(state_of(ours_by_key[key].path), state_of(file.path))
    again = converted(name, back, tmp_path / "again", task=task)
    assert (again / "links.safetensors").read_bytes() == (bundle / "links.safetensors").read_bytes()


def state_of(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def assert_same_bytes(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(ours[name].view(torch.uint8), tensor.view(torch.uint8))


def test_what_went_back_runs_as_released_with_its_own_copies_of_the_models(light: Repositories, tmp_path: Path) -> None:
    bundle = converted("sequential-light", light, tmp_path / "bundle")
    result = rmas("convert", str(bundle), "--to-release", str(tmp_path / "back"), "--task", "math", cache=tmp_path)
    assert result.exit_code == 0
    back = Repositories({role: tmp_path / "back" / role for role in light.roles}, tmp_path / "back/outer")
    assert_runs_as_released("sequential-light", back, bundle, ASKED, "math")


def test_links_alone_go_back_without_models(light: Repositories, tmp_path: Path) -> None:
    bundle = converted("sequential-light", light, tmp_path / "bundle")
    result = rmas("convert", str(bundle), "--to-release", str(tmp_path / "back"), "--links-only", cache=tmp_path)
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert names == {"adapter.pt", "adapter_config.json", "outerlink_config.json"} | {
        f"{edge.source.title()}-{edge.target.title()}-Outerlink.pt" for edge in KEYS["sequential"].values()
    }


@pytest.mark.parametrize(
    ("files", "manifest", "expected"),
    [
        (["named.pt", "adapter(math).pt", "adapter.pt"], {"tasks": {"math": {"adapter.pt": "named.pt"}}}, "named.pt"),
        (["named.pt", "adapter(math).pt"], {"tasks": {"code": {"adapter.pt": "named.pt"}}}, "adapter(math).pt"),
        (["adapter(math).pt", "adapter.pt"], None, "adapter(math).pt"),
        (["adapter(code).pt", "adapter.pt"], None, "adapter.pt"),
    ],
)
def test_an_inner_link_is_looked_for_in_the_releases_order(
    files: list[str], manifest: dict[str, Any] | None, expected: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    if manifest is not None:
        write_json(tmp_path / "innerlink_config.json", manifest)
    assert inner_file(tmp_path, "math").path.name == expected


def longhand(type: str, w: dict[str, Tensor], x: Tensor, *, outer: bool) -> Tensor:
    """A link of any type of the release's trainer."""
    F = torch.nn.functional
    before, after = ("ln_source", "ln_target") if outer else ("pre_ln", "post_ln")
    y = x
    if f"{before}.weight" in w:
        y = F.layer_norm(y, y.shape[-1:], w[f"{before}.weight"], w[f"{before}.bias"])
    y = F.linear(y, w["proj1.weight"], w["proj1.bias"])
    if "proj2.weight" in w:
        y = F.linear(F.gelu(y), w["proj2.weight"], w["proj2.bias"])
    if "res" in type:
        y = y + (F.linear(x, w["residual_proj.weight"], w["residual_proj.bias"]) if outer else x)
    if f"{after}.weight" in w:
        y = F.layer_norm(y, y.shape[-1:], w[f"{after}.weight"], w[f"{after}.bias"])
    return y


def state_for(type: str, d_in: int, d_out: int, *, outer: bool) -> dict[str, Tensor]:
    """The tensors of a type of the release's trainer, from those of its fullest type."""
    state = outer_state(d_in, d_out, seed=3) if outer else inner_state(d_in, seed=3)
    state = {name: tensor.double() for name, tensor in state.items()}
    has_norms, is_deep, keeps_input = "ln" in type, "linear" not in type, "res" in type
    kept = {"proj1"} | ({"proj2"} if is_deep else set()) | ({"residual_proj"} if keeps_input and outer else set())
    kept |= ({"pre_ln", "post_ln", "ln_source", "ln_target"}) if has_norms and "linear" not in type else set()
    state = {name: tensor for name, tensor in state.items() if name.partition(".")[0] in kept}
    if outer and ("linear" in type or "_ln_" not in type):  # the hidden width is the receiver's
        state["proj1.weight"], state["proj1.bias"] = state["proj1.weight"][:d_out], state["proj1.bias"][:d_out]
        if "proj2.weight" in state:
            state["proj2.weight"] = state["proj2.weight"][:, :d_out].contiguous()
    return {name: tensor.contiguous() for name, tensor in state.items()}


ALL_TYPES = [(place, type) for place, types in TYPES.items() for type in types]


@pytest.mark.parametrize(("place", "type"), ALL_TYPES)
def test_every_type_of_the_trainer_becomes_a_link_that_computes_the_same(place: str, type: str, tmp_path: Path) -> None:
    from rmas.link import Link

    outer, d_out = place == "outer", 6 if place == "outer" else 4
    state = state_for(type, 4, d_out, outer=outer)
    torch.save(state, tmp_path / "link.pt")
    found = read_link(LinkFile(tmp_path / "link.pt", type), "outer" if outer else "inner", 4, d_out)
    link = Link(found.design, "outer" if outer else "inner", 4, d_out).double()
    link.load_state_dict(found.tensors)
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(link(x), longhand(type, state, x, outer=outer), 1e-12)


@pytest.mark.parametrize(("alias", "design"), ALIASES.items())
def test_a_short_name_of_a_type_is_understood(alias: str, design: str, tmp_path: Path) -> None:
    type = next(name for name, ours in TYPES["inner"].items() if ours == design)
    torch.save(state_for(type, 4, 4, outer=False), tmp_path / "link.pt")
    assert read_link(LinkFile(tmp_path / "link.pt", alias), "inner", 4, 4).design == design


def test_tensors_that_two_types_share_are_refused_without_a_type(tmp_path: Path) -> None:
    torch.save(state_for("res_adapter", 4, 4, outer=False), tmp_path / "link.pt")
    with pytest.raises(CheckpointError, match=r"fit mlp and mlp_res alike\. Say which in adapter_config\.json"):
        read_link(LinkFile(tmp_path / "link.pt"), "inner", 4, 4)


def test_a_bundle_of_a_system_that_the_release_has_no_words_for_does_not_go_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"smol.*pattern|inner link design 'soft_token' has no counterpart"):
        export("smol", tmp_path / "back", cache=tmp_path)
    with pytest.raises(ConfigError, match="no links: the release has no such system"):
        export("tiny", tmp_path / "back", cache=tmp_path)
    assert not (tmp_path / "back").exists()


def test_a_bundle_is_asked_shown_and_says_whose_words_it_uses(light: Repositories, tmp_path: Path) -> None:
    made = rmas("convert", "sequential-light", "--out", str(tmp_path / "b"), *light.options, cache=tmp_path / "cache")
    assert (made.exit_code, made.stdout) == (0, f"{tmp_path / 'b'} is ready: 3 roles, 3 outer links.\n")
    shown = rmas("show", str(tmp_path / "b"), cache=tmp_path / "cache")
    assert shown.exit_code == 0
    assert "mlp_ln_res" in shown.stdout
    told = ["--rounds=2", "--latent-steps=2", "--max-new-tokens=4", "--device=cpu", "--kind=open", "--json"]
    answer = rmas("ask", str(tmp_path / "b"), "Why?", *told, cache=tmp_path / "cache")
    assert answer.exit_code == 0
    notes = json.loads(answer.stdout)["notes"]
    assert [note for note in notes if "the wording is ours" in note]


def test_a_bundle_is_evaluated_with_the_settings_that_convert_writes(light: Repositories, tmp_path: Path) -> None:
    settings, bundle = tmp_path / "settings", tmp_path / "bundle"
    made = rmas(
        "convert", "sequential-light", f"--out={bundle}", f"--settings={settings}", *light.options, cache=tmp_path / "c"
    )
    assert made.exit_code == 0
    (tmp_path / "rows.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": "2", "unique_id": "a"}\n')
    small = ["--set=max_new_tokens=4", "--set=latent_steps=2", "--rounds=2", "--device=cpu", "--json"]
    told = [f"--config={settings / 'math500.toml'}", f"--data={tmp_path / 'rows.jsonl'}", f"--out={tmp_path / 'run'}"]
    result = rmas("eval", *told, *small, cache=tmp_path / "c")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["result"]["questions"] == 1


def test_the_published_slip_words_code_as_mathematics_from_round_two(light: Repositories, tmp_path: Path) -> None:
    right = load_spec(str(converted("sequential-light", light, tmp_path / "right")))
    slip = load_spec(str(converted("sequential-light", light, tmp_path / "slip", with_slip=True)))

    def sections(spec: Any, kind: str, filled: set[str]) -> list[tuple[str, ...]]:
        parts = spec.pack.roles["planner", kind].sections
        return [part.parts for part in parts if part.stands(frozenset(filled), {"context": ""})]

    assert sections(slip, "code", set()) == sections(right, "code", set())
    assert sections(slip, "code", {"solver"}) == sections(right, "math", {"solver"})
    assert sections(right, "code", {"solver"}) != sections(right, "math", {"solver"})
    assert slip.digest != right.digest


@pytest.mark.parametrize("pattern", [*KEYS, "solo"])
def test_code_is_asked_for_as_a_function_by_its_name_or_as_a_whole_program(pattern: str) -> None:
    """Every role is told, once, before the problem, whatever it has heard."""
    shape, pack = load_pattern(pattern), load_pack("released", pattern)
    for role in shape.roles:
        for filled in (frozenset[str](), frozenset(pack.slots(role))):
            for function in ("", "total"):
                words = {"context": "", "function": function}
                parts = [part for part in pack.roles[role, "code"].sections if part.stands(filled, words)]
                said = ["".join(part.parts) for part in parts]
                problem = next(place for place, text in enumerate(said) if "Problem:" in text)
                assert ["function" in part.names for part in parts].count(True) == bool(function)
                assert sum("a whole program" in text for text in said) == (not function)
                told = "What is wanted is the function " if function else "What is wanted is a whole program "
                assert told in "".join(said[:problem])
        for kind in ("math", "choice", "search", "open"):
            assert not any("wanted" in "".join(part.parts) for part in pack.roles[role, kind].sections)


class Hostile:
    """Pickled code: what it would do is written where the test can see it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def spoil_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Repositories, Path], None]:
    def spoil(repositories: Repositories, scratch: Path) -> None:
        path = repositories.outer / "outerlink_config.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        change(manifest)
        write_json(path, manifest)

    return spoil


def wrong_width(repositories: Repositories, scratch: Path) -> None:
    torch.save(inner_state(40, seed=0), repositories.roles["learner"] / "adapter(math).pt")


def pickled_code(repositories: Repositories, scratch: Path) -> None:
    torch.save({"proj1.weight": Hostile(scratch / "ran")}, repositories.roles["learner"] / "adapter(math).pt")


def bare_pickle(repositories: Repositories, scratch: Path) -> None:
    (repositories.roles["learner"] / "adapter(math).pt").write_bytes(pickle.dumps(Hostile(scratch / "ran")))


def corrupt_zip(repositories: Repositories, scratch: Path) -> None:
    path = repositories.roles["learner"] / "adapter(math).pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_file(repositories: Repositories, scratch: Path) -> None:
    (repositories.roles["learner"] / "adapter(math).pt").write_bytes(b"")


def missing_tensor(repositories: Repositories, scratch: Path) -> None:
    path = repositories.roles["learner"] / "adapter(math).pt"
    torch.save({name: t for name, t in state_of(path).items() if name != "post_ln.bias"}, path)


def not_tensors(repositories: Repositories, scratch: Path) -> None:
    torch.save([1, 2], repositories.roles["learner"] / "adapter(math).pt")


def no_inner(repositories: Repositories, scratch: Path) -> None:
    (repositories.roles["learner"] / "adapter(math).pt").unlink()
    (repositories.roles["learner"] / "innerlink_config.json").unlink()


def no_config(repositories: Repositories, scratch: Path) -> None:
    (repositories.roles["learner"] / "config.json").unlink()


def no_weights(repositories: Repositories, scratch: Path) -> None:
    (repositories.roles["learner"] / "model.safetensors").unlink()


def other_type(repositories: Repositories, scratch: Path) -> None:
    write_json(repositories.roles["learner"] / "adapter_config.json", {"adapter_type": "res_adapter"})


def unknown_type(repositories: Repositories, scratch: Path) -> None:
    write_json(repositories.roles["learner"] / "adapter_config.json", {"adapter_type": "ln_res_adaptor"})


def broken_json(repositories: Repositories, scratch: Path) -> None:
    (repositories.outer / "outerlink_config.json").write_text("{", encoding="utf-8")


def inner_entry(repositories: Repositories, scratch: Path) -> None:
    write_json(repositories.roles["learner"] / "innerlink_config.json", {"tasks": {"math": {}}})


BAD: list[tuple[Callable[[Repositories, Path], None], str]] = [
    (wrong_width, "is (40, 40), expected (32, 32) between models of widths 32 and 32"),
    (pickled_code, "holds more than tensors (pickled code, perhaps) or is damaged, so it was not loaded"),
    (bare_pickle, "holds more than tensors (pickled code, perhaps) or is damaged"),
    (corrupt_zip, "adapter(math).pt: damaged ("),
    (empty_file, "adapter(math).pt: damaged ("),
    (missing_tensor, "lacks post_ln.bias. It is no inner link of the release"),
    (not_tensors, "not a state dict of floating-point tensors"),
    (no_inner, "no inner link there: no adapter(math).pt or adapter.pt"),
    (no_config, "config.json: no such file"),
    (no_weights, "lacks a config.json or a .safetensors file"),
    (other_type, "adapter_type is res_adapter, but its tensors are those of mlp_ln_res"),
    (unknown_type, "unknown adapter_type 'ln_res_adaptor'"),
    (broken_json, "outerlink_config.json: cannot be read ("),
    (inner_entry, "innerlink_config.json: tasks.math lacks the key adapter.pt"),
    (spoil_manifest(lambda m: m["adapters"][0].pop("filename")), "adapters[0] lacks the text filename"),
    (spoil_manifest(lambda m: m["adapters"][1].pop("legacy_key")), "adapters[1] lacks the text legacy_key"),
    (spoil_manifest(lambda m: m.pop("adapters")), "no list `adapters`"),
    (spoil_manifest(lambda m: m["adapters"].pop()), "lacks link outer_le; distillation has outer_el, outer_le"),
    (spoil_manifest(lambda m: m["adapters"][0].update(legacy_key="outer_12")), "has an unknown link outer_12"),
    (spoil_manifest(lambda m: m["adapters"][0].update(filename="../x.pt")), "'../x.pt' is no plain file name"),
    (spoil_manifest(lambda m: m["adapters"][0].update(filename="x.pt")), "x.pt: no such file, though"),
    (spoil_manifest(lambda m: m["adapters"][0].update(in_dim=7)), "says in_dim 7, the model there has 48"),
    (spoil_manifest(lambda m: m.update(tasks={"code": {}})), "no links for task math (have ['code'])"),
]


@pytest.mark.parametrize(("spoil", "problem"), BAD)
def test_a_bad_repository_is_one_line_and_nothing_is_written(
    spoil: Callable[[Repositories, Path], None], problem: str, tmp_path: Path
) -> None:
    repositories = write_release(tmp_path, "distillation", "flat")
    spoil(repositories, tmp_path)
    before = set(tmp_path.rglob("*"))  # a file `ran`, too, would be new
    assert problem in refusal("convert", "distillation", f"--out={tmp_path / 'bundle'}", *repositories.options)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sequential-ligt", "--out=b"], "unknown released system 'sequential-ligt'"),
        (["sequential-light"], "convert needs either --out BUNDLE"),
        (["sequential-light", "--out=b", "--to-release=c"], "convert needs either --out BUNDLE"),
        (
            ["sequential-light", "--out=b", "--task=maths"],
            "unknown task 'maths' (have code, math). Did you mean 'math'?",
        ),
        (["sequential-light", "--out=b", "--role=planer=x"], "unknown role 'planer'"),
        (["sequential-light", "--out=b", "--role=planner"], "role 'planner': expected ROLE=DIR or ROLE=OWNER/NAME"),
        (["sequential-light", "--out=b", "--role=planner=./none"], "role planner './none': no such folder, nor an id"),
        (["mixture", "--out=b", "--with-slip"], "the published slip is one of sequential systems"),
        (["sequential-light", "--out=src"], "src: exists and is not empty. Name a new folder"),
        (["none", "--to-release=c"], "unknown system 'none'"),
    ],
)
def test_a_conversion_that_makes_no_sense_is_refused(arguments: list[str], problem: str) -> None:
    assert problem in refusal("convert", *arguments)
    assert not Path("b").exists()
