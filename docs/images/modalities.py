"""Draws docs/images/modalities.svg: ONE, NOG and WIG in one picture.

python docs/images/modalities.py
"""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, STATE, DATA, STEP, LOSS, GRADIENT = (
    *("#1f2933", "#cfe3f1", "#d9dde1", "#ffffff", "#f6d8a8", "#c0392b"),
)
STEPS = 3
UNIT = 2.6  # distance of two states


def box(ax, x, y, text, colour, width=0.62, height=0.5, round_=0.12):
    style = f"round,pad=0,rounding_size={round_}"
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, style, fc=colour, ec=INK, lw=1.1
        )
    )
    ax.text(x, y - 0.01, text, ha="center", va="center", color=INK, fontsize=11)


def arrow(ax, start, end, colour=INK, dashed=False, bend=0.0):
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            color=colour,
            lw=1.9 if dashed else 1.2,
            linestyle=(0, (3, 2)) if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=0,
        )
    )


def row(ax, y, name, sentence, fresh, through):
    """One modality.

    Args:
      fresh: every step starts from a frame of the data. through: gradients pass between steps.
    """
    ax.text(-3.3, y + 0.24, name, fontsize=15, weight="bold", color=INK, va="center")
    ax.text(-3.3, y - 0.08, sentence, fontsize=10, color=INK, va="top", linespacing=1.35)
    for k in range(STEPS):
        x, step, after = k * UNIT, (k + 0.5) * UNIT, (k + 1) * UNIT
        if k == 0 or fresh:
            label, colour = ("$u_0$" if k == 0 else f"$r_{k}$"), DATA
            x += 0.34 if fresh and k else 0
            box(ax, x, y, label, colour)
        arrow(ax, (x + 0.31, y), (step - 0.33, y))
        box(ax, step, y, "step", STEP, width=0.66)
        end = after - (0.34 if fresh else 0)
        arrow(ax, (step + 0.33, y), (end - 0.31, y))
        box(ax, end, y, f"$u_{k + 1}$", STATE)
        box(ax, end, y - 0.98, "loss", LOSS, width=0.66, height=0.4)
        arrow(ax, (end, y - 0.25), (end, y - 0.78))
        # the gradient: from each loss to the step that made its state
        arrow(ax, (end - 0.36, y - 0.98), (step, y - 0.29), GRADIENT, dashed=True, bend=-0.35)
        if k and not fresh:
            if through:  # and on, through that step, to the one before
                arrow(
                    ax, (step - 0.1, y + 0.29), (step - UNIT + 0.1, y + 0.29), GRADIENT, True, 0.22
                )
            else:
                for dx in (-0.05, 0.05):
                    ax.plot(
                        [x + 0.5 + dx - 0.06, x + 0.5 + dx + 0.06],
                        [y - 0.24, y + 0.24],
                        color=GRADIENT,
                        lw=2,
                        zorder=5,
                    )


def main():
    plt.rcParams["svg.hashsalt"] = "tfunroll"  # the same bytes each time
    figure, ax = plt.subplots(figsize=(10.4, 7.0))
    row(ax, 5.6, "ONE", "One step from each\nframe of the data.", fresh=True, through=False)
    row(ax, 3.0, "NOG", "Unrolled; the gradient\nis cut after every step.", False, through=False)
    row(
        ax,
        0.4,
        "WIG",
        "Unrolled; the gradient\ngoes back through all\nsteps, solver included.",
        False,
        True,
    )

    y = -1.75
    ax.plot([-3.3, 8.4], [y + 0.8, y + 0.8], color="#b8c0c8", lw=0.8)
    ax.text(-3.3, y + 0.3, "A step", fontsize=12, weight="bold", color=INK, va="center")
    ax.text(
        *(-1.55, y + 0.3, r"prediction  $u_{k+1} = N(u_k)$"), fontsize=11, color=INK, va="center"
    )
    ax.text(
        *(2.15, y + 0.3, r"correction  $u_{k+1} = S(u_k) + N(u_k)$  or  $S(u_k) + N(S(u_k))$"),
        fontsize=11,
        color=INK,
        va="center",
    )
    ax.text(
        *(
            -1.55,
            y - 0.2,
            "N: network, S: coarse solver, r: frames of the data; the loss compares u with r",
        ),
        fontsize=10,
        color=INK,
        va="center",
    )
    y -= 0.7
    arrow(ax, (-0.9, y), (-1.55, y), GRADIENT, dashed=True)
    ax.text(-0.78, y, "gradient", fontsize=10, color=INK, va="center")
    for dx in (-0.05, 0.05):
        ax.plot([0.8 + dx - 0.06, 0.8 + dx + 0.06], [y - 0.18, y + 0.18], color=GRADIENT, lw=2)
    ax.text(1.0, y, "cut (stop gradient)", fontsize=10, color=INK, va="center")
    ax.set_xlim(-3.5, 8.6)
    ax.set_ylim(-2.8, 6.4)
    ax.set_aspect("equal")
    ax.axis("off")
    out = pathlib.Path(__file__).with_suffix(".svg")
    figure.savefig(
        out, bbox_inches="tight", pad_inches=0.15, facecolor="white", metadata={"Date": None}
    )


if __name__ == "__main__":
    main()
