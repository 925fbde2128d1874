"""MSRVTT-QA video question answering, UMT-L/16 with vid-TLDR.

Target: UMT L/16 25M fine-tuned, without merging: accuracy 47.1,
here at 58 % of its vision cost (569.4 of 984.0 GMAC).
Checkpoint: OpenGVLab/unmasked_teacher, qa_msrvtt_l16_25m.pth.
Protocol: test split, exact match with one of the answer list; 128 answers scored completely;
12 frames.
Command: tokmerge eval --config msrvtt_qa_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, UNMERGED, Published

PUBLISHED = (Published("all", "accuracy", 47.1, UMT_ZOO, UNMERGED),)


def get_config() -> umt.QuestionAnswering:
    return umt.QuestionAnswering(
        model=umt.Model(
            vision=umt.L16, text=umt.L16_TEXT, merger=umt.Merger(r=(400, 400, 100)), drop_path=0.4
        ),
        data=umt.QuestionData(dataset="msrvtt_qa"),
        train=umt.AnswerTraining(learning_rate=4e-5, epochs=5, eval_split="val"),
    )
