"""The equalities that define correctness: decoding, bundles and the trace. The others are in test_equalities_*.py."""

from pathlib import Path

import pytest
import torch

from rmas.backbone import HFBackbone
from rmas.checkpoint import save_system
from rmas.conversation import Slot
from rmas.engine import Agent, LatentChannel, Sampling, TextChannel, Turn, run, speak
from rmas.engine.turn import Read
from rmas.prompt import Question
from rmas.solvers import RecursiveSolver, RunConfig
from rmas.system import System, load_system
from zoo import FAMILIES, PATTERNS, QUESTION, QUESTIONS, CountingBackbone, Recorder, backbone, tiny_system, written

MIXED = ("llama", "gemma3_text", "qwen2")
ROUND_TURNS = {
    "sequential": 3,
    "mixture": 4,
    "distillation": 2,
    "deliberation": 2,
    "debate": 3,
    "ring": 5,
    "solo": 1,
    "looped": 1,
}
LENGTHS = (31, 9, 20)


def padded_batch(model: HFBackbone) -> tuple[torch.Tensor, torch.Tensor]:
    """Three prompts of unequal lengths, left-padded: x_BLD and mask_BL. Random, so not on any embedding's row."""
    generator = torch.Generator().manual_seed(0)
    x_BLD = torch.randn(len(LENGTHS), max(LENGTHS), model.dim, generator=generator, dtype=model.dtype)
    mask_BL = torch.stack([torch.arange(max(LENGTHS)) >= max(LENGTHS) - length for length in LENGTHS])
    return x_BLD * mask_BL[..., None], mask_BL.to(torch.int64)


# 6. own greedy loop = transformers' generate


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decode_equals_generate_of_transformers(family: str) -> None:
    ours, num_tokens = backbone(family), 12
    x_BLD, mask_BL = padded_batch(ours)
    with torch.inference_mode():
        h_BLD, state = ours.extend(ours.start(), x_BLD, mask_BL)
        sampling = Sampling(max_new_tokens=num_tokens)
        *_, rows = speak(ours, Read(h_BLD[:, -1], state, LENGTHS), sampling, [torch.Generator()] * len(LENGTHS))
        theirs = ours.model.generate(
            inputs_embeds=x_BLD, attention_mask=mask_BL, do_sample=False, max_new_tokens=num_tokens
        )
    for row, ids in zip(rows, theirs.tolist(), strict=True):
        assert row.ids == ids[: len(row.ids)]
        assert len(row.ids) == num_tokens or row.ids[-1] in ours.eos_ids


# 7. saved -> loaded = same digest, same output


def answers(system: System) -> list[str]:
    config = RunConfig(rounds=2, latent_steps=2)
    return [a.text for a in RecursiveSolver(system, config, Sampling(max_new_tokens=5)).solve(QUESTIONS[:2])]


