"""TESTA's objectives: contrast with momentum encoders, matching, and in pretraining captioning.

Source: BLIP (ICML 2022), section 3.2, after ALBEF (NeurIPS 2021), as TESTA (Findings of EMNLP 2023)
trains with it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tokmerge_jax.training import losses, momentum
from tokmerge_jax.training.momentum import Memory
from tokmerge_jax.training.objectives import Normalise
from tokmerge_jax.training.objectives.matching import Encoder, matching
from tokmerge_jax.training.parts import in_parts
from tokmerge_jax.types import Batch, NegativeSampler, Params

_EMBEDDERS = ("vision", "text", "vision_projection", "text_projection")
_FLOOR = 1e-4  # the least weight of a negative


@runtime_checkable
class Decoder(Protocol):
    """A network that predicts each word of a text from those before it."""

    def encode_text(self, ids: jax.Array, mask: jax.Array, *, train: bool = False) -> jax.Array:
        """Encodes texts to states [B,L,C], without the videos."""
        ...

    def fuse(
        self, x: jax.Array, mask: jax.Array, memory: PyTree, *, train: bool = False
    ) -> jax.Array:
        """Attends from states to the videos; returns states [B,L,C]."""
        ...

    def words(self, x: jax.Array) -> jax.Array:
        """Returns the logits of words [B,L,W]."""
        ...


@dataclasses.dataclass(frozen=True)
class MomentumTargets:
    """Soft targets of the contrast, of which the momentum encoders give a share.

    Attributes:
      alpha: the largest share.
      epochs: number of epochs in which the share rises from 0.
    """

    alpha: float = 0.4
    epochs: float = 1.0

    def share(self, epoch: jax.Array) -> jax.Array:
        """The share after `epoch` epochs, fractions included."""
        return momentum.ramp(self.alpha, epoch, self.epochs)


class Encoded(NamedTuple):
    """Encoded videos and texts.

    Attributes:
      tokens: the videos' tokens [B,N,C].
      video: the videos' embeddings of unit norm [B,E].
      states: the texts' states [B,L,C], for matching.
      text: the texts' embeddings of unit norm [B,E].
    """

    tokens: jax.Array
    video: jax.Array
    states: jax.Array
    text: jax.Array


def begin(params: Params, key: jax.Array, *, embed_dim: int, queue: int) -> Memory:
    """Makes momentum encoders, as copies of `params`, and queues of `queue` rows."""
    embedders = {name: params[name] for name in _EMBEDDERS}
    return momentum.begin(embedders, embed_dim, queue, key)


def retrieval(
    bind: Callable[[Params, jax.Array], Encoder],
    params: Params,
    state: Memory,
    batch: Batch,
    key: jax.Array,
    epoch: jax.Array,
    *,
    targets: MomentumTargets = MomentumTargets(),
    parts: int = 1,
    normalise: Normalise = jnp.asarray,
    sampler: NegativeSampler = losses.categorical,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array], Memory]:
    """Computes the sum of contrast ("vtc") and matching ("vtm") over the whole batch.

    Args:
      bind: `(params, key of the dropout) ->` the bound network.
      params: the network's parameters.
      state: the state before the batch; `begin` makes the first.
      batch: `video`, `text_ids`, `text_mask` and `match_id` (equal = a true pair).
      key: key of all random draws.
      epoch: number of epochs that have finished, with their fraction.
      targets: the contrast's soft targets.
      parts: number of parts in which the videos are encoded, one after the other: less memory,
        the same gradient.
      normalise: maps frames to the pixels that the network reads.
      sampler: draws a negative video for each text and a negative text for each video.
      train: whether to use dropout.

    Returns:
      The loss, its parts, and the state after the batch.
    """
    arrays = jax.tree.map(jnp.asarray, batch)
    negatives_key, *keys, dropout_key = jax.random.split(key, 4)
    match_id, alpha = arrays["match_id"], targets.share(epoch)
    state, own, slow = _encode(
        bind, params, state, arrays, keys, parts=parts, normalise=normalise, train=train
    )
    model = bind(params, dropout_key)
    vtc = momentum.contrast(
        state,
        own.video,
        own.text,
        slow.video,
        slow.text,
        match_id=match_id,
        temperature=model.temperature,
        alpha=alpha,
    )
    similarity = own.video @ own.text.T / model.temperature
    vtm = matching(
        model,
        (own.tokens, model.memory(own.tokens)),
        (own.states, arrays["text_mask"]),
        negatives_key,
        weights=losses.hard_negative_weights(similarity, match_id),
        sampler=sampler,
        train=train,
    )
    state = momentum.push(state, slow.video, slow.text, match_id)
    return vtc + vtm, {"vtc": vtc, "vtm": vtm}, state


def pretraining(
    bind: Callable[[Params, jax.Array], Encoder],
    params: Params,
    state: Memory,
    batch: Batch,
    key: jax.Array,
    epoch: jax.Array,
    *,
    bind_decoder: Callable[[Params, jax.Array], Decoder],
    start: int,
    targets: MomentumTargets = MomentumTargets(epochs=2.0),
    parts: int = 1,
    normalise: Normalise = jnp.asarray,
    sampler: NegativeSampler = losses.categorical,
    train: bool = True,
) -> tuple[jax.Array, Mapping[str, jax.Array], Memory]:
    """Computes the sum of contrast ("ita"), matching ("itm") and captioning ("lm").

    Each video of the batch matches only its own text.

    Args:
      bind: see `retrieval`.
      params: the parameters of network and decoder.
      state: see `retrieval`.
      batch: `video`, `text_ids` and `text_mask`.
      key: see `retrieval`.
      epoch: see `retrieval`.
      bind_decoder: `(params, key of the dropout) ->` the bound decoder.
      start: the first id of every text of the decoder.
      targets: see `retrieval`.
      parts: see `retrieval`.
      normalise: see `retrieval`.
      sampler: see `retrieval`.
      train: see `retrieval`.

    Returns:
      The loss, its parts, and the state after the batch.
    """
    arrays = jax.tree.map(jnp.asarray, batch)
    ids, mask = arrays["text_ids"], arrays["text_mask"]
    negatives_key, *keys, dropout_key, decoder_key = jax.random.split(key, 5)
    rows, alpha = jnp.arange(len(mask)), targets.share(epoch)
    state, own, slow = _encode(
        bind, params, state, arrays, keys, parts=parts, normalise=normalise, train=train
    )
    model = bind(params, dropout_key)
    ita = momentum.contrast(
        state,
        own.video,
        own.text,
        slow.video,
        slow.text,
        match_id=rows,
        temperature=model.temperature,
        alpha=alpha,
    )
    memory = model.memory(own.tokens)
    itm = matching(
        model,
        (own.tokens, memory),
        (own.states, mask),
        negatives_key,
        weights=(
            negative_weights(own.text @ slow.video.T / model.temperature),
            negative_weights(own.video @ slow.text.T / model.temperature),
        ),
        sampler=sampler,
        train=train,
    )
    decoder = bind_decoder(params, decoder_key)
    lm = _captioning(decoder, ids.at[:, 0].set(start), mask, memory, train=train)
    unknown = jnp.full_like(rows, momentum.NO_ID)
    state = momentum.push(state, slow.video, slow.text, unknown)
    return ita + itm + lm, {"ita": ita, "itm": itm, "lm": lm}, state


def negative_weights(similarity: Float[Array, "B B"]) -> Float[Array, "B B"]:
    """Returns the weights of drawing each other row as a negative: softmax of the row plus 1e-4.

    No gradient flows through them.
    """
    share = jax.nn.softmax(jax.lax.stop_gradient(similarity)) + _FLOOR
    return jnp.where(jnp.eye(len(share), dtype=bool), 0, share)


def _encode(
    bind: Callable[[Params, jax.Array], Encoder],
    params: Params,
    state: Memory,
    batch: Mapping[str, jax.Array],
    keys: Sequence[jax.Array],
    *,
    parts: int,
    normalise: Normalise,
    train: bool,
) -> tuple[Memory, Encoded, Encoded]:
    """Moves the momentum encoders, and encodes the batch with the network and with them.

    Returns the new state and both encodings. `keys` are the two keys of the dropout.
    """

    def encode(params: Params, key: jax.Array) -> Encoded:
        model = bind(params, key)

        def see(video: jax.Array) -> tuple[jax.Array, jax.Array]:
            tokens, embedding = model.encode_video(normalise(video), train=train)
            return tokens, embedding[:, 0]

        states, text = model.encode_text(batch["text_ids"], batch["text_mask"], train=train)
        tokens, video = in_parts(see, parts, batch["video"])
        return Encoded(tokens, video, states, text)

    state = momentum.follow(state, params)
    own, slow = (
        encode(tree, key)
        for tree, key in zip((params, {**params, **state.params}), keys, strict=True)
    )
    return state, own, slow


def _captioning(
    decoder: Decoder, ids: jax.Array, mask: jax.Array, memory: PyTree, *, train: bool
) -> jax.Array:
    """Computes the loss of predicting each word from the video and the words before it."""
    visible = jnp.tril(jnp.ones((1, *2 * ids.shape[1:]), bool)) & mask[:, None]
    states = decoder.encode_text(ids, visible, train=train)
    states = decoder.fuse(states, visible, memory, train=train)
    return losses.language_model(decoder.words(states), ids, mask)[0]
