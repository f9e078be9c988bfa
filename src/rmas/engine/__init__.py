"""The engine: one interpreter, two verbs, two channels.

turn.py      read, think: splice a prompt with its inbox, roll latents out of it
decode.py    speak: sampling, stop strings, streaming
spelling.py  ids as a growing text
calls.py     calls of tools inside a text: found, run, read
channel.py   what a message is made of: latents or text
control.py   the same with the content taken out of the messages
run.py       the interpreter
trace.py     what happened, counted once
"""

from rmas.engine.calls import least_tokens
from rmas.engine.channel import (
    Around,
    Channel,
    ConstantChannel,
    KnownThoughts,
    LatentChannel,
    TextChannel,
    Thought,
    carry_latents,
)
from rmas.engine.clip import Clip
from rmas.engine.control import NEED_ONE_LENGTH, Controlled
from rmas.engine.decode import Row, speak, target_states, teacher_force
from rmas.engine.run import LastTurn, Log, Runnable, StandIn, check_lengths, run
from rmas.engine.trace import Call, Trace, Turn, Usage
from rmas.engine.turn import (
    Agent,
    Heads,
    Inbox,
    Payload,
    Read,
    check_finite,
    halting_rollout,
    num_positions,
    read,
    recomputed,
    rollout,
    splice,
)
from rmas.settings import Sampling

__all__ = [
    "NEED_ONE_LENGTH",
    "Agent",
    "Around",
    "Call",
    "Channel",
    "Clip",
    "ConstantChannel",
    "Controlled",
    "Heads",
    "Inbox",
    "KnownThoughts",
    "LastTurn",
    "LatentChannel",
    "Log",
    "Payload",
    "Read",
    "Row",
    "Runnable",
    "Sampling",
    "StandIn",
    "TextChannel",
    "Thought",
    "Trace",
    "Turn",
    "Usage",
    "carry_latents",
    "check_finite",
    "check_lengths",
    "halting_rollout",
    "least_tokens",
    "num_positions",
    "read",
    "recomputed",
    "rollout",
    "run",
    "speak",
    "splice",
    "target_states",
    "teacher_force",
]