def test_a_saved_system_loads_with_the_same_digest_and_answers(tmp_path: Path, tmp_cache: Path) -> None:
    system = load_system("tiny", cache=tmp_cache)
    untrained = system.digest()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    save_system(system, tmp_path / "bundle")
    loaded = load_system(str(tmp_path / "bundle"), cache=tmp_cache)
    assert loaded.digest() == system.digest() != untrained
    assert loaded.state_dict().keys() == system.state_dict().keys()
    assert all(torch.equal(tensor, system.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert answers(loaded) == answers(system)


def test_a_digest_tells_systems_apart() -> None:
    systems = [tiny_system("deliberation", seed=seed) for seed in (0, 0, 1)]
    same, again, other = (system.digest() for system in systems)
    assert same == again != other


# 9. the trace = counted by hand


def positions(system: System, role: str, question: Question, messages: dict[str, int]) -> int:
    """Counted from the rendered prompt: its ids, and each message's positions."""
    prompt = system.render(role, question, frozenset(messages))
    ids = [token for part in (prompt.head, *prompt.body) if not isinstance(part, Slot) for token in part]
    return len(ids) + sum(messages.values())


def test_the_trace_of_a_latent_run_equals_a_count_by_hand() -> None:
    system, M = tiny_system("sequential", MIXED), 3
    solver = RecursiveSolver(system, RunConfig(rounds=2, latent_steps=M), Sampling(max_new_tokens=4))
    for question, answer in zip(QUESTIONS, solver.solve(QUESTIONS), strict=True):
        by_hand = [
            (1, "planner", "think", positions(system, "planner", question, {}), M, 0),
            (1, "critic", "think", positions(system, "critic", question, {"planner": M}), M, 0),
            (1, "solver", "think", positions(system, "solver", question, {"critic": M}), M, 0),
            (2, "planner", "think", positions(system, "planner", question, {"solver": M}), M, 0),
            (2, "critic", "think", positions(system, "critic", question, {"planner": M}), M, 0),
            (2, "solver", "speak", positions(system, "solver", question, {"critic": M}), 0, 4),
        ]
        assert [counts(turn) for turn in answer.trace.turns] == by_hand
        usage = answer.trace.usage
        assert usage.prompt_tokens == sum(row[3] for row in by_hand)
        assert (usage.latent_steps, usage.completion_tokens) == (5 * M, 4)
        assert answer.trace.sequential_steps == 5 * M + 4
        assert all(turn.seconds > 0 for turn in answer.trace.turns)


def counts(turn: Turn) -> tuple[int, str, str, int, int, int]:
    return turn.round, turn.role, turn.verb, turn.tokens_in, turn.latent_steps, turn.tokens_out


def test_the_trace_of_a_text_run_equals_a_count_by_hand() -> None:
    system = tiny_system("deliberation", ("mistral", "gpt2"))
    channel = Recorder(TextChannel(sampling=Sampling(max_new_tokens=3)))
    with torch.inference_mode():
        log = run(system, [QUESTION], rounds=2, channel=channel, speak=lambda last: last.log)
    reflector, toolcaller = system.backbones["reflector"], system.backbones["toolcaller"]
    first, second, third = (written(thought)[0] for _, thought in channel.thoughts)
    as_read = [len(model.encode(row.text.strip())) for model, row in ((toolcaller, first), (reflector, second))]
    by_hand = [
        (1, "reflector", "speak", positions(system, "reflector", QUESTION, {}), 0, len(first.ids)),
        (1, "toolcaller", "speak", positions(system, "toolcaller", QUESTION, {"reflector": as_read[0]}), 0, 3),
        (2, "reflector", "speak", positions(system, "reflector", QUESTION, {"toolcaller": as_read[1]}), 0, 3),
    ]
    assert [counts(turn) for turn in log.turns[0]] == by_hand
    assert len(second.ids) == len(third.ids) == 3


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_run_has_as_many_turns_as_the_pattern_says(pattern: str, rounds: int) -> None:
    solver = RecursiveSolver(
        tiny_system(pattern, ["llama"]), RunConfig(rounds=rounds, latent_steps=1), Sampling(max_new_tokens=1)
    )
    (answer,) = solver.solve([QUESTION])
    turns = answer.trace.turns
    assert len(turns) == ROUND_TURNS[pattern] * rounds
    assert [turn.verb for turn in turns] == ["think"] * (len(turns) - 1) + ["speak"]
    assert answer.trace.usage.latent_steps == len(turns) - 1


def test_a_latent_step_is_one_read_and_the_first_is_free() -> None:
    """M latents cost M - 1 reads beyond the prompt's."""
    system, counting = tiny_system("deliberation", ["llama"]), CountingBackbone(backbone("llama"))
    agent = Agent(role="reflector", backbone=counting, inner=system.inner["reflector"])
    prompt = system.render("reflector", QUESTION, frozenset())
    with torch.inference_mode():
        LatentChannel(latent_steps=5).think(agent, [prompt], {}, None, "")
    assert counting.reads == [(1, prompt.num_tokens)] + [(1, 1)] * 4
    assert counting.logits_of == []
