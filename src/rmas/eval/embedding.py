"""Texts as vectors: the mean of a model's own input embeddings over their tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rmas.backbone import Backbone
    from rmas.eval.space import Vectors


def mean_embeddings(backbone: "Backbone", texts: Sequence[str]) -> "Vectors":
    """(N, D), a row a text; a text without tokens is zero. The pooling is ours: the paper does not state its own."""
    import torch

    rows, zero_D = [], np.zeros(backbone.dim)
    with torch.no_grad():
        for text in texts:
            ids_1L = torch.tensor([backbone.encode(text)], dtype=torch.long, device=backbone.device)
            has_tokens = ids_1L.numel() > 0
            rows.append(backbone.embed(ids_1L)[0].double().mean(0).cpu().numpy() if has_tokens else zero_D)
    return np.stack(rows)
