"""Lists the weights that can be loaded by name, as hub:NAME.

Examples:
  tokmerge weights
  tokmerge eval --config msrvtt_b16 --config.checkpoint=hub:msrvtt_b16

A file is downloaded when it is first named, into TOKMERGE_WEIGHTS_DIR or the user's cache; there it
can also be put by hand. Any other weights on the Hugging Face Hub are hf://OWNER/REPOSITORY[/FILE].
"""

from tokmerge_jax import command_line, commands, downloads
from tokmerge_jax.checkpoints.known import KNOWN
from tokmerge_jax.commands.configs import STAR, published
from tokmerge_jax.config import files


def run() -> None:
    """Prints two lines for each name."""
    commands.parser(__doc__).parse_args()
    with command_line.reported():
        for name, known in KNOWN.items():
            publication = files.read(name)[1] if known.config == name else None
            number = [published(publication.numbers)] if publication else []
            facts = [f"configuration {known.config}", known.licence, *number]
            print(f"{name}: {', '.join(facts)}\n    {known.address}")
        print(f"{STAR}\nFolder: {downloads.cache()}")
