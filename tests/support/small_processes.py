"""`small_run` by several processes (see test_processes.py).

`python small_processes.py FOLDER PAUSE DEED --distributed=...` trains in FOLDER and pauses before
each batch. DEED is "term:STEP" or "fault:STEP": what the last process does before it gives that
batch; or "".
"""

import os
import signal
import sys
import time

import small_run

from tokmerge_jax import command_line, hosts, parallel
from tokmerge_jax.types import UserError


def main():
    folder, pause, deed, where = sys.argv[1:]
    name, _, at = deed.partition(":")

    def batches(start):
        for index, batch in enumerate(small_run.batches(start), start):
            time.sleep(float(pause))
            if str(index) == at and hosts.number() == hosts.count() - 1:
                if name == "fault":
                    raise UserError("b.mp4 cannot be decoded")
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    parallel._LEAST = 1  # so that parameters are split
    with command_line.reported():
        hosts.join(where.removeprefix("--distributed="))
    with hosts.together(), command_line.reported():
        report = small_run.train(folder, devices=-1, fsdp=2, source=batches)
        print(report.step)


if __name__ == "__main__":
    main()
