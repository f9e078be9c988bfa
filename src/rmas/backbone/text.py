"""A transformers tokenizer with two doors: one for template text, one for text that other people wrote.

Only the first recognises special tokens. The second uses the same tokenizer with its added tokens taken out
(white space ones stay: Gemma spells line breaks with them), so no text can spell a control token.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer

from rmas.errors import PromptError


@final
class TextTokenizer:
    """`hf` is any fast transformers tokenizer. Satisfies `rmas.prompt.ChatTokenizer`."""

    def __init__(self, hf: Any) -> None:
        self.hf = hf
        added: dict[str, int] = hf.added_tokens_encoder
        self._added = [token for token in added if token.strip(" \t\n\r\u2581")]
        self._added_ids = frozenset(added[token] for token in self._added)

    def template(self, system: str | None, user: str) -> str | None:
        return self.conversation(_asked(system, user), ())

    def conversation(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str | None:
        """Messages in the chat template, which tells of `tools`, ready for the reply; None without a template.

        Raises PromptError when the template does not take these messages.
        """
        if not self.hf.chat_template:
            return None
        try:
            text = self.hf.apply_chat_template(
                messages, tools=tools or None, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except (TemplateError, TypeError) as problem:  # TypeError: it adds a text and a table
            raise PromptError(f"the chat template refuses these messages: {problem}") from None
        return str(text)

    def telling(self, tools: Sequence[Mapping[str, Any]]) -> "TextTokenizer | TellingTokenizer":
        """The same, its chat template told of these tools, as schemas."""
        return TellingTokenizer(self, tools) if tools else self

    def encode_template(self, text: str) -> list[int]:
        return list(self.hf(text, add_special_tokens=False).input_ids)

    def encode_text(self, text: str) -> list[int]:
        ids = self.encode_template(text)
        if self._added_ids.isdisjoint(ids):
            return ids
        ids = self._encode_plain(text)
        if self._added_ids.isdisjoint(ids):
            return ids
        return [token for piece in self._inside.split(text) for token in self._encode_plain(piece)]

    def _encode_plain(self, text: str) -> list[int]:
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    @property
    def bos(self) -> list[int]:
        return list(self.hf("").input_ids[:1]) if self.hf.bos_token_id in self.hf("").input_ids[:1] else []

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        return str(self.hf.decode(ids, skip_special_tokens=not control, clean_up_tokenization_spaces=False))

    @cached_property
    def vocabulary_hash(self) -> str:
        """SHA-256 over every token string and its id."""
        table = json.dumps(sorted(self.hf.get_vocab().items()), ensure_ascii=True)
        return hashlib.sha256(table.encode()).hexdigest()

    @cached_property
    def strings(self) -> dict[str, int]:
        """The text that each token stands for, leading space included -> id. Control tokens are left out."""
        vocabulary: dict[str, int] = self.hf.get_vocab()
        bytes_of = _byte_alphabet() if "\u0120" in vocabulary else None
        strings: dict[str, int] = {}
        for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):
            if token in self._added:
                continue
            text = token.replace("\u2581", " ") if bytes_of is None else _spell(token, bytes_of)
            if text is not None:
                strings.setdefault(text, index)
        return strings

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        """Where to cut a text for a Unigram model, whose vocabulary itself holds the control tokens: inside each."""
        tokens = [token for token in self._added if len(token) > 1]
        return re.compile("|".join(f"(?<={re.escape(token[0])})(?={re.escape(token[1:])})" for token in tokens))

    @cached_property
    def _plain(self) -> Tokenizer:
        """The same tokenizer without its non-blank added tokens."""
        spec = json.loads(self.hf.backend_tokenizer.to_str())
        kept = set(self._added)
        spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] not in kept]
        return Tokenizer.from_str(json.dumps(spec))


@final
@dataclass(frozen=True)
class TellingTokenizer:
    """A tokenizer whose chat template tells of `tools`. Satisfies `rmas.prompt.ChatTokenizer` as well."""

    plain: TextTokenizer
    tools: Sequence[Mapping[str, Any]]

    def template(self, system: str | None, user: str) -> str | None:
        return self.plain.conversation(_asked(system, user), self.tools)

    def encode_template(self, text: str) -> list[int]:
        return self.plain.encode_template(text)

    def encode_text(self, text: str) -> list[int]:
        return self.plain.encode_text(text)

    @property
    def bos(self) -> list[int]:
        return self.plain.bos


def _asked(system: str | None, user: str) -> list[dict[str, str]]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    return [*messages, {"role": "user", "content": user}]


def _byte_alphabet() -> dict[str, int]:
    """The printable characters by which byte-level BPE writes the 256 bytes (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _spell(token: str, bytes_of: dict[str, int]) -> str | None:
    """The text of a byte-level token; None where its bytes are only part of a character."""
    try:
        return bytes(bytes_of[char] for char in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None
