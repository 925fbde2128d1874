"""Plots a run's loss curve."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tokmerge_jax import disk
from tokmerge_jax.objects import Place


def draw(
    history: Sequence[Mapping[str, int | float]], trials: Mapping[int, float], path: Place
) -> None:
    """Plots the loss, its parts and the evaluations over steps into the image `path`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name in sorted(history[0].keys() - {"step", "learning_rate", "gradient_norm"}):
        axes.plot([r["step"] for r in history], [r[name] for r in history], lw=0.8, label=name)
    if trials:
        other = axes.twinx()
        other.set_ylabel("evaluation, %")
        other.plot(list(trials), list(trials.values()), "k.-", lw=0.8)
    axes.legend()
    with disk.replaced(path) as part:
        figure.savefig(part, format="png", dpi=150)
