"""What the scripts share: the configuration's flag, and errors told in one sentence."""

import pathlib
import sys
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from absl import app, logging
from ml_collections import ConfigDict, config_flags

from tokmerge_jax.types import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the configuration, a .py file")


def run(main: Callable[[ConfigDict], None]) -> None:
    """Parses the command line and calls `main(config)`; bad input exits with code 2."""

    def start(argv: Sequence[str]) -> None:
        del argv
        logging.set_verbosity(logging.WARNING)  # orbax tells every step
        try:
            main(_CONFIG.value)
        except UserError as error:
            print(error, file=sys.stderr)
            sys.exit(2)

    app.run(start)
