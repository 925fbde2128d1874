"""BERT's rules, with Hugging Face's names, which UMT and BLIP use too."""

from tokmerge_jax.checkpoints.rules import Rule, each
from tokmerge_jax.checkpoints.tables.shared import embedding, linear, norm

IGNORED = (r".*\.embeddings\.position_ids$",)  # a buffer: 0, 1, 2, ...


def rules(
    source: str, target: str, depth: int, fusion_layer: int, token_types: bool = True
) -> tuple[Rule, ...]:
    """Embeddings and layers of a BERT.

    Args:
      source: prefix of the PyTorch names, for example "text_encoder".
      target: prefix of our paths, for example "text".
      depth: its number of layers.
      fusion_layer: the first layer with cross-attention.
      token_types: whether it has a table of token types.
    """
    table = f"{source}.embeddings"
    ours = f"{target}/embeddings"
    layer, block = f"{source}.encoder.layer.{{i}}", f"{target}/layer_{{i}}"
    own = _attention(f"{layer}.attention", f"{block}/attention")
    cross = _attention(f"{layer}.crossattention", f"{block}/cross_attention")
    mlp = (
        *linear(f"{layer}.intermediate.dense", f"{block}/mlp/hidden"),
        *linear(f"{layer}.output.dense", f"{block}/mlp/out"),
        *norm(f"{layer}.output.LayerNorm", f"{block}/mlp_norm"),
    )
    return (
        *embedding(f"{table}.word_embeddings", f"{ours}/word"),
        *embedding(f"{table}.position_embeddings", f"{ours}/position"),
        *(embedding(f"{table}.token_type_embeddings", f"{ours}/type") if token_types else ()),
        *norm(f"{table}.LayerNorm", f"{ours}/norm"),
        *each(range(depth), own + mlp),
        *each(range(fusion_layer, depth), cross),
    )


def word_head(source: str, target: str) -> tuple[Rule, ...]:
    """The head that predicts words; its output layer is the word table (see `tied`)."""
    return (
        *linear(f"{source}.transform.dense", f"{target}/transform"),
        *norm(f"{source}.transform.LayerNorm", f"{target}/norm"),
        Rule(f"{source}.bias", (f"{target}/bias",)),
    )


def tied(head: str, embeddings: str) -> dict[str, str]:
    """Second name -> first name of the tensors that a `word_head` shares."""
    return {
        f"{head}.decoder.weight": f"{embeddings}.word_embeddings.weight",
        f"{head}.decoder.bias": f"{head}.bias",
    }


def _attention(source: str, target: str) -> tuple[Rule, ...]:
    return (
        *linear(f"{source}.self.query", f"{target}/query"),
        *linear(f"{source}.self.key", f"{target}/key"),
        *linear(f"{source}.self.value", f"{target}/value"),
        *linear(f"{source}.output.dense", f"{target}/out"),
        *norm(f"{source}.output.LayerNorm", f"{target}_norm"),
    )
