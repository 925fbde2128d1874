"""The command `tokmerge`, as `python -m tokmerge_jax`."""

from tokmerge_jax import commands

if __name__ == "__main__":
    commands.main()
