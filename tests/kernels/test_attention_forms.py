"""Every form of attention against attention written out; our kernels run interpreted here."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_case import SCALE, close, definition, draw, plain, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tokmerge_jax.kernels import attention, choose
from tokmerge_jax.kernels.attention import cudnn

run = jax.jit(partial(attention, scale=SCALE), static_argnames=("entropy", "form"))

SHAPES = [  # batch, queries, keys, heads, width
    (2, 128, 128, 2, 16),
    (1, 131, 257, 1, 16),  # odd, one head, blocks that end in padding
    (3, 7, 300, 3, 8),  # fewer queries than a block
]


def skip_where_halves_fail(form):
    if form == "whole" and jax.__version_info__ < (0, 10):
        pytest.skip("older JAX cannot multiply all bfloat16 matrices on a CPU")


def check(form, batch, rows, keys, heads, width, weighted, seed=0):
    arrays = draw(batch, rows, keys, heads, width, seed)
    weight = weights(batch, keys, seed) if weighted else None
    out, seen = run(*arrays, weight, entropy=True, form=form)
    expected = definition(*arrays, weight)
    close(out, expected[0])
    np.testing.assert_allclose(seen, expected[1], atol=2e-5)


@pytest.mark.parametrize("form", ["whole", "pallas"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("batch", "rows", "keys", "heads", "width"), SHAPES)
def test_forms_equal_the_definition(form, batch, rows, keys, heads, width, weighted):
    check(form, batch, rows, keys, heads, width, weighted)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["whole", "pallas"])
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 280),
    keys=st.integers(1, 280),
    heads=st.integers(1, 4),
    width=st.sampled_from([1, 4, 16, 32]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_forms_on_random_shapes(form, batch, rows, keys, heads, width, weighted, seed):
    check(form, batch, rows, keys, heads, width, weighted, seed)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", ["whole", "pallas"])
def test_gradients_equal_those_of_the_definition(form, dtype):
    """Draws queries, keys, values and positive weights; both sides end in padding."""
    if dtype == "bfloat16":
        skip_where_halves_fail(form)
    arrays, weight = draw(2, 131, 150, 2, 16, dtype=dtype), weights(2, 150) + 1.0
    towards = jnp.asarray(np.random.default_rng(3).standard_normal(arrays[0].shape), jnp.float32)

    def loss(function, *arrays):
        return (function(*arrays, scale=SCALE)[0].astype(jnp.float32) * towards).sum()

    gradients, expected = (
        jax.jit(jax.grad(partial(loss, f), (0, 1, 2, 3)))(*arrays, weight)
        for f in (partial(attention, form=form, entropy=True), plain)
    )
    for ours, theirs in zip(gradients, expected, strict=True):
        assert ours.dtype == theirs.dtype
        close(ours, theirs, {"float32": 5e-5, "bfloat16": 2e-2}[dtype])


@pytest.mark.parametrize("form", ["blocks", "whole", "pallas"])
@pytest.mark.parametrize("cap", [0.5, 5.0])
def test_capped_logits(form, cap):
    """Values, entropy and gradients, where the cap bends most logits; some keys are padding."""
    arrays, weight = draw(2, 5, 140, 2, 16), weights(2, 140)
    towards = jnp.asarray(np.random.default_rng(3).standard_normal(arrays[0].shape), jnp.float32)

    def loss(function, *arrays):
        out, entropy = function(*arrays, weight, scale=SCALE, cap=cap)
        return (out * towards).sum(), (out, entropy)

    (gradients, (out, entropy)), (expected, (defined, of_map)) = (
        jax.jit(jax.grad(partial(loss, f), (0, 1, 2), has_aux=True))(*arrays)
        for f in (partial(attention, form=form, entropy=True), plain)
    )
    close(out, defined)
    np.testing.assert_allclose(entropy, of_map, atol=2e-5)
    for ours, theirs in zip(gradients, expected, strict=True):
        close(ours, theirs, 5e-5)


def test_the_gradient_of_sizes_with_capped_logits():
    arrays, weight = draw(1, 5, 7, 2, 16), weights(1, 7) + 1.0

    def loss(function, weight):
        return (function(*arrays, weight, scale=SCALE, cap=0.5)[0] ** 2).sum()

    ours, theirs = (
        jax.jit(jax.grad(partial(loss, f)))(weight)
        for f in (partial(attention, form="pallas"), plain)
    )
    close(ours, theirs, 1e-4)


@pytest.mark.parametrize(("rows", "keys"), [(6, 8), (7, 8), (6, 9), (7, 9)])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_call_to_cudnn_equals_the_definition(rows, keys, weighted, dtype):
    """Checks values and gradients of the call, computed by XLA instead of cuDNN."""
    arrays = draw(2, rows, keys, 2, 8, dtype=dtype)
    if weighted:
        arrays.append(weights(2, keys) + 1.0)

    def squares(function, *arrays):
        out = function(*arrays, scale=SCALE)
        return jnp.square(out.astype(jnp.float32)).sum(), out

    def computed(function):
        wanted = tuple(range(len(arrays)))
        return jax.jit(jax.grad(partial(squares, function), wanted, has_aux=True))(*arrays)

    with jax.numpy_dtype_promotion("standard"):  # which JAX's own function needs
        asked = computed(partial(cudnn.attention, implementation="xla"))
    defined = computed(lambda *arrays, scale: plain(*arrays, scale=scale)[0])
    for ours, theirs in zip(*map(jax.tree.leaves, (asked, defined)), strict=True):
        close(ours, theirs, {"float32": 2e-5, "bfloat16": 2e-2}[dtype])


@jax.jit
def given_to_cudnn(*arrays):
    """Queries, keys and values that JAX's function gets for these and a weight of each key."""
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.nn, "dot_product_attention", lambda *x, **_: given.extend(x) or x[0])
        cudnn.attention(*arrays, scale=SCALE)
    return given


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@given(sizes=st.lists(st.integers(0, 2352), min_size=8, max_size=8).filter(any))
@settings(deadline=None)
def test_cudnn_reads_sizes_from_two_channels(dtype, sizes):
    """Half-precision channels hold them as well as float32 does; size 0 counts for nothing."""
    query, key, value = draw(1, 4, 8, 2, 8, dtype=dtype)
    weight = jnp.asarray([sizes], jnp.float32)
    key = jnp.where(weight[..., None, None] > 0, key, 1e3 * key)
    query_, key_, value_ = given_to_cudnn(query, key, value, weight)
    assert key_.dtype == key.dtype
    assert query_.shape == (1, 4, 2, 16)
    assert key_.shape == value_.shape == (1, 8, 2, 16)
    out = definition(*(x.astype(jnp.float32) for x in (query_, key_, value_)))[0]
    expected = definition(*(x.astype(jnp.float32) for x in (query, key, value)), weight)[0]
    close(out[..., :8], expected, 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["blocks", "whole", "pallas"])
