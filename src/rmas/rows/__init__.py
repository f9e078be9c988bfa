"""Rows as they are stored or generated: files, datasets, reasoning-gym. No column has a meaning here.

stored.py   JSONL and JSON files, Hugging Face datasets, addresses of the form NAME?option=value
gym.py      reasoning-gym's generators
deal.py     their items, the facts dealt out to agents
relay.py    look-ups that go from agent to agent
"""

from rmas.rows.deal import DEALS, deal_rows
from rmas.rows.gym import gym_items, gym_rows, read_size
from rmas.rows.relay import RELAYS, relay_rows
from rmas.rows.stored import Address, Row, parse_address, read_file, read_hub

__all__ = [
    "DEALS",
    "RELAYS",
    "Address",
    "Row",
    "deal_rows",
    "gym_items",
    "gym_rows",
    "parse_address",
    "read_file",
    "read_hub",
    "read_size",
    "relay_rows",
]
