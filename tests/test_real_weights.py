"""The main job on real models: three families, all patterns, R = 1 to 3. Fetches what is missing, once."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from platformdirs import user_cache_path

from rmas.backbone import HFBackbone
from rmas.checkpoint import load_links
from rmas.engine import Agent, Heads, LatentChannel, Sampling, read, rollout, run, speak
from rmas.prompt import Kind, Question
from rmas.settings import RunConfig, ToolConfig
from rmas.solvers import RecursiveSolver
from rmas.sources import MODELS, parse_source
from rmas.system import System, start_links
from rmas.systemfile import load_spec
from rmas.tools import Toolbox, open_tools
from rmas.weights import open_backbone

pytestmark = [pytest.mark.weights, pytest.mark.enable_socket]

CACHE = user_cache_path("rmas")
SYSTEMS = (
    "smol",
    "smol-untrained",
    "smol-mixture",
    "smol-distillation",
    "smol-deliberation",
    "smol-qwen",
    "smol-looped",
)
QUESTIONS = (Question(text="What is the capital of France?"), Question(text="How many minutes are there in two hours?"))


@pytest.fixture(scope="module")
def backbones() -> dict[str, HFBackbone]:
    """The three real models in float32, loaded once for every test here."""
    return {
        name: open_backbone(parse_source(name, base=Path()), cache=CACHE, device="cpu", dtype="float32")
        for name in MODELS
    }


def system_of(name: str, backbones: Mapping[str, HFBackbone], tools: Toolbox | None = None) -> System:
    spec = load_spec(name)
    system = System(spec, {role: backbones[entry.source.name] for role, entry in spec.roles.items()}, tools=tools)
    if spec.links is None:
        start_links(system, cache=CACHE)
    else:
        load_links(system, spec.links)
    return system


def agent_of(backbone: HFBackbone) -> Agent:
    return Agent(role="solver", backbone=backbone, inner=lambda h: h / h.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_greedy_decode_equals_generate_token_for_token(name: str, backbones: Mapping[str, HFBackbone]) -> None:
    backbone = backbones[name]
    pack = load_spec("smol").pack
    prompts = [pack.render("solver", question, backbone.tokenizer, filled=frozenset()) for question in QUESTIONS]
    start = read(agent_of(backbone), prompts, {})
    sampling = Sampling(max_new_tokens=24)
    *_, rows = speak(backbone, start, sampling, [g for prompt in prompts for g in sampling.generators()])

    ids = [torch.tensor([*prompt.head, *(i for part in prompt.body for i in part)]) for prompt in prompts]
    for row, ids_T in zip(rows, ids, strict=True):  # one by one: no padding on their side
        theirs = backbone.model.generate(
            inputs_embeds=backbone.embed(ids_T[None]),
            attention_mask=torch.ones(1, len(ids_T), dtype=torch.int64),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=sorted(backbone.eos_ids),
        )[0].tolist()
        assert row.ids == theirs[: len(row.ids)]
        assert len(row.ids) == len(theirs) or row.finish == "eos"


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_cached_rollout_has_the_states_of_a_recomputed_one(name: str, backbones: Mapping[str, HFBackbone]) -> None:
    backbone = backbones[name]
    system = system_of("smol", backbones)
    role = next(role for role, entry in system.spec.roles.items() if entry.source.name == name)
    agent, prompts = system.agents[role], [system.render(role, QUESTIONS[0], frozenset())]
    cached = rollout(agent, read(agent, prompts, {}), 8)
    recomputed = rollout(agent, read(agent, prompts, {}, cached=False), 8)
    forked = rollout(agent, read(agent, prompts, {}, heads=Heads()), 8)
    assert cached.shape == (1, 8, backbone.dim)
    for other in (recomputed, forked):
        assert float(torch.nn.functional.cosine_similarity(cached, other, dim=-1).min()) > 0.9999


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_pattern_answers_on_real_weights(name: str, rounds: int, backbones: Mapping[str, HFBackbone]) -> None:
    solver = RecursiveSolver(
        system_of(name, backbones), RunConfig(rounds=rounds, latent_steps=4), Sampling(max_new_tokens=12)
    )
    answers = solver.solve(QUESTIONS)
    turns = {"smol-mixture": 4, "smol-distillation": 2, "smol-deliberation": 2, "smol-looped": 1}.get(name, 3)
    for answer in answers:
        assert answer.text.strip()
        assert len(answer.trace.turns) == turns * rounds
        assert [turn.verb for turn in answer.trace.turns] == ["think"] * (turns * rounds - 1) + ["speak"]


def test_smol_reads_a_plain_fact_right_through_either_channel(backbones: Mapping[str, HFBackbone]) -> None:
    system = system_of("smol-untrained", backbones)
    for channel in ("latent", "text"):
        solver = RecursiveSolver(
            system,
            RunConfig(rounds=1, latent_steps=8, channel=channel, message_tokens=16),
            Sampling(max_new_tokens=16),
        )
        assert "Paris" in solver.solve(QUESTIONS[:1])[0].text


@pytest.mark.parametrize(
    ("kind", "question", "tool", "answer"),
    [
        ("search", "In which year was the Fenoford Bridge opened?", "search", "1871"),
        ("open", "What is 17.3 * 29?", "python", "501.7"),
    ],
)
def test_a_model_of_half_a_billion_calls_the_tool_that_helps(
    kind: Kind, question: str, tool: str, answer: str, backbones: Mapping[str, HFBackbone], tmp_path: Path
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "bridges.md").write_text("# Fenoford Bridge\n\nThe Fenoford Bridge was opened in 1871.\n")
    config = ToolConfig(names=("python", "search"), corpus=str(tmp_path / "texts"))
    system = system_of("smol-deliberation", backbones, open_tools(config, cache=tmp_path))
    solver = RecursiveSolver(system, RunConfig(), Sampling(max_new_tokens=60))
    (found,) = solver.solve([Question(text=question, kind=kind)])
    assert [call.tool for call in found.trace.calls][:1] == [tool]
    assert answer in found.trace.calls[0].result
    assert answer in found.text


def test_a_pattern_and_prompts_of_ones_own_run_on_real_weights(
    tmp_path: Path, backbones: Mapping[str, HFBackbone]
) -> None:
    (tmp_path / "pair.toml").write_text(
        'schedule = [["reader"], ["writer"]]\nanswerer = "writer"\n'
        'edges = [["reader", "writer"], ["writer", "reader"]]\n'
    )
    (tmp_path / "words.toml").write_text(
        '[roles.reader]\nsystem = "Read."\nsections = ["Read: {question}", "Note:\\n{context}", "Back:\\n{writer}"]\n'
        '[roles.writer]\nsystem = "You answer."\nsections = ["Answer: {question}", "{answer}", "Read:\\n{reader}"]\n'
    )
    (tmp_path / "duo.toml").write_text(
        'pattern = "pair.toml"\nprompts = "words.toml"\nrounds = 2\nlatent_steps = 4\n'
        'inner = "linear"\nouter = "linear"\n'
        '[roles.reader]\nbackbone = "gemma3-270m"\n[roles.writer]\nbackbone = "qwen2.5-coder-0.5b"\n'
    )
    system = system_of(str(tmp_path / "duo.toml"), backbones)
    question = Question(text="What is the capital of France?", context={"reader": "A note."})
    answer = RecursiveSolver(system, None, Sampling(max_new_tokens=12)).solve([question])[0]
    assert [turn.role for turn in answer.trace.turns] == ["reader", "writer"] * 2
    assert answer.text.strip()


@torch.inference_mode()
def test_the_soft_token_link_runs_on_real_weights(backbones: Mapping[str, HFBackbone], tmp_path: Path) -> None:
    text = Path(load_spec("smol-qwen").path).read_text().replace('inner = "linear"', 'inner = "soft_token"')
    (tmp_path / "soft.toml").write_text(text)
    system = system_of(str(tmp_path / "soft.toml"), backbones)
    answers = RecursiveSolver(system, RunConfig(rounds=1, latent_steps=4), Sampling(max_new_tokens=12)).solve(QUESTIONS)
    assert "Paris" in answers[0].text


def test_gradients_reach_every_link_through_real_models(backbones: Mapping[str, HFBackbone]) -> None:
    system = system_of("smol-distillation", backbones)
    loss = run(
        system,
        QUESTIONS[:1],
        rounds=2,
        channel=LatentChannel(latent_steps=2, checkpointed=True),
        speak=lambda last: last.agent.backbone.logits(last.read().h_BD).logsumexp(-1).sum(),
    )
    loss.backward()
    for name, parameter in system.named_parameters():
        if "inner.learner" in name or "outer" in name or "inner.expert" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
    assert all(p.grad is None for b in backbones.values() for p in b.model.parameters())


def test_rmas_ask_smol_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "rmas", "ask", "smol", "What is the capital of France?", "--json"]
    options = ["--rounds", "2", "--latent-steps", "4", "--max-new-tokens", "12"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "Paris" in answer["answer"]
    assert answer["usage"]["latent_steps"] == 5 * 4
    assert [turn["verb"] for turn in answer["trace"]] == ["think"] * 5 + ["speak"]
