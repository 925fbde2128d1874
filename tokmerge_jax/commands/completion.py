"""Prints the completion of commands and configurations for bash, zsh or fish.

Add one of these lines to ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
  eval "$(tokmerge completion bash)"
  eval "$(tokmerge completion zsh)"
  tokmerge completion fish | source
"""

from tokmerge_jax import commands
from tokmerge_jax.config import files

_BASH = """\
_tokmerge() {{
  local configs="{configs}"
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  [ "$before" = "=" ] && before=${{COMP_WORDS[COMP_CWORD-2]}}  # bash splits --config=NAME at =
  [ "$word" = "=" ] && word=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [ "$before" = --config ]; then
    COMPREPLY=($(compgen -W "$configs" -- "$word"))
  elif [ "${{word#--config=}}" != "$word" ]; then
    COMPREPLY=($(compgen -P --config= -W "$configs" -- "${{word#--config=}}"))
  fi
}}
complete -o default -F _tokmerge tokmerge
"""
_ZSH = "autoload -Uz +X compinit bashcompinit && compinit && bashcompinit\n" + _BASH
_FISH = """\
complete -c tokmerge -n __fish_use_subcommand -f -a "{commands}"
complete -c tokmerge -n "not __fish_use_subcommand" -l config -r -a "{configs}"
"""


def run() -> None:
    """Prints the lines that the shell reads."""
    parser = commands.parser(__doc__)
    shells = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
    parser.add_argument("shell", choices=list(shells))
    lines = shells[parser.parse_args().shell]
    print(
        lines.format(commands=" ".join(commands.names()), configs=" ".join(files.names())), end=""
    )
