"""Kinetics-400 action recognition, CLIP ViT-L/14 with TDS-CLIP.

Target: none is published.
Start: OpenAI's ViT-L-14.pt (`docs/tds_clip.md`), then scripts/train.py, as no checkpoint is
published; CKPT is what that leaves.
Side4Video, the same without differences: --config.model.side.differences=False.
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 4 clips, mean of the views' softmax.
A video is a file; frames before its first are its last ones, as there.
Cost: 878.3 GMAC a view, of which a video has 12.
Command: python scripts/eval.py --config configs/tdsclip_k400_l14.py --config.checkpoint=CKPT
"""

from configs.base import tds_clip


def get_config():
    return tds_clip.kinetics("l14").lock()
