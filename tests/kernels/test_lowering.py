"""Our kernels keep compiling, up to what a TPU's and a GPU's own compilers are given."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from tokmerge_jax import kernels, parallel
from tokmerge_jax.kernels.attention import cudnn, pallas


def attend(*arrays, target, **options):
    return pallas.attention(*arrays, scale=0.125, target=target, **options)


def gradient(*arrays, target, **options):
    def loss(*arrays):
        return attend(*arrays, target=target, **options)[0].astype(jnp.float32).sum()

    return jax.grad(loss, (0, 1, 2, 3))(*arrays)


PROGRAMS = {  # and how many kernels they are
    "forward": (attend, 1),
    "entropy": (partial(attend, entropy=True), 2),
    "gradient": (gradient, 3),
    "capped": (partial(attend, cap=50.0, entropy=True), 2),
    "capped_gradient": (partial(gradient, cap=50.0), 3),
}


def shapes(dtype):
    """UMT-B/16's 12 frames, where each sample has sizes."""
    array = jax.ShapeDtypeStruct((2, 2353, 12, 64), dtype)
    return array, array, array, jax.ShapeDtypeStruct((2, 2353), np.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_for_a_tpu(program, dtype):
    function, kernels = PROGRAMS[program]
    program = jax.jit(partial(function, target="tpu"))
    text = jax.export.export(program, platforms=["tpu"])(*shapes(dtype)).mlir_module()
    assert text.count("@tpu_custom_call") == kernels


def test_attention_is_that_of_the_mesh():
    """Not that of the host, which may compile for other machines."""
    if jax.__version_info__ < (0, 10):
        pytest.skip("this JAX knows no other machine's platform")
    program = jax.jit(partial(kernels.attention, scale=0.125, entropy=True))
    device = AbstractDevice("TPU v5 lite", num_cores=1, platform="tpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        text = program.trace(*shapes(jnp.bfloat16)).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("@tpu_custom_call") == 2


@pytest.mark.parametrize("batch", [8, 3])
def test_for_a_mesh_of_tpus(batch):
    """A kernel that the compiler would have to split does not compile there."""
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    array = jax.ShapeDtypeStruct((batch, 200, 2, 64), jnp.bfloat16)
    weight = jax.ShapeDtypeStruct((batch, 200), jnp.float32)
    run = partial(parallel.by_device, partial(gradient, target="tpu"))
    with jax.set_mesh(mesh):
        program = jax.jit(lambda *arrays: run(arrays))
        exported = jax.export.export(program, platforms=["tpu"])(array, array, array, weight)
    assert exported.nr_devices == 8
    assert exported.mlir_module().count("@tpu_custom_call") == 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")  # from JAX 0.12 on
def test_for_a_gpu(program, dtype):
    function, kernels = PROGRAMS[program]
    program = jax.jit(partial(function, target="gpu"))
    if jax.__version_info__ < (0, 10):
        pytest.skip("this JAX lowers for a GPU only where it has one")
    device = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        text = program.trace(*shapes(dtype)).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("triton_kernel_call") + text.count("__gpu$xla.gpu.triton") == kernels


@pytest.mark.parametrize("tokens", [2352, 197])  # UMT's, CLIP's with a class token
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_cudnn_takes_gradients(tokens, weighted, monkeypatch):
    """JAX asks for what cuDNN cannot do while a program is traced."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)

    def total(*arrays):
        return cudnn.attention(*arrays, scale=0.125).astype(jnp.float32).sum()

    array = jax.ShapeDtypeStruct((2, tokens, 12, 64), jnp.bfloat16)
    arrays = [array] * 3 + [jax.ShapeDtypeStruct((2, tokens), jnp.float32)] * weighted
    text = str(jax.make_jaxpr(jax.grad(total, tuple(range(len(arrays)))))(*arrays))
    assert "dot_product_attention_bwd" in text


def test_a_gpus_compiler_keeps_what_one_channel_leaves(monkeypatch):
    """It takes x - x.astype(half).astype(float32) for x - x, which no CPU's does."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    text = str(jax.make_jaxpr(partial(cudnn.attention, scale=0.125))(*shapes(jnp.bfloat16)))
    assert "reduce_precision[exponent_bits=8 mantissa_bits=7]" in text
