"""ActivityNet-QA video question answering, UMT-L/16.

Target: UMT L/16 25M fine-tuned, accuracy 47.9, without merging: vid-TLDR publishes no
schedule. To try the schedule of the other data sets:
--config.model.merger.name=vid_tldr --config.model.merger.r=400,400,100
Checkpoint: OpenGVLab/unmasked_teacher, qa_anet_l16_25m.pth.
Protocol: test split, exact match with one of the answer list; 128 answers scored completely;
12 frames.
Command: tokmerge eval --config anet_qa_l16 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import umt
from tokmerge_jax.config.published import UMT_ZOO, Published

PUBLISHED = (Published("all", "accuracy", 47.9, UMT_ZOO),)


def get_config() -> umt.QuestionAnswering:
    return umt.QuestionAnswering(
        model=umt.Model(
            vision=umt.L16, text=umt.L16_TEXT, merger=umt.Merger(name="none"), drop_path=0.3
        ),
        data=umt.QuestionData(dataset="anet_qa"),
        train=umt.AnswerTraining(learning_rate=4e-5, epochs=10, eval_split="val"),
    )
