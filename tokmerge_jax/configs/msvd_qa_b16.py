"""MSVD-QA video question answering, UMT-B/16 with vid-TLDR.

Target: UMT B/16 25M fine-tuned, without merging: accuracy 49.5,
here at 62 % of its vision cost (188.4 of 303.1 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, qa_msvd_b16_25m.pth.
Protocol: test split, exact match with one of the answer list; 128 answers scored completely;
12 frames.
Command: tokmerge eval --config msvd_qa_b16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, UNMERGED, Published

PUBLISHED = (Published("all", "accuracy", 49.5, UMT_ZOO, UNMERGED),)


def get_config() -> umt.QuestionAnswering:
    return umt.QuestionAnswering(
        model=umt.Model(merger=umt.Merger(r=(600, 200)), drop_path=0.2),
        data=umt.QuestionData(dataset="msvd_qa"),
        train=umt.AnswerTraining(learning_rate=6e-5, epochs=6, eval_split="val"),
    )
