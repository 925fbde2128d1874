"""ActivityNet-QA video question answering, TESTA at 32 frames (f1p12).

Target: accuracy 45 (a public leaderboard, which does not say with how many frames); its weights are
not public.
The video side takes 419.4 of 785.9 GMAC.
Checkpoint: fine-tune ShuhuaiRen/TESTA_model_base_pretrain, testa_model_base_pretrain.pth, by
tokmerge train --config testa_anet_qa_f32 --config.checkpoint=PRETRAINED
Protocol: test split, exact match; 128 of the split's own answers scored completely, or, with
--config.eval.answering=generate, answers written by a search with 3 beams; 32 frames.
Command: tokmerge eval --config testa_anet_qa_f32 --config.checkpoint=CKPT
"""

from tokmerge_jax.config import testa
from tokmerge_jax.config.published import LEADERBOARD, Published

PUBLISHED = (Published("all", "accuracy", 45.0, LEADERBOARD),)


def get_config() -> testa.QuestionAnswering:
    return testa.QuestionAnswering(
        data=testa.QuestionData(dataset="anet_qa"),
        train=testa.AnswerTraining(eval_split="val"),
    )
