"""What the links are trained for: one loss over `engine.run`, for rollouts and for teacher forcing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rmas.backbone import TINY, HFBackbone
from rmas.backbone.tiny import _byte_tokenizer, new_backbone
from rmas.engine import Channel, ConstantChannel, Heads, LastTurn, LatentChannel, StandIn, run, teacher_force
from rmas.errors import ConfigError, QuestionError
from rmas.pattern import Edge
from rmas.prompt import Question
from rmas.settings import MEMORIES, Memory
from rmas.system import System
from rmas.train.config import OuterConfig
from rmas.train.data import Example
from rmas.train.objective import (
    ForcedChannel,
    answer_ids,
    answer_nll,
    chunked_nll,
    forced_channel,
    outer_loss,
    unroll,
    weigh,
)
from train_zoo import EXAMPLES, gradients, same_tensors, trainer_of
from zoo import (
    LOOPS,
    QUESTION,
    CountingBackbone,
    M,
    Recorder,
    assert_close,
    assert_same_turns,
    backbone,
    greedily,
    noise,
    tiny_system,
)

PAIR = EXAMPLES[:2]
QUESTIONS = [example.question for example in PAIR]


def loss_of(
    system: System, channel: Channel, examples: Sequence[Example] = PAIR, *, rounds: int = 2, earlier: float = 0.0
) -> Tensor:
    nll_RB = outer_loss(system, examples, rounds=rounds, channel=channel, earlier_weight=earlier)
    return weigh(nll_RB, earlier).sum()


def assert_same_gradients(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys() != set()
    for name, gradient in theirs.items():
        assert_close(ours[name], gradient, 1e-9)


def loss_and_gradients(
    system: System, channel: Channel, *, rounds: int = 2, earlier: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    system.zero_grad()
    loss = loss_of(system, channel, rounds=rounds, earlier=earlier)
    loss.backward()
    return loss.detach(), gradients(system)


def last_turn(system: System, channel: Channel, examples: Sequence[Example] = PAIR, *, rounds: int = 2) -> LastTurn:
    """The turn that the answer is written from."""
    questions = [example.question for example in examples]
    return run(system, questions, rounds=rounds, channel=channel, speak=lambda turn: turn)


# The loss of an answer


def soft_capped() -> HFBackbone:
    config = TINY["gemma3_text"]["config"] | {"final_logit_softcapping": 2.0}
    return new_backbone("gemma3_text", config, _byte_tokenizer(None), name="capped", seed=0, dtype=torch.float64)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
@pytest.mark.parametrize("make", [lambda: backbone("llama"), soft_capped], ids=["plain", "soft-capped"])
def test_a_loss_in_chunks_is_the_cross_entropy_of_all_logits(make: Callable[[], HFBackbone], chunk: int) -> None:
    model, ids_N = make(), torch.arange(7) + 65
    ours, theirs = (noise(7, model.dim).requires_grad_() for _ in range(2))
    weights_N = noise(7, seed=1)
    nll_N = chunked_nll(model, ours, ids_N, chunk=chunk)
    expected_N = cross_entropy(model.logits(theirs), ids_N, reduction="none")
    (nll_N * weights_N).sum().backward()
    (expected_N * weights_N).sum().backward()
    assert_close(nll_N, expected_N, 1e-12)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert_close(ours.grad, theirs.grad, 1e-12)
    assert ours.grad.abs().max() > 0


def test_a_loss_in_chunks_never_holds_more_logits_than_a_chunk() -> None:
    model = CountingBackbone(backbone("llama"))
    chunked_nll(model, noise(10, model.dim), torch.arange(10), chunk=4)
    assert model.logits_of == [(4, model.dim), (4, model.dim), (2, model.dim)]


def test_logits_of_low_precision_are_judged_in_float32() -> None:
    model = HFBackboneLike(backbone("llama"))
    h_ND = noise(5, backbone("llama").dim).bfloat16().requires_grad_()
    nll_N = chunked_nll(model, h_ND, torch.arange(5))
    nll_N.sum().backward()
    expected = cross_entropy(model.logits(h_ND.detach()).float(), torch.arange(5), reduction="none")
    assert nll_N.dtype == torch.float32
    assert torch.equal(nll_N, expected)
    assert h_ND.grad is not None
    assert h_ND.grad.dtype == torch.bfloat16


class HFBackboneLike(CountingBackbone):
    """A backbone whose head speaks bfloat16."""

    def logits(self, h: Tensor) -> Tensor:
        return self.inner.logits(h.double()).bfloat16()


def test_the_loss_of_an_answer_is_the_mean_cross_entropy_of_each_row_alone() -> None:
    system = tiny_system("deliberation", ["llama"])
    turn = last_turn(system, LatentChannel(latent_steps=2))
    targets = [answer_ids(backbone("llama"), example, 2) for example in PAIR]
    assert len({len(target) for target in targets}) == 2
    nll_B = answer_nll(turn, targets)
    for row, target in enumerate(targets):
        ids_BT = torch.tensor([target] * len(PAIR))
        logits_BTV = teacher_force(turn.agent.backbone, turn.read(), ids_BT)
        assert_close(nll_B[row], cross_entropy(logits_BTV[row], ids_BT[row]), 1e-9)


def test_a_target_is_the_answer_of_its_round_and_the_end_of_the_text() -> None:
    model = backbone("qwen2")
    example = Example(question=QUESTION, answer="b", answers=("a", "b"))
    assert [answer_ids(model, example, r) for r in (1, 2)] == [
        (*model.encode(text), model.end_id) for text in ("a", "b")
    ]
    with pytest.raises(ConfigError, match="answers for 2 rounds, round 3 was asked for"):
        answer_ids(model, example, 3)


@pytest.mark.parametrize("pattern", ["deliberation", "mixture"])
@pytest.mark.parametrize("forced", [False, True])
def test_a_batch_of_unequal_examples_equals_its_members_alone(pattern: str, forced: bool) -> None:
    system = tiny_system(pattern, ["llama", "gemma3_text"])
    examples = [replace(each, targets=dict.fromkeys(system.pattern.roles, f"{each.answer}, so")) for each in EXAMPLES]

    def nll(part: Sequence[Example]) -> Tensor:
        channel: Channel = LatentChannel(latent_steps=2)
        if forced:
            channel = forced_channel(system, part, cap=4, checkpointed=False)
        return outer_loss(system, part, rounds=2, channel=channel)

    with torch.no_grad():
        alone = torch.cat([nll([example]) for example in examples], dim=1)
        assert_close(nll(examples), alone, 1e-6)


# Rollouts


@pytest.mark.parametrize("pattern", LOOPS)
def test_messages_in_training_are_bitwise_those_of_an_inference_run(pattern: str) -> None:
    system = tiny_system(pattern, ["llama", "qwen2"])
    training, inference = (Recorder(LatentChannel(latent_steps=M)) for _ in range(2))
    outer_loss(system, PAIR, rounds=2, channel=training)
    with torch.inference_mode():
        run(system, QUESTIONS, rounds=2, channel=inference, speak=greedily(1))
    assert len(training.latents) == 2 * len(system.pattern.roles) - 1
    assert_same_turns(training.latents, inference.latents, 0)
    for ours, theirs in zip(training.carried, inference.carried, strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


@pytest.mark.parametrize("earlier", [0.1, 1.0])
def test_a_loss_on_every_round_is_the_weighted_mean_of_runs_that_end_there(earlier: float) -> None:
    system, channel = tiny_system("distillation", ["llama"]), LatentChannel(latent_steps=2)
    with torch.no_grad():
        nll_RB = outer_loss(system, PAIR, rounds=3, channel=channel, earlier_weight=earlier)
        alone = [outer_loss(system, PAIR, rounds=r, channel=channel)[-1] for r in (1, 2, 3)]
    for row, expected in zip(nll_RB, alone, strict=True):
        assert_close(row, expected, 1e-9)
    expected_B = (earlier * alone[0] + earlier * alone[1] + alone[2]) / (2 * earlier + 1)
    assert_close(weigh(nll_RB, earlier), expected_B, 1e-9)


def test_a_gate_weighs_a_round_by_the_right_answers_before_it_and_passes_no_gradient() -> None:
    system, channel = tiny_system("distillation", ["llama"]), LatentChannel(latent_steps=2)
    nll_RB = outer_loss(system, PAIR, rounds=3, channel=channel, earlier_weight=0.5)
    losses = []
    for b in range(len(PAIR)):
        one, two, three = nll_RB[:, b]
        open_2 = math.exp(-one.item())
        open_3 = open_2 * math.exp(-two.item())
        losses.append((0.5 * one + 0.5 * open_2 * two + open_3 * three) / 2)
    assert_close(weigh(nll_RB, 0.5, gated=True), torch.stack(losses), 1e-9)
    torch.stack(losses).sum().backward(retain_graph=True)
    plain = gradients(system)
    system.zero_grad()
    weigh(nll_RB, 0.5, gated=True).sum().backward()
    assert_same_gradients(gradients(system), plain)


@pytest.mark.parametrize("gated", [False, True])
def test_a_gated_step_has_the_gradient_of_the_gated_loss(gated: bool) -> None:
    system = tiny_system("sequential", ["llama"])
    trainer = trainer_of(system, rounds=2, earlier_weight=1.0, gated=gated)
    result = trainer.step(0)
    stepped = gradients(system)
    system.zero_grad()
    channel = LatentChannel(latent_steps=trainer.config.latent_steps or 0)
    nll_RB = outer_loss(system, EXAMPLES, rounds=2, channel=channel, earlier_weight=1.0)
    gates_B = torch.exp(-nll_RB[0].detach()) if gated else 1.0
    loss = (nll_RB[0] + gates_B * nll_RB[1]).mean() / 2
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), abs=1e-6)
    assert_same_gradients(stepped, gradients(system))


def test_a_gate_is_refused_where_no_earlier_round_has_a_loss() -> None:
    with pytest.raises(ConfigError, match=r"gated is True, expected false, or beside earlier_weight above 0"):
        OuterConfig(data="x.jsonl", gated=True)


def test_without_a_weight_on_earlier_rounds_only_the_last_one_is_computed() -> None:
    system, channel = tiny_system("distillation", ["llama"]), LatentChannel(latent_steps=2)
    with torch.no_grad():
        last = outer_loss(system, PAIR, rounds=3, channel=channel)
        every = outer_loss(system, PAIR, rounds=3, channel=channel, earlier_weight=1.0)
    assert (last.shape, every.shape) == ((1, 2), (3, 2))
    assert_close(last[0], every[-1], 0)
    assert_close(weigh(last, 0.0), last[0], 0)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("pattern", LOOPS)
def test_checkpointed_training_gives_exactly_the_plain_loss_and_gradients(pattern: str, memory: Memory) -> None:
    """With losses on every round, so that early turns are checkpointed too."""
    system = tiny_system(pattern, ["llama"])
    system.spec = replace(system.spec, memory=memory)
    loss, plain = loss_and_gradients(system, LatentChannel(latent_steps=2), earlier=0.3)
    again, same = loss_and_gradients(system, LatentChannel(latent_steps=2, checkpointed=True), earlier=0.3)
    assert torch.equal(loss, again)
    assert same_tensors(plain, same)
    assert plain.keys() == dict(system.named_parameters()).keys()


@pytest.mark.parametrize(
    ("pattern", "families"), [("sequential", ("llama", "gemma3_text", "qwen2")), ("deliberation", ("qwen3_5_text",))]
)
def test_checkpointed_training_equals_plain_training_for_every_kind_of_cache(
    pattern: str, families: tuple[str, ...]
) -> None:
    system = tiny_system(pattern, families)
    loss, plain = loss_and_gradients(system, LatentChannel(latent_steps=2))
    again, same = loss_and_gradients(system, LatentChannel(latent_steps=2, checkpointed=True))
    assert torch.equal(loss, again)
    assert same_tensors(plain, same)


class Saved:
    """Counts the bytes that autograd keeps for the backward pass, each piece of memory once; weights apart."""

    def __init__(self, system: System) -> None:
        weights = [p for model in system.backbones.values() for p in model.model.parameters()]
        self._seen = {p.untyped_storage().data_ptr() for p in [*weights, *system.parameters()]}
        self._kept: list[Tensor] = []  # so that no address is used twice
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._kept.append(tensor)
            self.bytes += storage.nbytes()
        return tensor


def test_checkpoints_and_shared_heads_save_five_times_fewer_bytes_for_the_same_gradients() -> None:
    system = tiny_system("sequential", ["llama"])
    long = [Example(question=Question(text=text * 40), answer="4") for text in ("How many? ", "Say why. ")]
    targets = [answer_ids(backbone("llama"), example, 3) for example in long]
    lean, plain = Saved(system), Saved(system)
    with torch.autograd.graph.saved_tensors_hooks(lean.pack, lambda tensor: tensor):
        ours = loss_of(system, LatentChannel(latent_steps=2, checkpointed=True), long, rounds=3)
    ours.backward()
    found = gradients(system)
    system.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(plain.pack, lambda tensor: tensor):
        theirs = run(
            system,
            [example.question for example in long],
            rounds=3,
            channel=LatentChannel(latent_steps=2),
            speak=lambda turn: answer_nll(turn, targets).sum(),
            share_heads=False,
        )
    theirs.backward()
    expected = gradients(system)
    assert_close(ours, theirs, 1e-9)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert_close(gradient, expected[name], 1e-9)
    assert 0 < 5 * lean.bytes < plain.bytes


# Teacher forcing


def forced(targets: Mapping[str, Sequence[str]], cap: int = 80) -> ForcedChannel:
    return ForcedChannel(targets=targets, cap=cap)


def test_a_forced_message_is_the_inner_link_of_the_states_at_the_targets_first_tokens() -> None:
    system, texts, cap = tiny_system("deliberation", ["llama"]), ("a long one", "b"), 4
    model, link = backbone("llama"), system.inner["reflector"]
    recorder = Recorder(forced({"reflector": texts, "toolcaller": texts}, cap))
    last_turn(system, recorder, rounds=1)
    blocks = recorder.thoughts[0][1].message
    assert isinstance(blocks, list)
    for question, text, z_TD in zip(QUESTIONS, texts, blocks, strict=True):
        assert isinstance(z_TD, Tensor)
        prompt = system.render("reflector", question, frozenset())
        ids = [*prompt.head, *(i for part in prompt.body for i in part if isinstance(i, int))]
        target = model.encode(text)[:cap]
        h_1LD, _ = model.extend(model.start(cached=False), model.embed(torch.tensor([[*ids, *target]])))
        assert len(z_TD) == min(cap, len(text))
        assert_close(z_TD, link(h_1LD[0, len(ids) :]), 1e-9)
    for block, carried in zip(blocks, recorder.carried[0], strict=True):
        assert isinstance(block, Tensor)
        assert_close(carried, system.link(system.pattern.edges[0])(block), 0)


def test_a_target_shorter_than_the_cap_is_sent_whole_whatever_the_batch() -> None:
    system = tiny_system("deliberation", ["llama"])
    recorder = Recorder(forced({"reflector": ("abcdef", "xy")}, cap=5))
    last_turn(system, recorder, rounds=1)
    assert [len(block) for block in recorder.carried[0]] == [5, 2]


def test_the_feedback_of_round_two_knows_the_gold_answer() -> None:
    """The release's known leak: the answerer's own target is the answer, so what it sends back in teacher-forced
    training tells the answer; at inference nobody could say it."""
    system = tiny_system("deliberation", ["llama"])

    def carried(answer: str) -> list[Tensor]:
        examples = [replace(PAIR[0], answer=answer)]
        channel = forced_channel(system, examples, cap=8, checkpointed=False)
        recorder = Recorder(channel)
        last_turn(system, recorder, examples)
        return [payload[0] for payload in recorder.carried]

    ours, theirs = carried("blue"), carried("pink")
    assert len(ours) == 3
    assert torch.equal(ours[0], theirs[0])  # round 1, reflector -> toolcaller: knows the question only
    assert (ours[1] - theirs[1]).abs().max() > 1e-3  # the feedback
    assert (ours[2] - theirs[2]).abs().max() > 1e-6  # what the reflector made of it


def test_the_answerers_target_is_the_answer_unless_it_has_its_own() -> None:
    system = tiny_system("deliberation", ["llama"])
    examples = [PAIR[0], replace(PAIR[1], targets={"reflector": "a", "toolcaller": "own"})]
    channel = forced_channel(system, examples, cap=8, checkpointed=False)
    assert channel.targets["toolcaller"] == ["4", "own"]


def test_a_missing_role_target_is_refused_in_one_line() -> None:
    system = tiny_system("deliberation", ["llama"])
    examples = (PAIR[0], replace(PAIR[1], targets={}))
    with pytest.raises(ConfigError, match=r"needs a target text for reflector, and 'Name a river.' has none") as caught:
        trainer_of(system, examples, objective="teacher_forced").check(())
    assert "\n" not in str(caught.value)
    trainer_of(system, examples).check(())  # rollouts need none
    with pytest.raises(QuestionError, match="row 2 of the batch has an empty target for reflector"):
        last_turn(system, forced({"reflector": ("a", "")}), rounds=1)


@pytest.mark.parametrize("pattern", ["sequential", "mixture"])
def test_checkpointed_teacher_forcing_gives_exactly_the_plain_loss_and_gradients(pattern: str) -> None:
    system = tiny_system(pattern, ["llama"])
    targets = dict.fromkeys(system.pattern.roles, ("one two", "three"))
    channel = ForcedChannel(targets=targets, cap=4)
    loss, plain = loss_and_gradients(system, channel, earlier=0.3)
    again, same = loss_and_gradients(system, replace(channel, checkpointed=True), earlier=0.3)
    assert torch.equal(loss, again)
    assert same_tensors(plain, same)
    assert plain.keys() == dict(system.named_parameters()).keys()


def test_forced_messages_of_all_rounds_can_be_kept_but_not_summed() -> None:
    system = tiny_system("deliberation", ["llama"])
    channel = forced({"reflector": ("abc", "d"), "toolcaller": ("e", "fg")})
    system.spec = replace(system.spec, memory="all")
    assert [len(block) for block in last_turn(system, channel).inbox["reflector"]] == [6, 2]
    system.spec = replace(system.spec, memory="sum")
    with pytest.raises(ConfigError, match="only latents can be added"):
        last_turn(system, channel)


# Mixed: from all teacher-forced to all rollout


def draws(steps: int, seed: int = 0, until: float = 0.5) -> list[str]:
    trainer = trainer_of(
        tiny_system("deliberation", ["llama"]), objective="mixed", steps=steps, mixed_until=until, seed=seed
    )
    return [trainer._objective(number) for number in range(steps)]


def test_a_mixed_training_begins_teacher_forced_and_ends_in_rollouts() -> None:
    found = draws(400)
    assert found[0] == "teacher_forced"
    assert set(found[200:]) == {"rollout"}
    first, second = (part.count("teacher_forced") for part in (found[:100], found[100:200]))
    assert 60 < first < 90  # 75 are expected
    assert 10 < second < 40  # 25
    assert draws(400, until=1.0)[200:].count("teacher_forced") > 20


def test_a_mixed_training_draws_the_same_for_the_same_seed() -> None:
    assert draws(50) == draws(50)
    assert draws(50) != draws(50, seed=1)


def test_a_mixed_step_has_the_gradient_of_the_objective_that_it_drew() -> None:
    system = tiny_system("deliberation", ["llama"])

    def gradient(objective: str) -> dict[str, Tensor]:
        system.zero_grad()
        trainer_of(system, objective=objective, steps=4).step(0)
        return gradients(system)

    assert same_tensors(gradient("mixed"), gradient("teacher_forced"))
    assert not same_tensors(gradient("mixed"), gradient("rollout"))


# Constants


def test_a_constant_system_trains_its_constants_and_reads_nobody_but_the_answerer() -> None:
    system = tiny_system("sequential", ["llama"], outer="constant")
    models = {role: CountingBackbone(backbone("llama")) for role in system.pattern.roles}
    agents = {role: replace(agent, backbone=models[role]) for role, agent in system.agents.items()}
    channel = system.channel(32, checkpointed=True)
    assert channel == ConstantChannel(latent_steps=32)
    outer_loss(StandIn(system, agents), PAIR, rounds=2, channel=channel).sum().backward()
    assert gradients(system).keys() == {"outer.critic->solver.message_MD"}
    assert (models["planner"].reads, models["critic"].reads) == ([], [])
    assert len(models["solver"].reads) > 0


def test_the_parameters_of_a_constant_system_are_the_constants_that_its_answerer_reads() -> None:
    system = tiny_system("sequential", ["llama"], outer="constant")
    trainer = trainer_of(system, latent_steps=None)
    assert trainer.parameters.keys() == {"outer.critic->solver.message_MD"}


def test_the_room_of_a_run_counts_the_longest_answer_of_any_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sliding window must hold the prompt and all that is written after it, or padding may stand in its way."""
    rooms: list[int | None] = []
    init = Heads.__init__

    def note(self: Heads, room: int | None = None, *, graded: bool = False) -> None:
        rooms.append(room)
        init(self, room, graded=graded)

    monkeypatch.setattr(Heads, "__init__", note)
    example = Example(question=QUESTION, answer="b", answers=("a long answer", "b"))
    with torch.no_grad():
        outer_loss(tiny_system("deliberation", ["llama"]), [example], rounds=2, channel=LatentChannel(latent_steps=2))
    assert rooms == [len("a long answer") + 1]


