"""The release's second call: an answer without its mark, such as a box, is written on after a lead-in that opens one.

The surprising thing: the model reads its own text and the lead-in, and neither the question nor a chat template. What
was added is part of the answer, and the trace has a turn for it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rmas.backbone import HFBackbone
from rmas.conversation import Prompt
from rmas.engine import Agent, Turn, read, speak
from rmas.packs import Retry
from rmas.prompt import Question
from rmas.settings import Sampling
from rmas.solver import Answer


def retried(
    answers: Sequence[Answer],
    questions: Sequence[Question],
    retries: Mapping[str, Retry],
    *,
    agent: Agent,
    backbone: HFBackbone,
    sampling: Sampling,
) -> list[Answer]:
    """The answers, those that lack the mark of their kind of task with more text, one row at a time."""
    return [
        _again(answer, question, retry, agent=agent, backbone=backbone, sampling=sampling)
        if (retry := retries.get(question.kind)) is not None
        else answer
        for answer, question in zip(answers, questions, strict=True)
    ]


def _again(
    answer: Answer, question: Question, retry: Retry, *, agent: Agent, backbone: HFBackbone, sampling: Sampling
) -> Answer:
    once = replace(sampling, max_new_tokens=retry.tokens, samples=1, stop=())
    generators = sampling.generators(question.text, "retry")
    samples, finishes, tokens = list(answer.samples), list(answer.finishes), list(answer.trace.sample_tokens)
    began, tokens_in, tokens_out = time.perf_counter(), 0, 0
    for number, text in enumerate(answer.samples):
        ids = (*backbone.tokenizer.bos, *backbone.encode(text + retry.lead))
        if retry.unless in text or len(ids) + retry.tokens > backbone.context:
            continue
        *_, (row,) = speak(backbone, read(agent, [Prompt(ids, ())], {}), once, [generators[number]])
        samples[number], finishes[number] = text + retry.lead + row.text, row.finish or "length"
        tokens[number] += len(row.ids)
        tokens_in, tokens_out = tokens_in + len(ids), tokens_out + len(row.ids)
    if not tokens_in:
        return answer
    turn = Turn(
        round=answer.trace.turns[-1].round,
        role=agent.role,
        verb="speak",
        tokens_in=tokens_in,
        latent_steps=0,
        tokens_out=tokens_out,
        seconds=time.perf_counter() - began,
    )
    trace = replace(answer.trace, turns=(*answer.trace.turns, turn), sample_tokens=tuple(tokens))
    return replace(answer, samples=tuple(samples), finishes=tuple(finishes), trace=trace)
