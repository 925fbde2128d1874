"""Random erasing: noise replaces a box of a clip.

Source: Zhong et al., "Random Erasing Data Augmentation" (AAAI 2020), with timm's noise and sizes.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from tokmerge_jax.training.mixing import Box

_AREA = 0.02, 1 / 3  # of the picture
_ASPECT = 0.3, 1 / 0.3  # height by width
_TRIES = 16  # a size is drawn again if it exceeds the picture, as one in 100 does


def erase(
    key: PRNGKeyArray, video: Float[Array, "B T H W 3"], share: float
) -> Float[Array, "B T H W 3"]:
    """Replaces a box, the same in all frames, by normal noise in some of the clips.

    Args:
      key: random key.
      video: clips whose colours have mean 0 and standard deviation 1.
      share: the probability with which a clip has a box.
    """
    of_choice, of_boxes, of_noise = jax.random.split(key, 3)
    height, width = video.shape[2:4]
    chosen = jax.random.bernoulli(of_choice, share, (len(video), 1, 1))
    keys = jax.random.split(of_boxes, len(video))
    inside = jax.vmap(lambda key: draw_box(key, height, width).inside(height, width))(keys)
    noise = jax.random.normal(of_noise, video.shape, video.dtype)
    return jnp.where((chosen & inside)[:, None, :, :, None], noise, video)


def draw_box(key: PRNGKeyArray, height: int, width: int) -> Box:
    """Draws a box: area, logarithm of the aspect ratio and place are uniform."""
    of_area, of_aspect, at_y, at_x = jax.random.split(key, 4)
    low, high = _AREA
    area = height * width * jax.random.uniform(of_area, (_TRIES,), minval=low, maxval=high)
    low, high = (math.log(aspect) for aspect in _ASPECT)
    aspect = jnp.exp(jax.random.uniform(of_aspect, (_TRIES,), minval=low, maxval=high))
    h, w = (jnp.round(jnp.sqrt(x)).astype(jnp.int32) for x in (area * aspect, area / aspect))
    first = jnp.argmax((h < height) & (w < width))
    h, w = h[first], w[first]
    top = jax.random.randint(at_y, (), 0, height - h + 1)
    left = jax.random.randint(at_x, (), 0, width - w + 1)
    return Box(top, top + h, left, left + w)
