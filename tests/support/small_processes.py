"""`small_run` by several processes (see test_processes.py).

`python small_processes.py FOLDER DEED --distributed=...` trains in FOLDER, with evaluations after
every fifth step. DEED is what the last process does and when: "term:WHERE:STEP", "fault:batch:STEP"
or "kill:WHERE:STEP", before the STEP-th batch or during another one of `WHERE`; or "".
"""

import os
import signal
import sys
import threading

import small_run

from tokmerge_jax import command_line, hosts, parallel
from tokmerge_jax.training.loop import Trials
from tokmerge_jax.training.run import RunFolder
from tokmerge_jax.types import UserError

WHERE = {"batch": 0.0, "compile": 0.2, "save": 0.01, "trial": 0.0, "log_trial": 0.0, "end": 0.0}
"""Place -> seconds that it waits there before it acts, in the background."""


class Deed:
    """What the last process does, and when."""

    def __init__(self, text):
        self._kind, self._where, self._step = (*text.split(":"), "", "")[:3]

    def __call__(self, where, step):
        """Called by all processes, wherever they are."""
        wanted = (where, str(step)) == (self._where, self._step)
        if not wanted or hosts.number() != hosts.count() - 1:
            return
        if self._kind == "fault":
            raise UserError("b.mp4 cannot be decoded")
        number = signal.SIGKILL if self._kind == "kill" else signal.SIGTERM
        if WHERE[where]:
            threading.Timer(WHERE[where], os.kill, [os.getpid(), number]).start()
        else:
            os.kill(os.getpid(), number)


class Watched(RunFolder):
    """A run folder that says where it is."""

    deed = Deed("")

    def save(self, step, state):
        self.deed("save", step)
        super().save(step, state)

    def log_trial(self, step, value, protocol):
        self.deed("log_trial", step)
        super().log_trial(step, value, protocol)


def main():
    folder, text, where = sys.argv[1:]
    deed = Watched.deed = Deed(text)

    def batches(start):
        for index, batch in enumerate(small_run.batches(start), start):
            deed("batch", index)
            deed("compile", index)
            yield batch

    def measure(step, params):
        deed("trial", step)
        return float(params["temperature"])

    small_run.RunFolder = Watched
    parallel._LEAST = 1  # so that parameters are split
    with command_line.reported():
        hosts.join(where.removeprefix("--distributed="))
    with hosts.together(), command_line.reported():
        trials = Trials(5, "temperature", measure, lambda step, params: None)
        report = small_run.train(folder, devices=-1, fsdp=2, source=batches, trials=trials)
        print(report.step)
        deed("end", report.step)


if __name__ == "__main__":
    main()
