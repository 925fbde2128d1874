"""The parts that the originals with BERT share, for `driver.py`.

Needs torch and transformers.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
import transformers
from torch import nn


def lend_old_names() -> None:
    """Lets the originals import functions that transformers has moved since their release."""
    for name in (
        "apply_chunking_to_forward",
        "find_pruneable_heads_and_indices",
        "prune_linear_layer",
    ):
        setattr(transformers.modeling_utils, name, getattr(transformers.pytorch_utils, name))


class Matching(nn.Module):
    """The stages of texts, and an evaluation, as an original runs them.

    A subclass has `text_encoder`, `text_proj`, `itm_head` and `see`, which returns tokens and
    embeddings of frames [B,T,H,W,3].

    Attributes:
      fusion: keywords of the encoder for a text with a video.
      pairs: number of pairs that an evaluation scores at a time.
    """

    fusion: ClassVar[dict[str, str]] = {}
    pairs: ClassVar[int] = 32

    def encode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Frames [B,T,H,W,3] -> embeddings of unit norm."""
        return self.see(inputs["video"])[1]

    def text(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Token ids [Q,L] -> embeddings of unit norm."""
        return self._read(inputs)[1]

    def rerank(self, inputs: dict[str, torch.Tensor], pairs: int) -> torch.Tensor:
        """Scores of a video's first pairs, its tokens repeated for each as the originals do."""
        states, mask = inputs["states"][:pairs], inputs["text_mask"][:pairs].long()
        return self._match(inputs["tokens"].repeat(len(states), 1, 1), states, mask)

    def evaluate(self, inputs: dict[str, torch.Tensor], clips: int, k: int) -> torch.Tensor:
        """Scores [V,Q] that videos rank texts by; the similarities if `k` are not all texts.

        The best `k` texts of each video and the best `k` videos of each text are scored, a pair of
        both anew in either direction.
        """
        states, words = self._read(inputs)
        mask = inputs["text_mask"].long()
        batches = inputs["gallery"].split(clips)
        tokens, seen = zip(*(self.see(part.to(words.device)) for part in batches), strict=True)
        tokens, similarity = torch.cat(tokens), torch.cat(seen) @ words.T
        to_text = torch.full_like(similarity, -100)
        for video, row in enumerate(similarity):
            for part in row.topk(k).indices.split(self.pairs):
                repeated = tokens[video].repeat(len(part), 1, 1)
                score = self._match(repeated, states[part], mask[part])
                to_text[video, part] = self.final(score, row[part])
        to_video = torch.full_like(similarity.T, -100)
        for text, row in enumerate(similarity.T):
            for part in row.topk(k).indices.split(self.pairs):
                repeated = states[text].repeat(len(part), 1, 1), mask[text].repeat(len(part), 1)
                score = self._match(tokens[part], *repeated)
                to_video[text, part] = self.final(score, row[part])
        return to_text if k == len(words) else similarity

    def final(self, score: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """The scores that candidates are ranked by."""
        return score.to(similarity.dtype)

    def begin(self, ids: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The text's input [Q,L,C] to matching, from its ids and its last states."""
        del ids
        return out

    def _read(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (the texts' inputs [Q,L,C] to matching, embeddings [Q,D] of unit norm)."""
        ids, mask = inputs["text_ids"], inputs["text_mask"].long()
        out = self.text_encoder(ids, attention_mask=mask, return_dict=True, mode="text")
        states = out.last_hidden_state
        return self.begin(ids, states), F.normalize(self.text_proj(states[:, 0]), dim=-1)

    def _match(
        self, tokens: torch.Tensor, states: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Scores [P] of pairs."""
        out = self.text_encoder(
            encoder_embeds=states,
            attention_mask=mask,
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(
                tokens.shape[:-1], dtype=torch.long, device=tokens.device
            ),
            return_dict=True,
            **self.fusion,
        )
        return self.itm_head(out.last_hidden_state[:, 0])[:, 1]
