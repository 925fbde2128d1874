"""Checks the memory limit, below which JAX hangs or aborts; must run before JAX is imported."""

import os
import resource
import sys

_BASE_KIB = 1728 * 1024  # JAX, libraries and the demo's evaluation, less what the cores bring
_CORE_KIB = 64 * 1024  # stacks of seven threads


def check() -> None:
    """Ends the program if its address space is limited to less than JAX needs to start."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    least = _BASE_KIB + len(os.sched_getaffinity(0)) * _CORE_KIB
    if limit // 1024 < least:
        print(
            f"ulimit -v is {limit // 1024} (KiB), too little address space for JAX; set it to"
            f" at least {least}, or to unlimited",
            file=sys.stderr,
        )
        sys.exit(2)


check()
