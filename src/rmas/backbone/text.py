"""A transformers tokenizer with two doors: one for template text, one for text that other people wrote.

Only the first recognises special tokens. The second uses the same tokenizer with its added tokens taken out
(white space ones stay: Gemma spells line breaks with them), so no text can spell a control token.
"""

import hashlib
import json
import re
from collections.abc import Sequence
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
        if not self.hf.chat_template:
            return None
        messages = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": user})
        try:
            text = self.hf.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except TemplateError as problem:
            raise PromptError(f"the chat template refuses these messages: {problem}") from None
        return str(text)

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

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

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
