"""The model card says what was handed in, and "not measured" where nothing was."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from rmas.errors import CheckpointError
from rmas.graph import draw
from rmas.pattern import load_pattern
from rmas.systemfile import load_spec
from rmas.train.card import CARD, card_text, write_card
from rmas.train.config import InnerConfig, OuterConfig
from rmas.train.facts import AgentFacts, CardFacts, EdgeFacts, TrainingFacts, gather, gather_training

HUB = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
REVISION = "0123456789" * 4
DEV = {"step": 200, "loss": 1.25, "accuracy": 0.75, "accuracy_r1": 0.5, "accuracy_shuffled": 0.25, "n": 100}
FACTS = CardFacts(
    name="pair",
    pattern="distillation",
    picture=draw(load_pattern("distillation")),
    answerer="learner",
    rounds=2,
    latent_steps=4,
    agents=(
        AgentFacts(
            role="expert",
            backbone="qwen2.5-coder-0.5b",
            hub_id=HUB,
            revision=REVISION,
            width=896,
            inner="mlp_ln_res",
            num_parameters=1000,
        ),
        AgentFacts(
            role="learner",
            backbone="tiny:llama",
            hub_id=None,
            revision=None,
            width=32,
            inner="soft_token",
            num_parameters=0,
        ),
    ),
    edges=(EdgeFacts(edge="expert->learner", design="linear_res", num_parameters=234),),
    digest="d" * 64,
    training=TrainingFacts(
        stage="outer",
        trained="outer links",
        config={"data": "train.jsonl", "steps": 300, "objective": "rollout", "seed": 7, "columns": {"plan": "a|b"}},
        num_train=1800,
        num_dev=100,
        steps=300,
        best_step=200,
        is_complete=True,
        dev=DEV,
        num_dev_evaluations=6,
        versions={"python": "3.11.1", "torch": "2.13.0"},
    ),
)


def told(facts: CardFacts = FACTS, **changes: Any) -> CardFacts:
    """The facts with another training, or none: `told(training=None)`."""
    names = {part.name for part in fields(CardFacts)}
    own = {name: value for name, value in changes.items() if name in names}
    inner = {name: value for name, value in changes.items() if name not in names}
    assert facts.training is not None
    return replace(facts, **({"training": replace(facts.training, **inner)} | own))


def head(text: str) -> str:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert found
    return found[1]


def cells(text: str) -> dict[str, list[str]]:
    """Every table row of the card by its first cell."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE)
    return {first: rest.split(" | ") for first, rest in rows}


def test_the_front_matter_is_what_the_hub_reads() -> None:
    lines = head(card_text(FACTS)).splitlines()
    assert lines[0] == "library_name: rmas"
    assert lines[lines.index("base_model:") + 1] == f"- {json.dumps(HUB)}"
    assert '- "distillation"' in lines
    assert not [line for line in lines if line.startswith("license:")]


def test_models_that_are_not_from_the_hub_are_no_base_models() -> None:
    assert "base_model" not in head(card_text(replace(FACTS, agents=FACTS.agents[1:])))


def test_agents_and_links_stand_with_revision_width_and_count() -> None:
    rows = cells(card_text(FACTS))
    assert rows["expert"] == [HUB, REVISION, "896"]
    assert rows["learner"] == ["tiny:llama", "not from the hub", "32"]
    assert rows["outer"] == ["expert->learner", "linear_res", "234"]
    assert rows["all"][-1] == "1,234"


def test_every_accuracy_has_its_standard_error_and_n() -> None:
    text = card_text(FACTS)
    rows = cells(text)
    assert rows["the messages, answered after round 1"] == ["0.500 ± 0.050 (n = 100)"]
    assert rows["the messages, answered after round 2"] == ["0.750 ± 0.043 (n = 100)"]
    assert rows["messages of another question"] == ["0.250 ± 0.043 (n = 100)"]
    assert "(real less shuffled): +0.500 ± 0.061." in text
    assert "Dev loss: 1.2500." in text


def test_what_was_not_measured_is_said_so() -> None:
    assert cells(card_text(FACTS))["messages zeroed"] == ["not measured"]
    text = card_text(told(dev=None, num_dev_evaluations=0))
    assert cells(text)["the messages, answered after round 2"] == ["not measured"]
    assert "Dev loss: not measured." in text
    assert "No accuracy was measured in this training." in text
    assert "whether the messages carry content is not known" in text
    assert "real less shuffled" not in text


