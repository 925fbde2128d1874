"""Something-Something V2 action recognition, CLIP ViT-B/16 with TDS-CLIP, its frozen CLIP merging.

Target: none; nobody has published merging in TDS-CLIP, and its loss of accuracy is to be measured.
In each block 8 tokens of a frame merge (ToMe); the side network reads every patch all the same,
merged ones their common token.
Checkpoint: that of tdsclip_ssv2_b16, as it is, or trained on with this configuration.
Protocol: 8 segments of 5 neighbouring frames, 3 crops x 2 clips, mean of the views' softmax.
Cost: 143.7 of 180.6 GMAC per view. --config.model.merger.r=4: 162.1; =12: 125.5.
Command: tokmerge eval --config tdsclip_tome_ssv2_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import tds_clip


def get_config() -> tds_clip.Recognition:
    return tds_clip.Recognition(
        model=tds_clip.Model(merger=tds_clip.Merger(name="tome", r=8)),
        data=tds_clip.ActionData(dataset="ssv2"),
    )
