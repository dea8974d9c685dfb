"""What training recorded: loss, validation error and learning rate over the updates."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER, model_order
from tfunroll.plots.style import Style, legend, styles_of

RATE = "training/learning_rate"
PANELS = {
    "training/loss": "training loss (running mean)",
    "validation/relative_error": "validation: relative error",
    RATE: "learning rate",
}
SHARED_STYLE = Style("black", "-", "", "")


def training(histories: Mapping[tuple[str, int], pd.DataFrame]) -> Figure:
    """Loss, validation error and learning rate over updates, below each other.

    A line is the geometric mean over seeds, its band their range. The stages that all modalities
    share are drawn once, in black.

    Args: histories: (modality or "shared", seed) -> records.read_history.
    """
    whole = pd.concat(
        [table.assign(modality=name, seed=seed) for (name, seed), table in histories.items()]
    )
    whole = whole[(whole["value"] > 0) & np.isfinite(whole["value"])]
    figure = Figure(figsize=(6.4, 8.0), layout="constrained")
    axes = figure.subplots(len(PANELS), 1, sharex=True)
    names = model_order(whole["modality"])
    styles = dict.fromkeys(names, SHARED_STYLE) | styles_of(n for n in names if n in ORDER)
    for ax, (quantity, label) in zip(axes, PANELS.items(), strict=True):
        part = whole[whole["quantity"] == quantity]
        for name, style in styles.items():
            values = part[part["modality"] == name].groupby("update")["value"]
            if not len(values):
                continue
            line = values.apply(lambda v: np.exp(np.mean(np.log(v))))
            text = name if name in ORDER else "all (one step)"
            steps = "steps-pre" if quantity == RATE else "default"
            look = {"markevery": 0.15, "drawstyle": steps}
            ax.plot(line.index, line, **style.line(text) | look)
            if quantity != RATE:  # of which all seeds have one, unless plateaus differ
                low, high = values.min(), values.max()
                ax.fill_between(line.index, low, high, color=style.color, alpha=0.18)
        ax.set(ylabel=label, yscale="linear" if quantity == RATE else "log")
        ax.grid(alpha=0.25)
    axes[-1].set_ylim(bottom=0)
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    axes[-1].set_xlabel("update")
    legend(figure, axes[-1].get_legend_handles_labels())
    return figure
