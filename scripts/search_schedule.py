"""The command `tokmerge search_schedule`, from a checkout."""

from tokmerge_jax import commands

if __name__ == "__main__":
    commands.run("search_schedule")
