"""The command `tokmerge train`, from a checkout."""

from tokmerge_jax import commands

if __name__ == "__main__":
    commands.run("train")
