"""The inner stage: eq. (5), what trains and what does not, and a run that can be stopped anywhere."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import benchmarks.inner.run
import pytest
import torch
from benchmarks.measure import load_config
from torch import Tensor

from rmas.backbone import HFBackbone, State
from rmas.errors import ConfigError, NumericsError
from rmas.link import Link
from rmas.system import System, load_system
from rmas.train.config import InnerConfig
from rmas.train.inner import InnerTrainer, Lesson, best_constant, inner_loss, score, train_inner
from rmas.train.journal import read_log
from rmas.train.resolve import trained_roles
from rmas.train.shards import StateBatches, States
from rmas.train.states import Extraction, Reading, extract_states
from rmas.train.team import Team
from zoo import assert_close, backbone, noise, snapshot, tiny_system

SYSTEM = """pattern = "distillation"
inner = "mlp_ln_res"
outer = "linear"
start = "identity"
[roles.expert]
backbone = "tiny:llama"
[roles.learner]
backbone = "tiny:qwen3"
"""
ROLES = ("expert", "learner")


def quiet(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Report nothing."""


def make(folder: Path, text: str = SYSTEM) -> System:
    """A small system whose links start near the identity, the same at every call (proj1 is drawn)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return load_system(str(folder / "mine.toml"), cache=folder / "cache")


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., InnerConfig]:
    """A short training on 12 small sums, 3 of them held out."""
    rows = [{"question": f"{a} + 2?", "answer": f"It is {a + 2}."} for a in range(12)]
    (tmp_path / "sums.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")

    def configure(**changes: Any) -> InnerConfig:
        short: dict[str, Any] = {"steps": 12, "batch_size": 16, "lr": 3e-3, "warmup": 2, "dev": 3}
        short |= {"dev_every": 4, "save_every": 3}
        return InnerConfig(data=str(tmp_path / "sums.jsonl"), **{**short, **changes})

    return configure


def pairs_of(family: str, folder: Path, **options: Any) -> States:
    """States of two short texts."""
    model = backbone(family)
    readings = [Reading(tuple(model.encode(text)), 0) for text in ("one two three four", "five six")]
    return extract_states(model, readings, folder, Extraction(**options), report=quiet)


def trainer_of(tmp_path: Path, config: InnerConfig, *, team: Team = Team(), seed: int = 0) -> InnerTrainer:  # noqa: B008 (frozen)
    """One lesson, in float64, for the first role of a tiny system."""
    system = tiny_system("distillation", ["llama"], seed=seed)
    link = system.inner["expert"]
    assert isinstance(link, Link)
    batches = StateBatches(pairs_of("llama", tmp_path / "states"), batch_size=config.batch_size, seed=0)
    lesson = Lesson(role="expert", link=link, backbone=system.backbones["expert"], batches=batches)
    return InnerTrainer(system, config, [lesson], team)


def gradients(trainer: InnerTrainer) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("norm_weight", [0.0, 0.3])
def test_the_loss_is_one_minus_cosine_plus_the_weighed_norm_term(norm_weight: float) -> None:
    h, e = noise(7, 8), noise(7, 8, seed=1)
    total = 0.0
    for z_D, e_D in zip((3 * h).tolist(), e.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(z_D, e_D, strict=True))
        z_norm, e_norm = (sum(a * a for a in row) ** 0.5 for row in (z_D, e_D))
        total += 1 - dot / (z_norm * e_norm) + norm_weight * (z_norm / e_norm - 1) ** 2
    assert float(inner_loss(lambda x: 3 * x, h, e, norm_weight)) == pytest.approx(total / 7, rel=1e-9)


def test_only_the_norm_term_sees_the_length_of_what_a_link_returns() -> None:
    h, e = noise(5, 8), noise(5, 8, seed=1)
    cosine = [float(inner_loss(lambda x, f=factor: f * x, h, e)) for factor in (1.0, 9.0)]  # type: ignore[misc]
    both = [float(inner_loss(lambda x, f=factor: f * x, h, e, 1.0)) for factor in (1.0, 9.0)]  # type: ignore[misc]
    assert cosine[0] == pytest.approx(cosine[1], rel=1e-12)
    assert both[1] > both[0] + 1


def test_states_of_low_precision_are_judged_in_float32() -> None:
    h, e = noise(5, 8).bfloat16(), noise(5, 8, seed=1).bfloat16()
    loss = inner_loss(Link("mlp_ln_res", "inner", 8, 8), h, e, 0.1)
    assert loss.dtype == torch.float32
    assert float(inner_loss(lambda x: x, h, h)) == pytest.approx(0, abs=1e-6)


def test_training_brings_the_links_nearer_and_leaves_everything_else_alone(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    system = make(tmp_path)
    before = snapshot(system.state_dict())
    weights = {role: snapshot(system.backbones[role].model.state_dict()) for role in ROLES}
    result = train_inner(system, config(steps=40), tmp_path / "out", resume=False, report=quiet)
    steps = [line for line in read_log(tmp_path / "out") if line["event"] == "step"]
    assert len(steps) == 40
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    for role in ROLES:
        assert result.figures[f"cosine_{role}"] > result.figures[f"cosine_{role}_start"] + 0.1
        assert all(p.grad is None for p in system.backbones[role].model.parameters())
        after = system.backbones[role].model.state_dict()
        assert all(torch.equal(weights[role][name], tensor) for name, tensor in after.items())
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith("inner.")}
    assert result.num_parameters == sum(before[name].numel() for name in moved)


def test_the_output_is_a_bundle_with_its_config_and_log(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    system = make(tmp_path)
    out = tmp_path / "out"
    result = train_inner(system, config(), out, resume=False, report=quiet)
    assert load_system(str(out), cache=tmp_path / "cache").digest() == system.digest()
    assert (out / "config.toml").exists()
    assert result.is_complete
    assert [line["step"] for line in read_log(out) if line["event"] == "dev"] == [0, 4, 8, 12]


def test_dev_figures_stand_beside_a_constant_and_the_start(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    system = make(tmp_path)
    train_inner(system, config(), tmp_path / "out", resume=False, report=quiet)
    first, *_, last = [line for line in read_log(tmp_path / "out") if line["event"] == "dev"]
    for role in ROLES:
        assert first[f"cosine_{role}"] == first[f"cosine_{role}_start"] == last[f"cosine_{role}_start"]
        assert -1 < first[f"cosine_{role}_constant"] == last[f"cosine_{role}_constant"] < 1
        assert last[f"norm_{role}"] > 0
    assert last["loss"] == pytest.approx(1 - sum(last[f"cosine_{role}"] for role in ROLES) / 2)


def test_the_constant_is_the_best_one_there_is(tmp_path: Path) -> None:
    model, states = backbone("gemma3_text"), pairs_of("gemma3_text", tmp_path)

    def cosine(vector_D: Tensor) -> float:
        return score(lambda h_ND: vector_D.expand(len(h_ND), -1), states, model).cosine

    best_D = best_constant(states, model)
    e_ND = states.shard(0).targets(model)
    assert cosine(best_D) == pytest.approx(
        float((best_D / best_D.norm() @ (e_ND / e_ND.norm(dim=-1, keepdim=True)).T).mean())
    )
    assert cosine(best_D) > cosine(e_ND.mean(0))
    assert all(cosine(best_D) > cosine(best_D + 0.1 * noise(model.dim, seed=seed)) for seed in range(5))


class Stopped(BaseException):
    """As a killed process leaves: nothing after it runs."""


def stop_at(step: int) -> Callable[[str, int, int, Mapping[str, float]], None]:
    def report(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "inner links" and done == step:
            raise Stopped

    return report


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_resumed_training_ends_with_the_same_bits_and_extracts_nothing_again(
    tmp_path: Path, config: Callable[..., InnerConfig], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(tmp_path / "a")
    train_inner(whole, config(), tmp_path / "whole", resume=False, report=quiet)
    out = tmp_path / "stopped"
    with pytest.raises(Stopped):
        train_inner(make(tmp_path / "b"), config(), out, resume=False, report=stop_at(step))

    def read(self: HFBackbone, state: State, x_BLD: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, State]:
        raise AssertionError("extracted again")

    resumed = make(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(HFBackbone, "extend", read)
        train_inner(resumed, config(), out, resume=True, report=quiet)
    assert resumed.digest() == whole.digest()
    strip = [
        [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_log(tmp_path / name)]
        for name in ("whole", "stopped")
    ]
    assert strip[0] == strip[1]


def test_a_training_stopped_while_it_extracts_goes_on_with_resume(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        raise Stopped(stage)

    whole, resumed = make(tmp_path / "a"), make(tmp_path / "b")
    train_inner(whole, config(), tmp_path / "whole", resume=False, report=quiet)
    with pytest.raises(Stopped, match="extracting states of tiny:llama"):
        train_inner(make(tmp_path / "c"), config(), tmp_path / "out", resume=False, report=stop)
    train_inner(resumed, config(), tmp_path / "out", resume=True, report=quiet)
    assert resumed.digest() == whole.digest()


def test_without_dev_examples_the_last_links_are_kept(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    result = train_inner(make(tmp_path), config(dev=0), tmp_path / "out", resume=False, report=quiet)
    assert (result.steps, result.figures) == (12, {})
    assert {line["event"] for line in read_log(tmp_path / "out")} == {"step"}
    assert not (tmp_path / "out" / "states" / "expert" / "dev").exists()


def test_a_training_resumes_with_its_own_config_only(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    with pytest.raises(Stopped):
        train_inner(make(tmp_path), config(), tmp_path / "out", resume=False, report=stop_at(4))
    with pytest.raises(ConfigError, match=r"lr was 0.003, now 0.1"):
        train_inner(make(tmp_path), config(lr=0.1), tmp_path / "out", resume=True, report=quiet)


def test_soft_tokens_as_targets_are_what_the_links_come_near_to(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    system = make(tmp_path)
    soft = config(steps=60, target="soft_token", tau=0.5)
    train_inner(system, soft, tmp_path / "out", resume=False, report=quiet)
    for role in ROLES:
        model, link = system.backbones[role], system.inner[role]
        states = States(folder=tmp_path / "out" / "states" / role / "dev", counts=(1,))
        pairs = states.shard(0)
        target = model.expected_embedding((model.logits(pairs.h_ND) / 0.5).softmax(-1))
        assert pairs.e_ND is not None
        assert_close(pairs.e_ND, target, 1e-9)
        cosine = torch.nn.functional.cosine_similarity(link(pairs.h_ND), target, dim=-1).mean().item()
        last = [line for line in read_log(tmp_path / "out") if line["event"] == "dev"][-1]
        assert cosine > last[f"cosine_{role}_start"] + 0.1


def test_a_role_with_a_soft_token_link_is_skipped_with_a_note(
    tmp_path: Path, config: Callable[..., InnerConfig], caplog: pytest.LogCaptureFixture
) -> None:
    system = make(tmp_path, SYSTEM.replace('"tiny:llama"', '"tiny:llama"\ninner = "soft_token"'))
    result = train_inner(system, config(), tmp_path / "out", resume=False, report=quiet)
    assert "expert: its inner link is a soft token, which holds nothing to train; skipped" in caplog.text
    assert "cosine_learner" in result.figures
    assert "cosine_expert" not in result.figures
    assert not (tmp_path / "out" / "states" / "expert").exists()


def test_nothing_to_train_and_unknown_roles_are_refused() -> None:
    soft = tiny_system("distillation", ["llama"], inner="soft_token")
    with pytest.raises(ConfigError, match="soft tokens, which hold nothing to train"):
        trained_roles(soft.spec, ())
    system = tiny_system("distillation", ["llama"])
    assert trained_roles(system.spec, ()) == ROLES
    assert trained_roles(system.spec, ("learner",)) == ("learner",)
    with pytest.raises(ConfigError, match=r"roles: unknown role 'lerner' .*Did you mean 'learner'"):
        trained_roles(system.spec, ("lerner",))


WORDS = """[roles.expert]
system = "You think."
sections = ["Ask: {question}", "Heard: {learner}"]
[roles.learner]
system = "You think."
sections = ["Ask: {question}", "Heard: {expert}"]
"""
PATTERN = """schedule = [["expert"], ["learner"]]
edges = [["expert", "learner"], ["learner", "expert"]]
answerer = "learner"
"""


def test_roles_that_read_the_same_texts_with_one_model_share_their_states(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    (tmp_path / "loop.toml").write_text(PATTERN, encoding="utf-8")
    (tmp_path / "words.toml").write_text(WORDS, encoding="utf-8")
    text = SYSTEM.replace('"distillation"', '"loop.toml"\nprompts = "words.toml"').replace("qwen3", "llama")
    system = make(tmp_path, text)
    system.inner["learner"].load_state_dict(system.inner["expert"].state_dict())
    train_inner(system, config(), tmp_path / "out", resume=False, report=quiet)
    assert [path.name for path in (tmp_path / "out" / "states").iterdir()] == ["expert"]
    first, second = (system.inner[role].state_dict() for role in ROLES)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())  # same start, pairs and order


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be written|not a folder") as caught:
        train_inner(make(tmp_path), config(), tmp_path / "file" / "out", resume=False, report=quiet)
    assert "\n" not in str(caught.value)


def test_micro_batches_leave_the_gradient_of_the_whole_batch(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    whole = trainer_of(tmp_path, config(norm_weight=0.2))
    parts = trainer_of(tmp_path, config(norm_weight=0.2, micro_batch=5))
    assert whole.step(0).loss == pytest.approx(parts.step(0).loss, rel=1e-12)
    for name, gradient in gradients(whole).items():
        assert_close(gradients(parts)[name], gradient, 1e-12)


def test_the_shares_of_two_processes_add_up_to_the_gradient_of_one(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    alone = trainer_of(tmp_path, config())
    shares = [trainer_of(tmp_path, config(), team=Team(rank, 2)) for rank in range(2)]
    expected, results = alone.step(0), [share.step(0) for share in shares]
    assert sum(result.loss for result in results) == pytest.approx(expected.loss, rel=1e-12)
    assert sum(result.tokens for result in results) == expected.tokens
    first, second = (gradients(share) for share in shares)
    for name, gradient in gradients(alone).items():
        assert_close(first[name] + second[name], gradient, 1e-12)


def test_each_link_is_clipped_alone_and_nothing_else_trains(tmp_path: Path, config: Callable[..., InnerConfig]) -> None:
    system = make(tmp_path)
    lesson = trainer_of(tmp_path, config()).lessons[0]
    lessons = []
    for role in ROLES:
        link = system.inner[role]
        assert isinstance(link, Link)
        lessons.append(Lesson(**{**vars(lesson), "role": role, "link": link}))
    trainer = InnerTrainer(system, config(), lessons)
    assert [{name.split(".")[1] for name in group} for group in trainer.groups] == [{"expert"}, {"learner"}]
    assert {name for group in trainer.groups for name in group} == set(trainer.parameters)
    assert {name for name, p in system.named_parameters() if p.requires_grad} == set(trainer.parameters)


def test_a_loss_that_is_not_finite_stops_with_its_batch_on_disk(
    tmp_path: Path, config: Callable[..., InnerConfig]
) -> None:
    system = make(tmp_path)
    link = system.inner["expert"]
    assert isinstance(link, Link)
    with torch.no_grad():
        link.proj1.weight.fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"step 1: .* Its batch is in (.*failed-step-00000001.json)"):
        train_inner(system, config(), tmp_path / "out", resume=False, report=quiet)
    kept = json.loads((tmp_path / "out" / "failed-step-00000001.json").read_text(encoding="utf-8"))
    assert len(kept["batch"]["expert"]) == 16


def test_the_benchmark_trains_the_same_link_both_ways() -> None:
    settings = load_config(str(Path(benchmarks.inner.run.__file__)))
    small = {"system": "tiny", "texts": 6, "prompt_tokens": 20, "target_tokens": 8, "passes": 3, "repeats": 1}
    figures = benchmarks.inner.run.measure(settings | small | {"recomputed_passes": 2})
    assert figures["largest_difference"] < 1e-6
    assert figures["pairs"] == 6 * 9
    assert figures["ratio"]["median"] > 0
