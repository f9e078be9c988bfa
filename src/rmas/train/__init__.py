"""Training: inner links by cosine to the embeddings, outer links through the unrolled rounds, and what both share."""
