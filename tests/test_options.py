"""Names with options: read, written, refused."""

from dataclasses import dataclass

import pytest

from tfunroll.core import InputError
from tfunroll.options import Options, option, read, write


@dataclass(frozen=True)
class Some(Options):
    sweeps: int = option(4, 1, 50, "sweeps")
    cells: int = option(32, 16, 64, "cells", step=8)
    part: float = option(1.0, 0.0, 1.0, "part", above=True)


KINDS = {"piso": Some, "plain": Options}


@pytest.mark.parametrize(
    ("text", "options", "written"),
    [
        ("piso", Some(), "piso"),
        ("piso:", Some(), "piso"),
        ("piso:sweeps=4", Some(), "piso"),
        ("piso:sweeps=2", Some(sweeps=2), "piso:sweeps=2"),
        ("piso: part=.25, sweeps=50", Some(50, 32, 0.25), "piso:sweeps=50,part=0.25"),
        ("plain", Options(), "plain"),
    ],
)
def test_read_and_write(text, options, written):
    name, got = read("coarse", text, KINDS)
    assert (name, got) == (text.partition(":")[0], options)
    assert write(name, got) == written
    assert read("coarse", written, KINDS) == (name, got)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pizo", "coarse='pizo' is unknown; allowed: piso, plain; nearest: piso"),
        (
            "piso:sweep=2",
            "coarse='piso:sweep=2': 'sweep' is not an option of piso; allowed: sweeps (a whole "
            "number from 1 to 50), cells (a multiple of 8 from 16 to 64), part (a number above 0, "
            "up to 1); nearest: sweeps",
        ),
        ("piso:sweeps=0", "sweeps=0 must be a whole number from 1 to 50; nearest: 1"),
        ("piso:sweeps=77", "sweeps=77 must be a whole number from 1 to 50; nearest: 50"),
        ("piso:sweeps=2.5", "sweeps=2.5 must be a whole number from 1 to 50"),
        ("piso:sweeps=two", "sweeps=two must be a whole number from 1 to 50"),
        ("piso:cells=27", "cells=27 must be a multiple of 8 from 16 to 64; nearest: 24"),
        ("piso:part=0", "part=0.0 must be a number above 0, up to 1"),
        ("piso:part=nan", "part=nan must be a number above 0, up to 1"),
        ("piso:part=3", "part=3.0 must be a number above 0, up to 1; nearest: 1"),
        ("piso:sweeps", "'sweeps' needs a value, as an option of piso"),
        ("piso:sweeps=2,sweeps=3", "'sweeps' is given twice as an option of piso"),
        ("plain:sweeps=2", "coarse='plain:sweeps=2': plain has no options; allowed: plain"),
    ],
)
def test_mistakes_say_what_is_allowed(text, message):
    with pytest.raises(InputError) as found:
        read("coarse", text, KINDS)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_values_are_checked_where_no_text_is_read():
    for bad in ({"sweeps": 2.0}, {"sweeps": True}, {"part": "1"}, {"cells": 17}):
        with pytest.raises(InputError, match=f"{next(iter(bad))}=.* must be"):
            Some(**bad)
    assert Some(part=1).part == 1
