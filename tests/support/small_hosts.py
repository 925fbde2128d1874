"""A run of several processes that only joins, exchanges values and ends (see test_hosts.py).

`python small_hosts.py DEED --distributed=...`: DEED is what all processes do, or the one it names;
"late" is a SIGTERM while that one waits for the others, which sleep.
"""

import os
import signal
import sys
import threading
import time

import numpy as np

from tokmerge_jax import command_line, hosts, parallel
from tokmerge_jax.types import UserError


def act(deed):
    if deed == "fault":
        raise UserError("b.mp4 cannot be decoded")
    if deed == "bug":
        raise ValueError("no such thing")
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "late":
        threading.Timer(1, os.kill, [os.getpid(), signal.SIGTERM]).start()


def main():
    deed, where = sys.argv[1], sys.argv[2].removeprefix("--distributed=")
    with command_line.reported():
        hosts.join(where)
    with hosts.together(), command_line.reported():
        me, rows = hosts.number(), np.arange(7)
        shares = hosts.gather(hosts.share(rows).tolist())
        print(shares, flush=True)
        print(f"only process {me} says this", file=sys.stderr)
        mesh = parallel.make_mesh()
        own = np.full((2, 3), me, np.float32)
        placed = parallel.shard(mesh, {"x": own})["x"]
        assert placed.shape == (2 * hosts.count(), 3)
        assert all(np.all(part.data == me) for part in placed.addressable_shards)
        name, _, only = deed.partition(":")
        if only in ("", str(me)):
            act(name)
        elif name == "late":
            time.sleep(60)
        hosts.wait()


if __name__ == "__main__":
    main()
