"""A picture of a run's loss curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def draw(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws the loss and its parts over the steps into the image file `path`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name in sorted(history[0].keys() - {"step", "learning_rate", "gradient_norm"}):
        axes.plot([r["step"] for r in history], [r[name] for r in history], lw=0.8, label=name)
    axes.legend()
    figure.savefig(path, dpi=150)
