"""The prompt stage, for the baselines: TextGrad (Yuksekgonul et al. 2024, arXiv:2406.07496) on an agent alone.

The library's loop with a local engine: the agent answers some training questions, the same model criticises answers
and then the system text that led to them, and proposes a new text. A text stays only where dev is not worse with it.
What comes out is a bundle with a prompt pack of its own; no weight changes.

A proposal that the model does not put between the tags that it is told is no proposal: the text stays as it was.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

import torch

from rmas.engine import read, speak
from rmas.errors import CheckpointError, ConfigError, QuestionError
from rmas.prompt import PromptPack, Question, RoleText, Section
from rmas.runfolder import claim_folder
from rmas.settings import Sampling
from rmas.system import System
from rmas.train.alone import ALONE, keep_alone
from rmas.train.config import Cost, PromptConfig, Report, TrainResult
from rmas.train.data import Batches, Example, lengths_of, load_examples, split_examples
from rmas.train.dev import check_answers, check_read, measure, replies
from rmas.train.journal import Journal
from rmas.train.operations import Operations
from rmas.train.textual import Answered, need_textgrad, propose
from rmas.wholefile import write_whole

TEXTS = "prompts.json"
_SENT = (Section(("", "question", "")),)


class Tried(NamedTuple):
    """A text that was tried: what dev said, and what the step took. `text` is None where nothing was proposed."""

    text: str | None
    accuracy: float
    loss: float
    is_kept: bool
    operations: int
    seconds: float


def train_prompt(system: System, config: PromptConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Rewrite the system text of the one agent of `system` (`SystemSpec.alone`); leave a bundle in `out`.

    Raises ConfigError for data or settings that do not fit or without the library, CheckpointError for a folder that
    cannot be written or resumed.
    """
    split = split_examples(load_examples(config, roles=(*system.pattern.roles, *system.spec.team)), dev=config.dev)
    batches = Batches(lengths_of(split.train), batch_size=config.batch_size, seed=config.data_seed, by_length=False)
    writer = _Writer(system, config)
    check_answers(system, (example.answer for example in split.dev), max_new_tokens=config.max_new_tokens)
    check_read(system, (*split.train, *split.dev), channels=[ALONE], rounds=1, max_new_tokens=config.max_new_tokens)
    claim_folder(out, config, resume=resume)
    original = writer.text
    tried = _read(out) if resume else []
    if not tried:
        tried = [writer.judge(original, split.dev)]
        _write(out, tried)
    journal = Journal(out, resume_from=len(tried) - 1)
    try:
        if len(tried) == 1:
            journal.write(0, "dev", {"accuracy": tried[0].accuracy, "loss": tried[0].loss})
        while len(tried) <= config.steps:
            best = [each for each in tried if each.is_kept][-1]
            assert best.text is not None, "what was kept is a text"
            number = len(tried)
            writer.text = best.text
            found = writer.step(number, [split.train[i] for i in batches[number - 1]], split.dev, best)
            tried.append(found)
            _write(out, tried)
            figures = {"accuracy": found.accuracy, "loss": found.loss, "kept": float(found.is_kept)}
            if found.text is not None:
                journal.write(number, "dev", figures)
            report("system text", number, config.steps, {"loss": min(best.loss, found.loss)})
    finally:
        journal.close()
    kept = [each for each in tried if each.is_kept][-1]
    assert kept.text is not None, "what was kept is a text"
    writer.text = kept.text
    keep_alone(
        system.spec,
        out,
        entry={},
        max_new_tokens=config.max_new_tokens,
        card=_card(system, config, tried, original),
        wording=(config.kind, kept.text),
    )
    cost = Cost(float(sum(each.operations for each in tried)), sum(each.seconds for each in tried))
    return TrainResult(config.steps, {"dev_accuracy": kept.accuracy, "dev_loss": kept.loss}, True, 0, 0, cost)


