"""The command `tokmerge visualize`, from a checkout."""

from tokmerge_jax import commands

if __name__ == "__main__":
    commands.run("visualize")
