"""The engine: one interpreter, two verbs, two channels.

turn.py      read, think: splice a prompt with its inbox, roll latents out of it
decode.py    speak: sampling, stop strings, streaming
channel.py   what a message is made of: latents or text
run.py       the interpreter
trace.py     what happened, counted once
"""

from rmas.engine.channel import Channel, LatentChannel, TextChannel
from rmas.engine.decode import Row, speak, teacher_force
from rmas.engine.run import LastTurn, Runnable, check_lengths, run
from rmas.engine.trace import Trace, Turn, Usage
from rmas.engine.turn import Agent, Heads, read, rollout
from rmas.settings import Sampling

__all__ = [
    "Agent",
    "Channel",
    "Heads",
    "LastTurn",
    "LatentChannel",
    "Row",
    "Runnable",
    "Sampling",
    "TextChannel",
    "Trace",
    "Turn",
    "Usage",
    "check_lengths",
    "read",
    "rollout",
    "run",
    "speak",
    "teacher_force",
]
