"""A forked head state equals the same prompt computed whole, and is read only once."""

import weakref
from dataclasses import replace

import pytest
import torch

from rmas.engine import Agent, Heads, LatentChannel, StandIn, read, run
from zoo import (
    FAMILIES,
    QUESTION,
    QUESTIONS,
    CountingBackbone,
    M,
    assert_close,
    assert_same_turns,
    backbone,
    greedily,
    latent_run,
    noise,
    pair,
    tolerance,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_heads_equal_whole_prompts(family: str) -> None:
    shared, end = latent_run(pair(family), QUESTIONS, rounds=3)
    whole, whole_end = latent_run(pair(family), QUESTIONS, rounds=3, share_heads=False)
    assert_same_turns(shared, whole, tolerance(family))
    assert end.ids == whole_end.ids


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_state_can_be_forked_twice(family: str, cached: bool) -> None:
    system = pair(family)
    agent = system.agents["reflector"]
    z_BMD = noise(len(QUESTIONS), M, agent.backbone.dim)
    heads = Heads()
    with torch.inference_mode():
        for inbox in ({}, {"toolcaller": z_BMD}, {}):
            prompts = [system.render("reflector", q, frozenset(inbox)) for q in QUESTIONS]
            forked = read(agent, prompts, inbox, heads=heads, cached=cached)
            whole = read(agent, prompts, inbox)
            assert_close(forked.h_BD, whole.h_BD, tolerance(family))
            assert forked.lengths == whole.lengths


def test_a_shared_head_is_read_once_a_run() -> None:
    system = pair("llama")
    counting = CountingBackbone(backbone("llama"))
    agent = Agent(role="reflector", backbone=counting, inner=system.inner["reflector"])
    prompts = [system.render("reflector", QUESTION, frozenset())]
    heads = Heads()
    with torch.inference_mode():
        for _ in range(3):
            read(agent, prompts, {}, heads=heads)
    head, body = len(prompts[0].head), prompts[0].num_tokens - len(prompts[0].head)
    assert counting.reads == [(1, head), (1, body), (1, body), (1, body)]


def test_heads_are_forgotten_after_their_last_turn() -> None:
    system = pair("llama")
    agent = system.agents["reflector"]
    prompts = [system.render("reflector", q, frozenset()) for q in QUESTIONS]
    heads = Heads(turns=2)
    with torch.inference_mode():
        held = weakref.ref(heads.state(agent, prompts, {}))
        assert held() is not None, "there is a turn to come"
        assert heads.state(agent, prompts, {}) is not None
        assert held() is None
        assert_close(read(agent, prompts, {}, heads=heads).h_BD, read(agent, prompts, {}).h_BD, tolerance("llama"))


def test_later_rounds_of_a_run_do_not_read_the_heads_again() -> None:
    both, counting = pair("llama"), CountingBackbone(backbone("llama"))
    system = StandIn(both, {role: replace(agent, backbone=counting) for role, agent in both.agents.items()})
    with torch.inference_mode():
        run(system, [QUESTION], rounds=2, channel=LatentChannel(latent_steps=M), speak=greedily(1))
    first, later, reply = (
        system.render(role, QUESTION, frozenset(sources))
        for role, sources in (("reflector", []), ("reflector", ["toolcaller"]), ("toolcaller", ["reflector"]))
    )
    steps = [1] * (M - 1)
    by_hand = [
        [len(first.head), first.num_tokens - len(first.head), *steps],
        [len(reply.head), reply.num_tokens - len(reply.head) + M, *steps],
        [later.num_tokens - len(later.head) + M, *steps],
        [reply.num_tokens - len(reply.head) + M],
    ]
    assert [new for _, new in counting.reads] == [new for turn in by_hand for new in turn]
