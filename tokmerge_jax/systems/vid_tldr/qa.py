"""vid-TLDR for video question answering: UMT, with a decoder that ranks answers.

Source: vid-TLDR (CVPR 2024) on Unmasked Teacher (ICCV 2023); `docs/vid_tldr.md`.
"""

from functools import partial

from tokmerge_jax.checkpoints.tables.vid_tldr_qa import rules
from tokmerge_jax.config.umt import QuestionAnswering
from tokmerge_jax.data.text import tokenizers
from tokmerge_jax.models.answerer import Answerer
from tokmerge_jax.models.bert import Bert
from tokmerge_jax.system import System, Training
from tokmerge_jax.systems import question_answering
from tokmerge_jax.systems.towers.umt import UMTTower
from tokmerge_jax.training import optimizer
from tokmerge_jax.training.objectives import answers, bound


def build(config: QuestionAnswering) -> System:
    """The system of a question-answering configuration (`config.umt`), any size.

    Raises:
      UserError: naming the key whose value cannot work.
    """
    bert, tower = config.model.text, UMTTower(config)
    network = _network(tower, config)
    words = question_answering.words(config, tokenizers.UMT, tokenizers.UMT_ANSWER)
    names = rules(config.model.vision.depth, bert.depth, bert.fusion_layer)
    return System(
        name="vid_tldr_qa",
        config=config,
        network=network,
        weights=question_answering.weights(tower, network, words, names),
        pixels=tower.pixels,
        merging=tower.merging,
        training=Training(
            partial(answers.likelihood, bound(network), normalise=tower.normalise),
            partial(question_answering.collate, words),
            partial(optimizer.adamw, weight_decay=config.train.weight_decay),
        ),
        answering=question_answering.answering(tower, network, words),
        trace_video=tower.trace,
    )


def _network(tower: UMTTower, config: QuestionAnswering) -> Answerer:
    words, dtype = config.model.text, tower.dtype
    settings = {"dropout": config.model.dropout, "remat": config.train.remat, "dtype": dtype}
    answering = {"depth": words.depth - words.fusion_layer, "fusion_layer": 0}
    return Answerer(
        vision=tower.network,
        text=Bert(**vars(words), **settings),
        decoder=Bert(**{**vars(words), **answering}, predicts_words=True, **settings),
        dtype=dtype,
    )
