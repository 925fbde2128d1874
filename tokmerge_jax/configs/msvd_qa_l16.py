"""MSVD-QA video question answering, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging: accuracy 55.2,
here at 58 % of its vision cost (569.4 of 984.0 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, whose MODEL_ZOO.md lists no file of this row; CKPT.
Protocol: test split, exact match with one of the answer list; 128 answers scored completely;
12 frames.
Command: tokmerge eval --config msvd_qa_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, UNMERGED, Published

PUBLISHED = (Published("all", "accuracy", 55.2, UMT_ZOO, UNMERGED),)


def get_config() -> umt.QuestionAnswering:
    return umt.QuestionAnswering(
        model=umt.Model(
            vision=umt.L16, text=umt.L16_TEXT, merger=umt.Merger(r=(400, 400, 100)), drop_path=0.4
        ),
        data=umt.QuestionData(dataset="msvd_qa"),
        train=umt.AnswerTraining(learning_rate=6e-5, epochs=6, eval_split="val"),
    )
