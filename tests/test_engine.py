"""The interpreter's edges: nothing to think, bad numbers, long questions; and what may learn."""

import pytest
import torch
from torch import Tensor, nn

from rmas.backbone import tiny_backbone
from rmas.conversation import Slot
from rmas.engine import (
    Agent,
    Heads,
    LastTurn,
    LatentChannel,
    Sampling,
    TextChannel,
    check_lengths,
    read,
    rollout,
    run,
    teacher_force,
)
from rmas.errors import ConfigError, NumericsError, QuestionError
from rmas.link import Link, SoftToken
from rmas.pattern import Edge
from rmas.prompt import Question
from rmas.solvers import RecursiveSolver, RunConfig
from rmas.system import load_system
from zoo import (
    FAMILIES,
    LOOPS,
    PATTERNS,
    QUESTION,
    QUESTIONS,
    Recorder,
    assert_close,
    backbone,
    greedily,
    tiny_system,
    tolerance,
    with_context,
)

MIXED = ("llama", "gemma3_text", "qwen2")


# Nothing to think


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_zero_latent_steps_are_the_answerer_alone_with_empty_slots(pattern: str, rounds: int) -> None:
    system = tiny_system(pattern, MIXED)
    with torch.inference_mode():
        end = run(system, [QUESTION], rounds=rounds, channel=LatentChannel(latent_steps=0), speak=greedily(3))
    assert end.last.agent.role == system.pattern.answerer
    assert (end.last.round, end.last.inbox, end.last.log.turns) == (rounds, {}, ([],))
    assert not any(isinstance(part, Slot) for part in end.last.prompts[0].body)
    answerer = system.agents[system.pattern.answerer]
    prompt = system.render(answerer.role, QUESTION, frozenset())
    with torch.inference_mode():
        assert_close(end.last.read().h_BD, read(answerer, [prompt], {}).h_BD, tolerance(*MIXED))


def test_a_silent_run_is_one_turn_in_the_trace() -> None:
    solver = RecursiveSolver(
        tiny_system("mixture", MIXED), RunConfig(rounds=2, latent_steps=0), Sampling(max_new_tokens=2)
    )
    (answer,) = solver.solve([QUESTION])
    (turn,) = answer.trace.turns
    assert (turn.round, turn.role, turn.verb, turn.latent_steps) == (2, "summarizer", "speak", 0)


@pytest.mark.parametrize("rounds", [0, -1])
def test_a_run_without_rounds_is_refused(rounds: int) -> None:
    with pytest.raises(ConfigError, match=f"rounds is {rounds}, expected 1 or more"):
        run(tiny_system("solo"), [QUESTION], rounds=rounds, channel=LatentChannel(latent_steps=1), speak=greedily(1))


def test_a_negative_number_of_latent_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="latent_steps is -1"):
        LatentChannel(latent_steps=-1)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_message_back_is_read_in_the_next_round(rounds: int) -> None:
    """sequential with the planner's answer to come: in round 1 nobody has written to it, in round 2 the solver has."""
    system = tiny_system("sequential", MIXED)
    recorder = Recorder(LatentChannel(latent_steps=2))
    with torch.inference_mode():
        log = run(system, [QUESTION], rounds=rounds, channel=recorder, speak=lambda last: last.log)
    heard = [frozenset[str]()] + [frozenset(["solver"])] * (rounds - 1)
    planner = [turn for turn in log.turns[0] if turn.role == "planner"]
    sizes = [system.render("planner", QUESTION, sources).num_tokens + 2 * len(sources) for sources in heard]
    assert [turn.tokens_in for turn in planner] == sizes


def test_private_context_reaches_its_own_role_only() -> None:
    system = tiny_system("deliberation", MIXED)
    told = with_context(QUESTION, system.pattern)
    assert told.context
    for role in system.pattern.roles:
        plain, aware = (system.render(role, q, frozenset()).num_tokens for q in (QUESTION, told))
        assert (aware > plain) == (role in told.context)


