"""Checkpoints of TDS-CLIP and Side4Video, and CLIP's, from which their training starts.

Running statistics are stored with the parameters: "batch_stats/side/norm/mean".
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tokmerge_jax.checkpoints.operations import Patches
from tokmerge_jax.checkpoints.rules import Rule, RuleSet, StateDict, each
from tokmerge_jax.checkpoints.tables import clip
from tokmerge_jax.checkpoints.tables.shared import batch_norm, linear, norm, normal, uniform

_RENAMES = ((r"module\.", ""),)
_IGNORED = (r".*\.num_batches_tracked$",)  # not needed by PyTorch's loader either
_UNREAD = (  # of a CLIP: its text transformer and projections; OpenAI's, Hugging Face's, ours
    r"clip\.(?!visual\.)",
    r"clip\.visual\.(ln_post\.|proj$)",
    r"(text_model\.|(text|visual)_projection\.)",
    r"vision_model\.(post_layernorm|embeddings\.position_ids)",
    r"(text/|(text|vision)_projection/|vision_norm/|logit_scale$)",
)


def rules(
    depth: int, width: int, side_width: int, patch_size: int, differences: int = 4
) -> tuple[RuleSet, ...]:
    """The tables of TDS-CLIP, by kind of checkpoint: its own, Hugging Face's CLIP, other CLIPs.

    From a CLIP checkpoint only the image transformer is read; all other parameters are initialised
    as in TDS-CLIP's training.

    Args:
      depth: number of blocks of CLIP's image transformer, and of the side network.
      width: number of channels of the image transformer.
      side_width: number of channels of the side network; 0 = no side network.
      patch_size: edge of a patch in pixels.
      differences: number of differences of neighbouring frames that the side network reads; 0 for
        Side4Video's checkpoints, which lack those layers.
    """
    blocks = each(range(depth), _block(side_width, differences > 0))
    own = (
        *((*_stem(differences), *blocks) if side_width else ()),
        *batch_norm("visual.side_post_bn", "side/norm"),
        *linear("fc", "head"),
    )
    fresh = {
        target: _start(target, width, side_width or width, patch_size, differences)
        for rule in own
        for target in rule.targets
    }
    whole = (*clip.vision("visual", depth), *own)
    start = {"ignored": _UNREAD, "renames": clip.RENAMES, "fresh": fresh}
    return (
        RuleSet(
            whole, _IGNORED, renames=_RENAMES, describe=describe, marker=r"\.side_transformer\."
        ),
        RuleSet(
            clip.hugging_face_vision(depth),
            **start,
            describe=clip.describe,
            marker=r"vision_model\.",
        ),
        RuleSet(clip.vision("clip.visual", depth), **start, describe=clip.describe),
    )


def describe(state_dict: StateDict) -> str:
    """The sizes of the network in a checkpoint, as keys of `config.model`."""
    try:
        return ", ".join(f"{name}={size}" for name, size in sizes(state_dict).items())
    except KeyError as error:
        return f"not a TDS-CLIP: it has no {error.args[0]}"


def sizes(state_dict: StateDict) -> Mapping[str, int]:
    """Key in `config.model` -> size of the network in a checkpoint, from its tensors' shapes.

    The number of heads is not stored; all heads have 64 channels. No tensor depends on the number
    of frames.

    Raises:
      KeyError: if a tensor is missing; it names the tensor.
    """
    table = RuleSet((), renames=_RENAMES)
    tensors = {table.rename(name): tensor for name, tensor in state_dict.items()}
    shapes = {name: np.shape(tensor) for name, tensor in tensors.items()}
    classes, side_width = clip.of_axes(2, shapes, "fc.weight")
    return {
        **clip.vision_sizes(tensors),
        "side.width": side_width,
        "side.differences": "visual.side_conv1_c5.weight" in tensors,
        "classes": classes,
    }


def _stem(differences: int) -> tuple[Rule, ...]:
    source, target = "visual.transformer", "side/stem"
    operation = Patches(colours=3 * differences, frames=3)
    between = (  # the layers that read differences of neighbouring frames
        *linear("visual.side_conv1_c5", f"{target}/difference_embedding", operation),
        *batch_norm("visual.side_pre_bn3d_c5", f"{target}/difference_norm"),
    )
    return (
        *linear("visual.side_conv1", f"{target}/patch_embedding", Patches(frames=3)),
        *batch_norm("visual.side_pre_bn3d", f"{target}/patch_norm"),
        *(between if differences else ()),
        Rule(f"{source}.side_spatial_position_embeddings", ("side/position_embedding",)),
    )


def _block(width: int, gated: bool) -> tuple[Rule, ...]:
    source, target = "visual.transformer.side_transformer.{i}", "side/block_{i}"
    convolution = f"{target}/convolution"
    return (
        *norm("visual.transformer.side_lns.{i}", "side/tap_{i}/norm"),
        *linear("visual.transformer.side_linears.{i}", "side/tap_{i}/projection"),
        *batch_norm(f"{source}.bn_1", f"{target}/convolution_norm"),
        *linear(f"{source}.conv.0", f"{convolution}/hidden", Patches(width)),
        Rule(f"{source}.conv.1.weight", (f"{convolution}/taps",), Patches(1, frames=3)),
        Rule(f"{source}.conv.1.bias", (f"{convolution}/bias",)),
        *linear(f"{source}.conv.2", f"{convolution}/out", Patches(width)),
        *(_gate(f"{source}.mse", f"{target}/gate", width) if gated else ()),
        *norm(f"{source}.ln_1", f"{target}/attention_norm"),
        *clip.attention(f"{source}.attn", f"{target}/attention"),
        *batch_norm(f"{source}.bn_2", f"{target}/mlp_norm"),
        *linear(f"{source}.mlp.fc1", f"{target}/mlp/hidden"),
        *linear(f"{source}.mlp.fc2", f"{target}/mlp/out"),
    )


def _gate(source: str, target: str, width: int) -> tuple[Rule, ...]:
    reduce, expand = Patches(width, flat=True), Patches(width // 16, flat=True)
    return (
        Rule(f"{source}.conv1.weight", (f"{target}/reduce/kernel",), reduce),
        *batch_norm(f"{source}.bn1", f"{target}/reduce_norm"),
        Rule(f"{source}.conv2.weight", (f"{target}/expand/kernel",), expand),
        *batch_norm(f"{source}.bn2", f"{target}/expand_norm"),
    )


def _start(
    target: str, width: int, side: int, patch_size: int, differences: int
) -> Callable[[Sequence[int]], np.ndarray]:
    """Initial values of a side-network parameter, as in the original, always the same draw.

    Layers with PyTorch's default initialisation are uniform within 1 / sqrt(inputs), biases too.
    """
    if target.endswith(("/scale", "/var")):
        return np.ones
    if re.search(r"norm/|/attention/.*/bias$", target):
        return np.zeros
    deviations = {
        r"/position_embedding$": 0.01,
        r"/attention/(query|key|value)/kernel$": side**-0.5,
        r"/(attention|mlp)/out/kernel$": (24 * side) ** -0.5,
        r"/mlp/hidden/kernel$": (2 * side) ** -0.5,
    }
    inputs = {
        r"/patch_embedding/": 3 * 3 * patch_size**2,
        r"/difference_embedding/": 3 * 3 * differences * patch_size**2,
        r"/projection/": width,
        r"/convolution/(taps|bias)$": 3,
        r"/gate/expand/": side // 16,
        r"/mlp/out/bias$": 4 * side,
        r"/(hidden|out|reduce)/|^head/": side,
    }
    for pattern, deviation in deviations.items():
        if re.search(pattern, target):
            return normal(target, deviation)
    return uniform(target, next(n for p, n in inputs.items() if re.search(p, target)) ** -0.5)
