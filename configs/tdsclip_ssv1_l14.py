"""Something-Something V1 action recognition, CLIP ViT-L/14 with TDS-CLIP.

Target: none is published.
Start: OpenAI's ViT-L-14.pt (`docs/tds_clip.md`), then scripts/train.py, as no checkpoint is
published; CKPT is what that leaves.
Side4Video, the same without differences: --config.model.side.differences=False;
top-1 61.0 (its README).
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 2 clips, mean of the views' softmax.
A video is a folder of frames, or a file.
Cost: 878.3 GMAC a view, of which a video has 6.
Command: python scripts/eval.py --config configs/tdsclip_ssv1_l14.py --config.checkpoint=CKPT
"""

from configs.base import tds_clip


def get_config():
    config = tds_clip.get_config("l14")
    config.data.dataset = "ssv1"
    return config.lock()
