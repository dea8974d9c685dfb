"""Prints the table of sizes: python -m tfunroll.nets."""

from tabulate import tabulate

from tfunroll import nets
from tfunroll.core import Domain

PERIODIC = ("periodic", "periodic")
GRIDS = {
    "48": (Domain((48,), (PERIODIC,)), 2, 1),
    "32²": (Domain((32, 32), (PERIODIC, PERIODIC)), 4, 2),
}


def shape_of(net) -> str:
    """Its width and depth, as in the flags."""
    if getattr(net, "widths", ()):
        return ",".join(map(str, net.widths))
    return f"{net.width}:{net.depth}" + (f":{net.modes}" if hasattr(net, "modes") else "")


def main():
    rows = []
    for name in nets.NETS:
        for grid, arguments in GRIDS.items():
            sized = [nets.build(name, *arguments, size=size) for size in nets.SIZES]
            rows.append(
                [name, grid, *(f"{net.count_params():,} ({shape_of(net)})" for net in sized)]
            )
    print(tabulate(rows, ["net", "grid", *nets.SIZES], tablefmt="github"))


if __name__ == "__main__":
    main()
