"""What the TESTA question-answering configs share: TESTA with BLIP's answer decoder.

Source: TESTA (Findings of EMNLP 2023) on BLIP (ICML 2022); `docs/testa.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import testa

_OF_RETRIEVAL = {
    "model": ("embed_dim",),
    "data": ("max_words",),
    "eval": ("rerank", "plus_similarity", "metrics", "dual_softmax"),
    "train": ("parts", "queue", "alpha", "alpha_epochs"),
}


def get_config(frames: int = 32) -> ConfigDict:
    """The shared keys for videos of 32 or 96 frames."""
    config = testa.get_config(frames)
    for part, keys in _OF_RETRIEVAL.items():
        for key in keys:
            del config[part][key]
    config.system = "testa_qa"
    config.model.label_smoothing = 0.1  # of answers' likelihoods, in training and in ranking
    config.data.max_text_length = 35  # of questions, in word pieces
    config.data.max_answer_length = 20
    config.data.answers = "split"  # those of the evaluated split; "" = the data set's list; a file
    config.eval.answering = "rank"  # the list's answers; or generate, word by word
    config.eval.first_piece = 1  # how often the first piece counts in an answer's score
    config.eval.beams = 3  # of generating
    config.eval.max_length = 10  # of an answer that is generated, its start and end included
    config.eval.min_length = 1
    config.train.learning_rate = 2e-5
    config.train.answer_weight = 0.2  # of a question in the loss, shared out among its answers
    config.train.questions_per_video = 1  # in a row of a batch; more of them share its encoding
    return config
