"""What the vid-TLDR question-answering configs share: UMT B/16 and L/16 with an answer decoder.

Source: vid-TLDR (CVPR 2024) on UMT (ICCV 2023); `docs/vid_tldr.md` names every key.
"""

from ml_collections import ConfigDict

from configs.base import umt


def get_config(variant: str = "b16") -> ConfigDict:
    config = umt.get_config(variant)
    config.system = "vid_tldr_qa"
    config.data.max_text_length = 25  # of questions, in word pieces
    config.data.max_answer_length = 5
    config.data.answers = ""  # the answer list, a JSON file; "" = the one of the data set
    config.data.paragraph = False
    config.eval.first_piece = 2  # how often the first piece counts in an answer's score
    config.train.questions_per_video = 1  # in a row of a batch; more of them share its encoding
    return config
