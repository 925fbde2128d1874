"""The conditions of every test: eight devices, exact products, strict ranks, checked annotations.

They are set before JAX or the package is first imported, and child processes inherit the devices.
"""

import gc
import os

_DEVICES = "--xla_force_host_platform_device_count=8"
_QUICK = (  # programs take longer to optimise than to run here, those of full size too
    " --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)
_OLDER = " --xla_cpu_use_fusion_emitters=false"  # newer compilers know no other emitters
_NEWER = " --xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE"  # unknown to older ones, which stop
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}{_QUICK}".strip()

import hypothesis  # noqa: E402
import jax  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

_VERSION = jax.__version_info__
os.environ["XLA_FLAGS"] += _OLDER * (_VERSION < (0, 11)) + _NEWER * (_VERSION >= (0, 10))

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

# Stays installed for the whole run: arguments and results of the package are checked against
# their annotations, shapes included.
install_import_hook("tokmerge_jax", "beartype.beartype")

# A first call compiles, so that the time of an example says nothing.
hypothesis.settings.register_profile("tokmerge_jax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tokmerge_jax")


def pytest_collection_finish(session):
    """Tracing makes millions of objects, few in cycles: looking for these takes a sixth of it.

    What is marked slow has arrays of gigabytes in some of them, which are not to wait.
    """
    if session.config.option.markexpr == "not slow":
        gc.freeze()
        gc.set_threshold(10_000, 10, 100)
