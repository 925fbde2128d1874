"""Benchmarks: what merging saves, and how fast the library is beside the originals.

Questions, and the commands that answer them (`python -m benchmarks.NAME --help`):
  stages         how long does each stage of one system take, and how long the original's?
  startup        how long until the first batch of an evaluation is done?
  accelerator    the same for all systems, on one accelerator, within a time limit
  performance    how much faster is ours? a table and a picture of the files of `stages`
  cost_model     how many seconds, not only GMAC, does a schedule save?
  ahead_of_time  does a TPU slice that is not here run it, and in how much memory?
  scale          how do time and memory grow with the work?
  search         how fast and how exact is search in a large index?

The other modules, in reading order: `cases` (what is timed), `inputs` (random clips and texts) and
the stages `encoding`, `pairs`, `training`, `evaluation`, `decoding`, `kernels`; `figures` and
`tables` (what is reported), `profile`; `peer` (starts `originals/driver.py` in a process with
PyTorch); `schedules` of `cost_model`; `scale_*` of `scale`; `study_*` of `study`; `indexes` of
`search`.
"""

import os

# JAX would take three quarters of a GPU's memory at once, and a benchmark shares it: with the
# original beside it, with other jobs that compile. Processes that it starts inherit this.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