# Latents that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [1, 3])
def test_a_latent_that_is_not_finite_names_role_and_step(step: int, value: float) -> None:
    system, calls = tiny_system("sequential", MIXED), 0
    critic = system.inner["critic"]

    def spoil(_: nn.Module, __: tuple[Tensor, ...], z: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full_like(z, value) if calls == step else z

    critic.register_forward_hook(spoil)
    with pytest.raises(NumericsError, match=rf"round 1, critic \(tiny:gemma3_text\): latent step {step} of 4"):
        run(system, QUESTIONS, rounds=1, channel=LatentChannel(latent_steps=4), speak=lambda last: None)


def test_a_broken_weight_of_an_inner_link_is_found_at_its_first_step() -> None:
    system = tiny_system("sequential", MIXED)
    with torch.no_grad():
        next(system.inner["critic"].parameters()).fill_(float("nan"))
    with pytest.raises(NumericsError, match=r"round 1, critic .*latent step 1 of 4"):
        run(system, [QUESTION], rounds=1, channel=LatentChannel(latent_steps=4), speak=lambda last: None)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_broken_outer_link_is_named_before_anyone_answers_from_it(rounds: int) -> None:
    system = tiny_system("deliberation", MIXED)
    with torch.no_grad():
        next(system.outer["reflector->toolcaller"].parameters()).fill_(float("inf"))
    solver = RecursiveSolver(system, RunConfig(rounds=rounds, latent_steps=2), Sampling(max_new_tokens=2))
    with pytest.raises(NumericsError, match=r"round 1, outer link reflector->toolcaller: latent step 1 of 2"):
        solver.solve([QUESTION])


# Questions that do not fit


def test_a_question_that_is_too_long_is_refused_by_how_much() -> None:
    system, steps = tiny_system("sequential", MIXED), 5
    taken = {  # prompt without the question, a message, and latents to come (the answer's one token needs less)
        role: system.render(role, Question(text="x"), frozenset(e.source for e in system.pattern.into(role))).num_tokens
        - 1
        + 2 * steps
        for role in system.pattern.roles
    }
    role = max(taken, key=taken.__getitem__)
    room = system.backbones[role].context - taken[role]
    channel = LatentChannel(latent_steps=steps)
    check_lengths(system, [QUESTION, Question(text="x" * room)], channel=channel, max_new_tokens=1)
    with pytest.raises(QuestionError, match=rf"question 2 .*{role} .* 1 too many"):
        check_lengths(system, [QUESTION, Question(text="x" * (room + 1))], channel=channel, max_new_tokens=1)


def test_the_answer_and_text_messages_need_room_too() -> None:
    system = tiny_system("solo", ["llama"])
    room = backbone("llama").context - system.render("solver", QUESTION, frozenset()).num_tokens
    check_lengths(system, [QUESTION], channel=LatentChannel(latent_steps=1), max_new_tokens=room)
    with pytest.raises(QuestionError, match=r"the question .* 1 too many"):
        check_lengths(system, [QUESTION], channel=LatentChannel(latent_steps=1), max_new_tokens=room + 1)
    team, talkative = tiny_system("sequential", MIXED), TextChannel(sampling=Sampling(max_new_tokens=2000))
    with pytest.raises(QuestionError, match="too many"):
        check_lengths(team, [QUESTION], channel=talkative, max_new_tokens=1)


def test_a_solver_refuses_a_long_question_before_any_work() -> None:
    solver = RecursiveSolver(tiny_system("sequential", MIXED), RunConfig(rounds=1, latent_steps=1))
    with pytest.raises(QuestionError, match="question 2"):
        solver.solve([QUESTION, Question(text="x" * 2100)])


# What learns, and what is shared


def test_roles_on_one_model_share_one_backbone(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("system")
    roles = {"planner": "llama", "critic": "qwen2", "solver": "llama"}
    text = 'pattern = "sequential"\nstart = "identity"\n'
    text += "".join(f'[roles.{role}]\nbackbone = "tiny:{family}"\n' for role, family in roles.items())
    (folder / "shared.toml").write_text(text)
    system = load_system(str(folder / "shared.toml"), cache=folder / "cache")
    assert system.backbones["planner"] is system.backbones["solver"]
    assert system.backbones["planner"] is not system.backbones["critic"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_only_links_require_gradients_and_are_saved(pattern: str) -> None:
    system = tiny_system(pattern, MIXED)
    roles, edges = system.pattern.roles, system.pattern.edges
    links = {f"inner.{role}" for role in roles} | {f"outer.{edge}" for edge in edges}
    assert {name.rsplit(".", 2)[0] for name in system.state_dict()} == links
    assert {name for name, _ in system.named_parameters()} == set(system.state_dict())
    assert all(parameter.requires_grad for parameter in system.parameters())
    for model in system.backbones.values():
        assert not any(parameter.requires_grad for parameter in model.model.parameters())


@pytest.mark.parametrize("pattern", LOOPS)
def test_every_link_gets_a_gradient_at_two_rounds(pattern: str) -> None:
    """Feedback edges included. One answer: solo's inner link is the exception, nobody hears it."""
    system = tiny_system(pattern, ("llama", "mistral", "gpt2"))
    targets_BT = torch.tensor([[65, 66, 67]])

    def loss(last: LastTurn) -> Tensor:
        logits_BTV = teacher_force(last.agent.backbone, last.read(), targets_BT)
        return nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())

    run(system, [QUESTION], rounds=2, channel=LatentChannel(latent_steps=2), speak=loss).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0, name


def test_a_run_leaves_the_system_as_it_was() -> None:
    system = tiny_system("mixture", MIXED)
    before = system.digest()
    solver = RecursiveSolver(system, RunConfig(rounds=2, latent_steps=2), Sampling(max_new_tokens=3))
    first, second = (solver.solve(QUESTIONS) for _ in range(2))
    assert system.digest() == before
    assert [answer.samples for answer in first] == [answer.samples for answer in second]


# The soft token


@pytest.mark.parametrize("family", FAMILIES)
def test_a_soft_token_rollout_stays_within_the_embeddings(family: str) -> None:
    """Each latent is a mean of embeddings, so no coordinate leaves their range. The head is used, on purpose."""
    system = tiny_system("deliberation", [family], inner="soft_token")
    assert isinstance(system.inner["reflector"], SoftToken)
    recorder = Recorder(LatentChannel(latent_steps=3))
    with torch.inference_mode():
        end = run(system, QUESTIONS, rounds=2, channel=recorder, speak=greedily(2))
    model = system.backbones["reflector"]
    table_VD = model.embed(torch.arange(len(model.tokenizer.hf)))
    for _, z_BMD in recorder.latents:
        assert (z_BMD <= table_VD.amax(0) + 1e-5).all()
        assert (z_BMD >= table_VD.amin(0) - 1e-5).all()
    assert [len(ids) for ids in end.ids] == [2, 2, 2]


def test_a_cold_soft_token_is_the_embedding_of_the_next_greedy_token() -> None:
    model = tiny_backbone("llama")
    agent = Agent(role="solver", backbone=model, inner=SoftToken(model, tau=1e-4))
    prompt = tiny_system("solo", ["llama"]).render("solver", QUESTION, frozenset())
    with torch.inference_mode():
        start = read(agent, [prompt], {}, heads=Heads())
        z_BMD = rollout(agent, start, 4)
        system = tiny_system("solo", ["llama"])
        end = run(system, [QUESTION], rounds=1, channel=LatentChannel(latent_steps=1), speak=greedily(4))
        assert_close(z_BMD[0], model.embed(torch.tensor(end.ids[0])), 1e-4)


def test_links_have_the_width_of_both_ends() -> None:
    system = tiny_system("mixture", MIXED)
    for edge in system.pattern.edges:
        link = system.outer[str(Edge(*edge))]
        assert isinstance(link, Link)
        assert (link.d_in, link.d_out) == (system.backbones[edge.source].dim, system.backbones[edge.target].dim)
