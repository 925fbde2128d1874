"""What the originals that read texts with BERT have in common, for `benchmark_original.py`.

Needs torch and transformers.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
import transformers
from torch import nn


def lend_old_names() -> None:
    """Lets them import from transformers what has moved since the release they were written for."""
    for name in (
        "apply_chunking_to_forward",
        "find_pruneable_heads_and_indices",
        "prune_linear_layer",
    ):
        setattr(transformers.modeling_utils, name, getattr(transformers.pytorch_utils, name))


class Matching(nn.Module):
    """The stages of texts, as an original's evaluation runs them.

    A subclass has `text_encoder`, `text_proj` and `itm_head`; `fusion` is what its encoder is told
    when it reads a video.
    """

    fusion: ClassVar[dict[str, str]] = {}

    def text(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids [Q,L] -> embeddings of unit norm."""
        ids, mask = inputs["text_ids"], inputs["text_mask"].long()
        out = self.text_encoder(ids, attention_mask=mask, return_dict=True, mode="text")
        return F.normalize(self.text_proj(out.last_hidden_state[:, 0]), dim=-1)

    def rerank(self, inputs: dict[str, torch.Tensor], pairs: int) -> torch.Tensor:
        """Scores of a video's first pairs, its tokens repeated for each as the originals do."""
        states, mask = inputs["states"][:pairs], inputs["text_mask"][:pairs].long()
        tokens = inputs["tokens"].repeat(len(states), 1, 1)
        out = self.text_encoder(
            encoder_embeds=states,
            attention_mask=mask,
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(tokens.shape[:-1], dtype=torch.long),
            return_dict=True,
            **self.fusion,
        )
        return self.itm_head(out.last_hidden_state[:, 0])[:, 1]
