"""The release's second call, and its slip: both only where a system's file asks for them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rmas.errors import ConfigError, PromptError
from rmas.packs import PACKS, Retry, known_packs, load_pack, load_retries
from rmas.pattern import load_pattern
from rmas.prompt import KINDS, Question
from rmas.settings import Sampling
from rmas.solvers import RecursiveSolver
from rmas.spec import SystemSpec
from rmas.system import System
from rmas.systemfile import load_spec
from zoo import tiny_system

RETRY = Retry(unless="\\boxed{", lead="\nSo \\boxed{", tokens=3)
MATH, OPEN = Question(text="What is 1 + 1?", kind="math"), Question(text="Why?")
SYSTEM = """pattern = "sequential"
prompts = "released"
rounds = 2
latent_steps = 2
start = "identity"
[roles]
planner = { backbone = "tiny:llama" }
critic = { backbone = "tiny:qwen2" }
solver = { backbone = "tiny:llama" }
"""


def with_retries(system: System, retries: dict[str, Retry]) -> System:
    system.spec = replace(system.spec, retries=retries)
    return system


def read_spec(folder: Path, *lines: str) -> SystemSpec:
    path = folder / "mine.toml"
    head, roles = SYSTEM.split("[roles]")
    path.write_text(head + "".join(f"{line}\n" for line in lines) + "[roles]" + roles, encoding="utf-8")
    return load_spec(str(path))


def test_an_answer_without_its_mark_is_written_on_after_the_lead_in() -> None:
    sampling = Sampling(max_new_tokens=4)
    (plain,) = RecursiveSolver(tiny_system("sequential"), sampling=sampling).solve([MATH])
    system = with_retries(tiny_system("sequential"), {"math": RETRY})
    (again,) = RecursiveSolver(system, sampling=sampling).solve([MATH])
    backbone = system.backbones["solver"]
    ids = [*backbone.tokenizer.bos, *backbone.encode(plain.text + RETRY.lead)]
    out = backbone.model.generate(
        torch.tensor([ids]),
        max_new_tokens=RETRY.tokens,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=[*backbone.eos_ids],
    )
    assert again.text == plain.text + RETRY.lead + backbone.decode(out[0, len(ids) :].tolist())
    turns = again.trace.turns
    assert turns[:-1] == tuple(
        replace(turn, seconds=other.seconds) for turn, other in zip(plain.trace.turns, turns, strict=False)
    )
    assert (turns[-1].role, turns[-1].verb, turns[-1].tokens_in) == ("solver", "speak", len(ids))
    assert again.trace.usage.completion_tokens == plain.trace.usage.completion_tokens + turns[-1].tokens_out
    assert sum(again.trace.sample_tokens) == again.trace.usage.completion_tokens


def test_an_answer_with_its_mark_or_of_another_kind_stays_as_it_is() -> None:
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    plain = RecursiveSolver(tiny_system("sequential"), sampling=sampling).solve([MATH, OPEN])
    first = plain[0].text[0]
    system = with_retries(tiny_system("sequential"), {"math": RETRY._replace(unless=first)})
    assert [one.text for one in RecursiveSolver(system, sampling=sampling).solve([MATH, OPEN])] == [
        one.text for one in plain
    ]


def test_each_sample_is_asked_again_with_draws_of_its_own() -> None:
    sampling = Sampling(max_new_tokens=4, temperature=1.0, samples=3)
    solver = RecursiveSolver(with_retries(tiny_system("sequential"), {"math": RETRY}), sampling=sampling)
    (answer,), (same,) = solver.solve([MATH]), solver.solve([MATH])
    assert len(answer.samples) == len(answer.finishes) == len(answer.trace.sample_tokens) == 3
    assert all(text.count(RETRY.lead) == 1 for text in answer.samples)
    assert answer.samples == same.samples


def test_a_streamed_answer_ends_with_what_was_added() -> None:
    solver = RecursiveSolver(
        with_retries(tiny_system("sequential"), {"math": RETRY}), sampling=Sampling(max_new_tokens=4)
    )
    *_, last = solver.stream(MATH)
    assert last.answer is not None
    assert last.text == last.answer.text
    assert RETRY.lead in last.text


def test_a_system_is_asked_again_only_where_its_file_says_so(tmp_path: Path) -> None:
    plain, again = read_spec(tmp_path), read_spec(tmp_path, "retry = true")
    assert plain.retries == {}
    assert set(again.retries) == {"math", "choice", "code", "search"}
    assert {kind: retry.tokens for kind, retry in again.retries.items() if retry.tokens != 16} == {"code": 256}
    assert all(retry.lead.rstrip().endswith(retry.unless) for retry in again.retries.values())
    assert plain.digest != again.digest


def test_a_pack_with_lead_ins_of_its_own_is_asked_by_them(tmp_path: Path) -> None:
    texts = 'brief = "b"\nanswer = "a"\n'
    tasks = "".join(f"[{kind}]\n{texts}" for kind in KINDS) + '[math.retry]\nunless = "x"\nlead = "y"\ntokens = 2\n'
    (tmp_path / "tasks.toml").write_text(tasks, encoding="utf-8")
    (tmp_path / "solo.toml").write_bytes((PACKS / "native" / "solo.toml").read_bytes())
    pack = load_pack(str(tmp_path), "solo")
    assert load_retries(pack) == {"math": Retry("x", "y", 2)}
    assert pack.tasks["math"] == {"brief": "b", "answer": "a"}
    assert set(load_retries(load_pack("native", "solo"))) == {"math", "choice", "code", "search"}
    (tmp_path / "tasks.toml").write_text(tasks.replace("tokens = 2", "tokens = 0"), encoding="utf-8")
    with pytest.raises(PromptError, match=r"math\.retry: expected two texts, unless and lead, and a number of tokens"):
        load_retries(load_pack(str(tmp_path), "solo"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("retry = 3", r"mine\.toml:6: retry: expected true or false, got 3"),
        ('later_kinds = { cod = "math" }', "unknown task kind 'cod'"),
        ('later_kinds = { code = "maths" }', "unknown task kind 'maths'"),
        ("later_kinds = 3", "expected a table, got 3"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(line: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_spec(tmp_path, line)


def test_only_agents_that_hear_back_are_worded_by_the_later_kind(tmp_path: Path) -> None:
    plain, slip = read_spec(tmp_path), read_spec(tmp_path, 'later_kinds = { code = "math" }')
    differing = [key for key in plain.pack.roles if plain.pack.roles[key] != slip.pack.roles[key]]
    assert differing == [("planner", "code")]


@pytest.mark.parametrize("pattern", ["sequential", "mixture", "distillation", "deliberation", "solo"])
def test_the_pack_in_the_releases_structure_words_every_role_with_its_slots(pattern: str) -> None:
    assert "released" in known_packs()
    pack, shape = load_pack("released", pattern), load_pattern(pattern)
    assert pack.whole
    for role in shape.roles:
        assert set(pack.slots(role)) == {edge.source for edge in shape.into(role)}
        for kind in KINDS:
            names = [name for section in pack.roles[role, kind].sections for name in section.names]
            assert names.count("context") == 1, (role, kind)


def test_parts_stand_in_the_order_of_the_release() -> None:
    def order(pattern: str, role: str, *filled: str, kind: str = "math") -> list[str]:
        parts = load_pack("released", pattern).without_tools().roles[role, kind].sections
        standing = [part for part in parts if part.stands(frozenset(filled), {"context": ""})]
        return [name for part in standing for name in part.names]

    for kind in ("math", "choice", "code"):
        assert order("sequential", "planner", kind=kind) == ["question"]
        assert order("sequential", "planner", "solver", kind=kind) == ["question", "solver"]
        assert order("sequential", "critic", "planner", kind=kind) == ["question", "planner"]
        assert order("sequential", "solver", "critic", kind=kind) == ["critic", "question", "answer"]
    experts = ("math", "code", "science")
    assert order("mixture", "summarizer", *experts) == [*experts, "question", "answer"]
    assert order("mixture", "code", "summarizer") == ["summarizer", "question"]
    assert order("distillation", "expert", "learner") == ["learner", "question"]
    assert order("distillation", "learner", "expert") == ["expert", "question", "answer"]
    assert order("deliberation", "reflector", "toolcaller") == ["question", "toolcaller"]
    assert order("deliberation", "toolcaller", "reflector") == ["reflector", "question", "answer"]


def test_a_run_says_that_the_wording_is_ours(tmp_path: Path) -> None:
    from rmas.system import load_system

    read_spec(tmp_path)
    notes = load_system(str(tmp_path / "mine.toml"), cache=tmp_path / "cache").notes
    assert [note for note in notes if "rmas import-prompts" in note]
