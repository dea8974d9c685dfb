"""What the pictures of flows share: the case that is drawn, and fields side by side in time."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfunroll.plots.style import TITLES, Drawn, short
from tfunroll.systems.base import System

ANIMATED = 40  # frames of the animation, at most
PANELS = 6  # frames of the panels, of fields as wide as high
FRAMES_PER_SECOND = 10


def panels(
    rows: Mapping[str, np.ndarray],
    panel: Callable,
    label: str,
    title: str,
    system: System,
    wide: float,
) -> Figure:
    """Fields of one case: rows are models, columns frames, evenly spread.

    Args: as of ``animate``; wide: width of a field over its height.
    """
    count = max(round(PANELS / wide), 2)
    frames = np.unique(np.linspace(0, len(rows["reference"]) - 1, count).round().astype(int))
    figure = Figure((1.5 * wide * len(frames) + 1.9, 1.5 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots(len(rows), len(frames), squeeze=False)
    for row, (name, field) in zip(axes, rows.items(), strict=True):
        for ax, frame in zip(row, frames, strict=True):
            image, _ = panel(ax, field[frame])
        row[0].set_ylabel(short(name), fontsize=10)
    unit = f" {system.units['time']}" if "time" in system.units else ""
    for ax, frame in zip(axes[0], frames, strict=True):
        time = (frame + 1) * system.frame_time
        ax.set_title(f"frame {frame + 1}\nt = {time:.2f}{unit}", fontsize=9)
    figure.colorbar(image, ax=axes, label=label, extend="both", shrink=0.6, pad=0.02)
    figure.suptitle(title, fontsize=10)
    return figure


def animate(
    rows: Mapping[str, np.ndarray],
    panel: Callable,
    label: str,
    title: str,
    frame_time: float,
    across: int,
    width: float,
    path: pathlib.Path,
) -> None:
    """Writes fields as an animated GIF, side by side.

    Args:
      rows: name -> [frame, y, x]; a frame that is NaN all over has diverged.
      panel: (axes, [y, x]) -> the image and the text that says so.
      label: of the colours. title: of the case.
      across: panels in a row; each is ``width`` by 2 inches.
    """
    count = len(next(iter(rows.values())))
    frames = np.unique(np.linspace(0, count - 1, ANIMATED).round().astype(int))
    down = -(-len(rows) // across)
    figure = Figure((width * across + 1.0, 2.0 * down + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for ax in axes[len(rows) :]:
        ax.set_axis_off()
    panels = []
    for ax, (name, field) in zip(axes, rows.items(), strict=False):
        panels.append(panel(ax, field[0]))
        ax.set_title(short(name), fontsize=10)
    figure.colorbar(panels[0][0], ax=axes, label=label, extend="both", pad=0.02)
    heading = figure.suptitle(" \n ", fontsize=10)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # laid out once: panels that move would distract

    def draw(frame):
        time = (frame + 1) * frame_time
        heading.set_text(f"{title}\nframe {frame + 1} of {count}, t = {time:.2f}")
        for (image, text), field in zip(panels, rows.values(), strict=True):
            image.set_array(field[frame])
            text.set_visible(np.isnan(field[frame]).all())

    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    FuncAnimation(figure, draw, frames, init_func=lambda: None).save(path, writer, dpi=80)


def first_case(drawn: Drawn, test_set: str) -> int:
    """The sample that is drawn of a test set."""
    return list(next(iter(drawn.values()))["test_set"]).index(test_set)


def case_title(drawn: Drawn, test_set: str) -> str:
    """Test set and parameters of that sample."""
    physics = next(iter(drawn.values()))["physics"][first_case(drawn, test_set)]
    return f"{TITLES.get(test_set, test_set)}, {physics}"
