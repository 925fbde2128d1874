"""Benchmarks, in reading order.

Commands: `stages` times one system, `accelerator` runs `stages` many times, `performance` makes a
table of their files, `cost_model` predicts the seconds of schedules, `ahead_of_time` compiles for
TPUs, `search` times large indexes. Stages: `cases` (what is timed; clips and texts), `pairs`,
`training`, `evaluation`, `decoding`, `kernels`. Helpers: `tables`, `profile`, `peer` (starts
`originals/driver.py` in a process with PyTorch).
"""