def test_the_settings_stand_as_they_were() -> None:
    text = card_text(FACTS)
    rows = cells(text)
    assert (rows["objective"], rows["seed"]) == (['`"rollout"`'], ["`7`"])
    assert '| columns | `{"plan": "a\\|b"}` |' in text
    assert "- data: `train.jsonl`, 1,800 examples to train on, 100 held out (dev)" in text
    assert "- steps: 300 of 300; kept: step 200, the best on dev" in text
    assert "- versions: python 3.11.1, torch 2.13.0" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_complete": False}, "The training was stopped before its end."),
        ({"is_constant": True}, "Its messages are constants: a control, no collaboration."),
        ({"num_dev_evaluations": 6}, "The kept step is the best of 6 dev evaluations: they flatter it."),
        ({"notes": ("4-bit weights",)}, "- note: 4-bit weights"),
        ({"has_curves": True}, "](curves.png)"),
        ({"own_prompts": True}, "The links go with the prompts in this bundle"),
        ({"own_prompts": True}, "So do the prompts in this bundle"),
        ({"training": None}, "Not recorded in this bundle."),
        ({"training": None}, "No figures come with this bundle"),
        ({"rounds": 1}, "4 latent vectors a turn for 1 round;"),
        ({"halts": True}, "pass each other up to 4 latent vectors a turn"),
    ],
)
def test_a_fact_is_on_the_card_only_where_it_holds(change: dict[str, Any], words: str) -> None:
    base = told(num_dev_evaluations=1)
    assert words in card_text(told(base, **change))
    assert words not in card_text(base)


def test_the_card_of_an_inner_stage_speaks_of_cosines() -> None:
    dev = {"loss": 0.5, "cosine_expert": 0.5, "cosine_expert_start": 0.25, "cosine_expert_constant": 0.125}
    text = card_text(told(stage="inner", trained="inner links", dev=dev))
    assert "| expert | 0.5000 | 0.2500 | 0.1250 | not measured |" in text
    assert "| learner | not measured |" in text
    assert "No accuracy was measured in this training." in text
    assert "huffled" not in text


def test_a_card_is_written_in_one_go(tmp_path: Path) -> None:
    write_card(tmp_path, FACTS)
    assert (tmp_path / CARD).read_text(encoding="utf-8") == card_text(FACTS)
    assert [path.name for path in tmp_path.iterdir()] == [CARD]


def test_a_card_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"README\.md: cannot be written"):
        write_card(tmp_path / "none", FACTS)


def test_facts_come_from_the_run_itself() -> None:
    spec = load_spec("tiny")
    row = {"backbone": "tiny:llama", "revision": None, "width": 32, "inner": "mlp_ln_res"}
    manifest = {
        "roles": dict.fromkeys(spec.pattern.roles, row),
        "outer": {str(edge): design for edge, design in spec.outer.items()},
    }
    counts = {"inner.critic": 10} | {f"outer.{edge}": 20 for edge in spec.pattern.edges}
    lines: list[Mapping[str, Any]] = [
        {"step": 0, "event": "dev", "accuracy": 0.0, "n": 4},
        {"step": 2, "event": "dev", "accuracy": 0.5, "n": 4},
        {"step": 2, "event": "step", "loss": 1.0},
        {"step": 3, "event": "dev", "accuracy": 0.25, "n": 4},
    ]
    training = gather_training(
        OuterConfig(data="x.jsonl", steps=3),
        lines,
        stage="outer",
        trained="outer links",
        num_train=8,
        num_dev=4,
        steps=3,
        best_step=2,
        is_complete=True,
    )
    facts = gather(spec, manifest | {"digest": "abc"}, counts, training)
    assert training.dev == lines[1]
    assert training.num_dev_evaluations == 3
    assert [(agent.role, agent.num_parameters) for agent in facts.agents] == [
        ("planner", 0),
        ("critic", 10),
        ("solver", 0),
    ]
    assert {edge.num_parameters for edge in facts.edges} == {20}
    assert (facts.rounds, facts.latent_steps) == (2, 4)
    assert "micro_batch" not in training.config
    assert "rmas" in training.versions
    assert "Digest `abc`" in card_text(facts)
    assert f"```text\n{draw(spec.pattern)}\n```" in card_text(facts)
    assert not facts.own_prompts


def test_without_a_dev_evaluation_of_the_kept_step_nothing_is_claimed() -> None:
    training = gather_training(
        InnerConfig(data="x.jsonl"),
        [{"step": 1, "event": "dev", "loss": 0.5}],
        stage="inner",
        trained="inner links",
        num_train=8,
        num_dev=4,
        steps=3,
        best_step=3,
        is_complete=True,
    )
    assert training.dev is None


def test_every_model_keeps_its_own_licence() -> None:
    assert f"- `{HUB}` keeps its own: https://huggingface.co/{HUB}" in card_text(FACTS)
