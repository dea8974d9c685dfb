"""What the pictures of flows share: the case that is drawn, and fields side by side in time."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfunroll.evaluation.results import ORDER
from tfunroll.plots.style import Drawn, case_title, frame_title, short
from tfunroll.systems.base import System

ANIMATED = 40  # frames of the animation, at most
PANELS = 6  # frames of the panels, of fields as wide as high
FRAMES_PER_SECOND = 10


def animate(
    rows: Mapping[str, np.ndarray],
    panel: Callable,
    label: str,
    title: str,
    system: System,
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
        time = (frame + 1) * system.frame_time
        text = f"frame {frame + 1} of {count}, t = {time:.2f} {system.time_unit}"
        heading.set_text(f"{title}\n{text}")
        for (image, text), field in zip(panels, rows.values(), strict=True):
            image.set_array(field[frame])
            text.set_visible(np.isnan(field[frame]).all())

    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    FuncAnimation(figure, draw, frames, init_func=lambda: None).save(path, writer, dpi=80)


def in_time(
    rows: Mapping[str, np.ndarray],
    panel: Callable,
    label: str,
    title: str,
    system: System,
    count: int,
    size: tuple[float, float],
) -> Figure:
    """Fields in space: a row for each model, a column for each of ``count`` frames.

    Args:
      rows, panel, label, title: as for ``animate``.
      count: columns, from the first frame to the last.
      size: width and height of a panel, in inches.
    """
    whole = len(next(iter(rows.values())))
    frames = np.unique(np.linspace(0, whole - 1, count).round().astype(int))
    width, height = size[0] * len(frames) + 1.9, size[1] * len(rows) + 0.9
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(len(rows), len(frames), squeeze=False)
    for row, (name, values) in zip(axes, rows.items(), strict=True):
        for ax, frame in zip(row, frames, strict=True):
            image, _ = panel(ax, values[frame])
        row[0].set_ylabel(short(name), fontsize=10)
    for ax, frame in zip(axes[0], frames, strict=True):
        ax.set_title(frame_title(system, frame), fontsize=9)
    shrink = 0.6 if len(rows) > 2 else 0.9
    figure.colorbar(image, ax=axes, label=label, extend="both", shrink=shrink, pad=0.02)
    figure.suptitle(title, fontsize=10)
    return figure


def first_case(drawn: Drawn, test_set: str) -> int:
    """The sample that is drawn of a test set."""
    return list(next(iter(drawn.values()))["test_set"]).index(test_set)


def title_of(drawn: Drawn, test_set: str, system: System) -> str:
    """Test set and parameters of that sample."""
    physics = next(iter(drawn.values()))["physics"][first_case(drawn, test_set)]
    return case_title(test_set, physics, system)


def rows_of(drawn: Drawn, test_set: str, field: Callable) -> dict[str, np.ndarray]:
    """Name -> the field [frame, y, x] of the reference, the coarse solver and the networks.

    Args: field: states [frame, *space, channel] -> [frame, y, x]. What diverged is NaN.
    """
    case = first_case(drawn, test_set)
    rows = {"reference": field(next(iter(drawn.values()))["reference"][case])}
    for name in ("coarse solver", *ORDER):
        if name in drawn:
            lost = drawn[name]["diverged"][case][:, None, None]
            rows[name] = np.where(lost, np.nan, field(drawn[name]["prediction"][case]))
    return rows