def test_gradients_pass_by_padding(form):
    """Keys of weight 0 get none, and change nobody else's."""
    query, key, value = draw(1, 5, 140, 2, 8)
    weight = jnp.ones((1, 140)).at[:, :130].set(0)  # a whole block of it, and more

    def loss(*arrays):
        return jnp.square(attention(*arrays, scale=SCALE, form=form)[0]).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    gradients = gradient(query, key, value, weight)
    expected = gradient(query, key[:, 130:], value[:, 130:], weight[:, 130:])
    close(gradients[0], expected[0])
    for ours, theirs in zip(gradients[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(ours[:, :130], 0)
        close(ours[:, 130:], theirs)


@pytest.mark.parametrize("form", ["whole", "pallas"])
def test_no_gradient_through_the_entropy(form):
    arrays = draw(1, 5, 5, 2, 4)
    gradients = jax.jit(jax.grad(lambda *x: run(*x, entropy=True, form=form)[1].sum(), (0, 1)))
    assert all((g == 0).all() for g in gradients(*arrays))


@pytest.mark.parametrize("form", ["whole", "pallas"])
def test_bfloat16_softmax_is_float32(form):
    skip_where_halves_fail(form)
    arrays, weight = draw(2, 40, 150, 3, 16, dtype=jnp.bfloat16), weights(2, 150)
    out, entropy = run(*arrays, weight, entropy=True, form=form)
    expected = definition(*(x.astype(jnp.float32) for x in arrays), weight)
    assert out.dtype == jnp.bfloat16
    assert entropy.dtype == jnp.float32
    close(out, expected[0], 2e-2)
    np.testing.assert_allclose(entropy, expected[1], atol=1e-5)


@pytest.mark.parametrize("form", ["whole", "pallas"])
def test_large_logits_do_not_overflow(form):
    query, key, value = draw(1, 6, 130, 2, 8)
    out, entropy = run(300 * query, 300 * key, value, entropy=True, form=form)
    close(out, definition(300 * query, 300 * key, value)[0])
    assert np.isfinite(entropy).all()


@pytest.mark.parametrize("batch", [8, 3])
def test_rows_of_a_sharded_batch(batch):
    """Each device runs the kernels on its own rows, or on all that do not fall into eight parts."""
    arrays, weight = draw(batch, 12, 12, 2, 8), weights(batch, 12)
    expected = definition(*arrays, weight)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    layout = NamedSharding(mesh, PartitionSpec("data" if batch == 8 else None))
    with jax.set_mesh(mesh):
        inputs = jax.device_put((*arrays, weight), layout)
        program = run.lower(*inputs, entropy=True, form="pallas").compile()
        out, entropy = program(*inputs)
    assert "all-gather" not in str(program.as_text())
    assert out.sharding.is_equivalent_to(layout, 4)
    close(out, expected[0])
    np.testing.assert_allclose(entropy, expected[1], atol=1e-5)


@pytest.mark.parametrize(
    ("platform", "dtype", "rows", "keys", "width", "entropy", "form"),
    [
        ("cpu", "float32", 2352, 2352, 64, True, "blocks"),
        ("cpu", "bfloat16", 32, 32, 64, False, "blocks"),
        ("gpu", "bfloat16", 2352, 2352, 64, False, "cudnn"),
        ("gpu", "float16", 2352, 2352, 64, False, "cudnn"),
        ("gpu", "bfloat16", 2352, 2352, 12, False, "blocks"),  # widths that cuDNN refuses
        ("gpu", "bfloat16", 2352, 2352, 128, False, "blocks"),
        ("gpu", "bfloat16", 2352, 2352, 64, True, "pallas"),
        ("gpu", "float32", 2352, 2352, 64, False, "blocks"),  # no matrix unit is that exact
        ("gpu", "bfloat16", 50, 50, 64, False, "cudnn"),
        ("gpu", "bfloat16", 50, 50, 64, True, "whole"),
        ("gpu", "bfloat16", 32, 2352, 64, False, "whole"),
        ("gpu", "bfloat16", 2352, 2352, 48, True, "blocks"),
        ("gpu", "bfloat16", 2352, 2352, 128, True, "blocks"),
        ("gpu", "bfloat16", 65, 10**6, 64, True, "pallas"),
        ("tpu", "bfloat16", 2352, 2352, 64, False, "pallas"),
        ("tpu", "float32", 65, 65, 128, True, "pallas"),
        ("tpu", "float32", 64, 64, 128, True, "whole"),
        ("tpu", "bfloat16", 2352, 2352, 256, True, "blocks"),
        ("tpu", "bfloat16", 65, 12288, 64, True, "pallas"),
        ("tpu", "bfloat16", 65, 12289, 64, True, "blocks"),  # all keys of a head are in its memory
        ("tpu", "float32", 6145, 65, 64, True, "blocks"),  # and all queries, for a gradient
    ],
)
def test_the_form_of_a_platform(platform, dtype, rows, keys, width, entropy, form):
    assert choose(platform, dtype, rows, keys, width, entropy=entropy) == form


def test_a_program_names_the_form():
    text = run.lower(*draw(1, 5, 5, 2, 4)).compile().as_text()
    assert "attention_blocks" in str(text)