@final
class _Writer:
    """The agent with a system text that can be set, and the library's loop around it."""

    def __init__(self, system: System, config: PromptConfig) -> None:
        (self._role,) = system.pattern.roles
        self._system, self._config = system, config
        self._backbone = system.backbones[self._role]
        self._written = 0  # operations of a step's criticisms, counted from their lengths: counting as they run is slow
        need_textgrad()

    @property
    def text(self) -> str:
        return self._system.spec.pack.roles[self._role, self._config.kind].system

    @text.setter
    def text(self, text: str) -> None:
        pack, key = self._system.spec.pack, (self._role, self._config.kind)
        roles = dict(pack.roles) | {key: pack.roles[key]._replace(system=text)}
        self._system.spec = replace(self._system.spec, pack=replace(pack, roles=roles))

    def judge(self, text: str, dev: Sequence[Example], *, over: Tried | None = None) -> Tried:
        """What dev says of a text. It is kept unless it is worse than `over`: in accuracy, of equal ones in loss."""
        self.text = text
        began = time.monotonic()
        with Operations() as counted:
            figures = measure(
                self._system,
                dev,
                rounds=1,
                channel_of=lambda _: ALONE,
                probes=(),
                batch_size=self._config.dev_batch,
                max_new_tokens=self._config.max_new_tokens,
            )
        accuracy, loss = figures["accuracy"], figures["loss"]
        is_kept = over is None or (accuracy, -loss) >= (over.accuracy, -over.loss)
        return Tried(text, accuracy, loss, is_kept, counted.total, time.monotonic() - began)

    def step(self, number: int, batch: Sequence[Example], dev: Sequence[Example], best: Tried) -> Tried:
        """A batch answered and criticised, a text proposed, and what dev says of it."""
        began, self._written = time.monotonic(), 0
        with Operations() as counted:
            said = replies(
                self._system,
                batch,
                rounds=1,
                channel=ALONE,
                max_new_tokens=self._config.max_new_tokens,
                losses=False,
            )
        answered = [Answered(e.question.text, row[-1].text, e.answer) for e, row in zip(batch, said, strict=True)]
        text = propose(self.text, answered, partial(self._write, number))
        took, operations = time.monotonic() - began, counted.total + self._written
        nothing = Tried(None, best.accuracy, best.loss, False, operations, took)
        if not text or text == best.text:
            return nothing
        try:
            self.text = text
            check_read(
                self._system, [*batch, *dev], channels=[ALONE], rounds=1, max_new_tokens=self._config.max_new_tokens
            )
        except QuestionError:  # too long a text leaves no room for the question
            return nothing
        found = self.judge(text, dev, over=best)
        return found._replace(operations=found.operations + operations, seconds=found.seconds + took)

    @torch.inference_mode()
    def _write(self, step: int, content: str, system: str) -> str:
        """What the model says to a text of the library's, drawn by (seed, step, content): calls come in any order."""
        pack = self._system.spec.pack
        bare = PromptPack(
            name=pack.name, path=pack.path, tasks=pack.tasks, roles={(self._role, "open"): RoleText(system, _SENT)}
        )
        prompt = bare.render(self._role, Question(text=content), self._backbone.tokenizer, filled=frozenset())
        sampling = Sampling(
            temperature=self._config.temperature, max_new_tokens=self._config.feedback_tokens, seed=self._config.seed
        )
        if (excess := prompt.num_tokens + sampling.max_new_tokens - self._backbone.context) > 0:
            raise ConfigError(
                f"a criticism of {self._config.batch_size} answers is {excess} tokens too long for "
                f"{self._backbone.name}. Lower batch_size or feedback_tokens."
            )
        start = read(self._system.agents[self._role], [prompt], {})
        *_, rows = speak(self._backbone, start, sampling, sampling.generators(str(step), content))
        position, head = self._backbone.flops
        self._written += (prompt.num_tokens + len(rows[0].ids)) * position + len(rows[0].ids) * head
        return rows[0].text


def _read(out: Path) -> list[Tried]:
    try:
        return [Tried(**row) for row in json.loads((out / TEXTS).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as problem:
        raise CheckpointError(f"{out / TEXTS}: cannot be read ({problem}). Begin anew in another folder.") from None


def _write(out: Path, tried: Sequence[Tried]) -> None:
    rows = [each._asdict() for each in tried]
    try:
        write_whole(out / TEXTS, json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    except OSError as problem:
        raise CheckpointError(f"{out}: cannot be written ({problem.strerror}). Free some room.") from None


def _card(system: System, config: PromptConfig, tried: Sequence[Tried], original: str) -> str:
    (backbone,) = system.backbones.values()
    kept = [each for each in tried if each.is_kept]
    proposed = sum(each.text is not None for each in tried[1:])
    return (
        f"# {backbone.name}, its system text rewritten by TextGrad\n\n"
        f"Data `{config.data}`, {config.steps} steps of {config.batch_size} answers, {config.dev} dev questions, seed "
        f"{config.seed}. {proposed} proposals, {len(kept) - 1} kept; dev accuracy {kept[0].accuracy:.3f} before, "
        f"{kept[-1].accuracy:.3f} after (chosen on it). Every text is in {TEXTS}. A baseline: no agent hears another."
        "\n\n"
        f"Before:\n\n> {_quoted(original)}\n\nAfter:\n\n> {_quoted(kept[-1].text or '')}\n\n"
        '```sh\nrmas ask FOLDER "Your question"\n```\n'
    )


def _quoted(text: str) -> str:
    return text.replace("\n", "\n> ")
