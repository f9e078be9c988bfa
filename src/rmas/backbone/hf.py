"""Any transformers causal language model as a Backbone. Facts that shape this file (each is a test):

- Embeddings go through the model's module: Gemma scales them there, a row look-up would skip that.
- `get_decoder()(…).last_hidden_state` is the state after the final norm and never touches the vocabulary head.
- Positions are always explicit, counted from the mask; families with absolute positions need it.
- Sliding windows and recurrent layers count physical positions, so padding in the middle of a sequence is only
  allowed while the window still holds all of it, and never where a layer is recurrent (`gap_limit`).
- Recurrent layers update their state in place: no gradient flows through their cache (`grad_through_cache`).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer, LinearAttentionCacheLayerMixin

from rmas.backbone.cache import new_cache
from rmas.backbone.protocol import State
from rmas.backbone.state import CachedState, RecomputeState, join_masks
from rmas.backbone.text import TextTokenizer
from rmas.errors import BackboneError

_FEW_ROWS = 16  # up to here weight @ h.T is 1.5 to 4 times faster on a CPU than the head's own h @ weight.T (LOG.md)


@final
class HFBackbone:
    """A frozen model and its tokenizer. Not an nn.Module, so that no System can train it or save it by accident."""

    def __init__(self, model: Any, tokenizer: TextTokenizer, *, name: str) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self.adapted: Any = None  # peft's view of the model, while an adapter trains
        self.decoder = model.get_decoder()
        self.config = model.config.get_text_config(decoder=True)
        self.dim = int(self.config.hidden_size)
        self.context = int(self.config.max_position_embeddings)
        self.dtype: torch.dtype = model.get_input_embeddings().weight.dtype
        self.device: torch.device = model.get_input_embeddings().weight.device
        layers = DynamicCache(config=self.config).layers
        recurrent = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)
        self.grad_through_cache = not recurrent
        windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        self.gap_limit = 0 if recurrent else min([self.context, *(window - 1 for window in windows)])
        self.eos_ids = _eos_ids(model, tokenizer)
        self.end_id = _end_id(self.eos_ids, tokenizer)  # the one that a trained answer ends with
        self._check_head()

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def flops(self) -> tuple[int, int]:
        """What reading one position costs, and what its logits cost beside: two operations for each weight in use.

        Neither counts attention between positions, which is small below a few thousand of them.
        """
        embedding, head = self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight
        tables = embedding.numel() + (0 if head is embedding else head.numel())
        return 2 * (self.num_parameters - tables), 2 * head.numel()

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding."""
        return int(self.config.vocab_size)

    @property
    def head_trains(self) -> bool:
        return any(parameter.requires_grad for parameter in self.model.get_output_embeddings().parameters())

    def start(self, *, cached: bool = True) -> State:
        return CachedState(cache=new_cache(self.config), device=self.device) if cached else RecomputeState()

    def embed(self, ids_BL: Tensor) -> Tensor:
        x: Tensor = self.model.get_input_embeddings()(ids_BL.to(self.device))
        return x

    def extend(self, state: State, x_BLD: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, State]:
        if isinstance(state, CachedState):
            return self._extend_cached(state, x_BLD, mask_BL)
        assert isinstance(state, RecomputeState)
        mask_BP = join_masks(state.length, state.mask_BP, x_BLD, mask_BL)
        x_BPD = x_BLD if state.x_BPD is None else torch.cat([state.x_BPD, x_BLD], dim=1)
        out = self.decoder(
            inputs_embeds=x_BPD, attention_mask=mask_BP, position_ids=_positions(x_BPD, mask_BP), use_cache=False
        )
        new = RecomputeState(x_BPD=x_BPD, length=x_BPD.shape[1], mask_BP=mask_BP)
        return out.last_hidden_state[:, -x_BLD.shape[1] :], new

    def _extend_cached(self, state: CachedState, x_BLD: Tensor, mask_BL: Tensor | None) -> tuple[Tensor, State]:
        mask_BP = join_masks(state.length, state.mask_BP, x_BLD, mask_BL)
        cache = state.fork()
        out = self.decoder(
            inputs_embeds=x_BLD,
            attention_mask=mask_BP,
            position_ids=_positions(x_BLD, mask_BP, offset=state.length),
            past_key_values=cache,
            use_cache=True,
        )
        length = state.length + x_BLD.shape[1]
        new = CachedState(cache=cache, device=self.device, batch=len(x_BLD), length=length, mask_BP=mask_BP)
        return out.last_hidden_state, new

    def logits(self, h: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        logits: Tensor
        if self.device.type == "cpu" and head.bias is None and h.numel() <= _FEW_ROWS * self.dim:
            logits = (head.weight @ h.reshape(-1, self.dim).T).T.reshape(*h.shape[:-1], -1)
        else:
            logits = head(h)
        cap = getattr(self.config, "final_logit_softcapping", None)  # a key that only Gemma's config has
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def expected_embedding(self, p: Tensor) -> Tensor:
        weight = self.model.get_input_embeddings().weight
        mean: Tensor = p.to(weight.dtype)[..., : len(weight)] @ weight
        return mean * self._embedding_scale

    @cached_property
    def _embedding_scale(self) -> float:
        """What the embedding module multiplies its rows by: 1, or Gemma's sqrt(D)."""
        weight = self.model.get_input_embeddings().weight
        ids = torch.arange(min(16, len(weight)), device=self.device)
        rows, embedded = weight[ids].double(), self.embed(ids).double()
        scale = float((rows * embedded).sum() / (rows * rows).sum())
        if not torch.allclose(embedded, rows * scale, rtol=1e-2, atol=1e-5):
            raise BackboneError(f"{self.name}: its embedding is more than scaled rows; soft tokens cannot be built.")
        return scale

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode_text(text)

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        return self.tokenizer.decode(ids, control=control)

    @torch.no_grad()
    def _check_head(self) -> None:
        """Refuse a family whose head does more than `logits` knows (a logit scale, say)."""
        ids = torch.zeros((1, 1), dtype=torch.int64, device=self.device)
        out = self.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        if not torch.allclose(self.logits(out.hidden_states[-1]).float(), out.logits.float(), rtol=2e-2, atol=2e-2):
            raise BackboneError(
                f"{self.name}: its vocabulary head is not a matrix with a soft cap, as rmas assumes "
                f"({type(self.model).__name__}). Report this family."
            )


def _positions(x_BLD: Tensor, mask_BP: Tensor | None, *, offset: int = 0) -> Tensor:
    """The positions of the last L inputs: real ones count from 0, padding shares its neighbour's."""
    batch, length, _ = x_BLD.shape
    if mask_BP is None:
        return torch.arange(offset, offset + length, device=x_BLD.device).expand(batch, length)
    return (mask_BP.cumsum(-1) - 1).clamp(min=0)[:, -length:]


def _eos_ids(model: Any, tokenizer: TextTokenizer) -> frozenset[int]:
    """Every id that ends a reply: the generation config's (one or several) and the tokenizer's."""
    listed = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = [*(listed if isinstance(listed, list) else [listed]), tokenizer.hf.eos_token_id]
    return frozenset(int(i) for i in ids if i is not None)


def _end_id(eos_ids: frozenset[int], tokenizer: TextTokenizer) -> int:
    """The tokenizer's own end: a chat model's end of turn, a base model's end of text."""
    own = tokenizer.hf.eos_token_id
    return int(own) if own is not None else min(eos_ids, default=0)
