"""vid-TLDR for video question answering: UMT, with a decoder that ranks answers.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

from tokmerge_jax.checkpoints.tables.vid_tldr_qa import rules
from tokmerge_jax.config.umt import QuestionAnswering
from tokmerge_jax.data.text.tokenizers import UMT, UMT_ANSWER
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.system import System
from tokmerge_jax.systems import question_answering
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.systems.vid_tldr import training
from tokmerge_jax.training.objectives import answers, bound


def build(config: QuestionAnswering) -> System:
    """Builds the system of a question-answering configuration (`config.umt`), of any size.

    Raises:
      UserError: if a value is invalid; the message names its key.
    """
    text, tower = config.model.text, UMTTower(config)
    network = _network(tower, config)
    tokenizers = question_answering.tokenizers_of(config.data, text.vocab_size, UMT, UMT_ANSWER)
    names = rules(config.model.vision.depth, text.depth, text.fusion_layer)
    return System(
        name="vid_tldr_qa",
        config=config,
        network=network,
        weights=question_answering.weights(tower, network, tokenizers, names),
        pixels=tower.pixels,
        merging=tower.merging,
        training=training.record(
            config.train,
            partial(answers.likelihood, bound(network), normalise=tower.normalise),
            partial(question_answering.collate, tokenizers),
        ),
        answering=question_answering.answering(tower, network, tokenizers),
        trace_video=tower.trace,
    )


def _network(tower: UMTTower, config: QuestionAnswering) -> Answerer:
    text, dtype = vars(config.model.text), tower.dtype
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answers = {**text, "depth": text["depth"] - text["fusion_layer"], "fusion_layer": 0}
    return Answerer(
        vision=tower.network,
        text=Bert(**text, **settings),
        decoder=Bert(**answers, predicts_words=True, **settings),
        dtype=dtype,
    )