class Told(StandIn[System]):
    """What crosses a round is what was written down, whatever is thought."""

    def __init__(self, system: System, crossing: Mapping[Edge, list[Tensor]]) -> None:
        super().__init__(system)
        self.crossing = crossing

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        link = self.system.link(edge)
        return link if self.pattern.is_forward(edge) else lambda _: link(self.crossing[edge].pop(0))


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("pattern", LOOPS)
def test_with_rounds_apart_what_crosses_a_round_is_a_given(pattern: str, memory: Memory, checkpointed: bool) -> None:
    """The slow twin is told, round by round, what a run without gradients had written."""
    system = tiny_system(pattern, ["llama"])
    system.spec = replace(system.spec, memory=memory)
    channel = LatentChannel(latent_steps=2, checkpointed=checkpointed)
    crossing = {edge: list[Tensor]() for edge in system.pattern.edges if not system.pattern.is_forward(edge)}

    def kept(edge: Edge, module: torch.nn.Module, z: tuple[Tensor, ...]) -> None:
        crossing[edge].append(z[0].detach())

    hooks = [system.outer[str(edge)].register_forward_pre_hook(partial(kept, edge)) for edge in crossing]
    apart = unroll(system, PAIR, rounds=3, channel=channel, earlier_weight=0.3, across_rounds=False)
    for hook in hooks:
        hook.remove()
    weigh(apart.nll_RB, 0.3).sum().backward()
    ours = gradients(system)
    system.zero_grad()
    told = Told(system, crossing)
    loss = weigh(outer_loss(told, PAIR, rounds=3, channel=channel, earlier_weight=0.3), 0.3).sum()
    loss.backward()
    assert torch.equal(loss, loss_of(system, channel, rounds=3, earlier=0.3))  # forward, nothing is another
    assert torch.equal(loss, weigh(apart.nll_RB, 0.3).sum())
    assert same_tensors(ours, gradients(system))
    system.zero_grad()
    _, through = loss_and_gradients(system, channel, rounds=3, earlier=0.3)
    answerer = f"inner.{system.pattern.answerer}."  # whose thoughts cross a round, wherever they go
    assert ours.keys() == {name for name in through if not name.startswith(answerer)}
    assert not same_tensors(ours, {name: through[name] for name in ours})
