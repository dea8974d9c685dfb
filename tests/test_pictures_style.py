"""What all pictures share: legends that fit, axes with numbers, names, ends of lines, bodies."""

import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from test_plots import FLOW, KS, flow_samples, run

from tfunroll import systems
from tfunroll.core import Domain, InputError
from tfunroll.plots import plot_run
from tfunroll.plots.fields import fields
from tfunroll.plots.flows import panels
from tfunroll.plots.forces import forces
from tfunroll.plots.rollouts import spectra
from tfunroll.plots.style import TITLES, case_title, finish, legend, mark_end, parameters

WAKE = systems.get("wake:points=16")


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_legend_is_never_wider_than_its_figure(count):
    figure = Figure((3.5, 3), layout="constrained")
    ax = figure.subplots()
    for k in range(count):
        ax.plot([0, 1], label=f"the solver of equal cost {k}")
    legend(figure, ax.get_legend_handles_labels(), ended=True)
    (made,) = figure.legends
    box = made.get_window_extent(drawn(figure))
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert [t.get_text() for t in made.get_texts()][-1] == "line ends: diverged"


def test_the_legend_of_spectra_of_one_case_fits():
    models = [(name, 0, 0.01) for name in ("ONE", "NOG", "WIG", "coarse solver")]
    _, samples = run([*models, ("equal-cost solver (2 sub-steps)", 0, 0.01)], ("validation",))
    figure = spectra({name: s for (name, _), s in samples.items()}, KS)
    box = figure.legends[0].get_window_extent(drawn(figure))
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize("limits", [(0.98, 1.03), (0.4, 0.9), (0.4, 2), (0.06, 13), (1e-7, 1e3)])
def test_a_log_axis_has_numbers_whatever_it_spans(limits):
    figure = Figure()
    ax = figure.subplots()
    ax.set(xscale="log", xlim=limits, yscale="log", ylim=limits[::-1])
    finish(figure)
    drawn(figure)
    for axis in (ax.xaxis, ax.yaxis):
        places = axis.get_majorticklocs()
        shown = [t.get_text() for t in axis.get_ticklabels()]
        inside = [text for at, text in zip(places, shown, strict=True)
                  if limits[0] <= at <= limits[1] and text]  # fmt: skip
        assert len(inside) >= 3
        assert len(set(inside)) == len(inside)


def test_cases_are_named_in_words_with_units():
    assert parameters("domain_size=8", KS) == "domain size 8 [2π]"
    assert case_title("test_extrapolation", "reynolds=150", WAKE) == "extrapolation, Re 150"
    assert parameters("some_thing=3;reynolds=1", WAKE) == "some thing 3, Re 1"


def test_a_cross_stands_where_a_line_ends():
    ax, x = Figure().subplots(), np.arange(4.0)
    assert not mark_end(ax, x, x, np.zeros(4, bool), "red")
    assert mark_end(ax, x, 2 * x, np.array([False, False, True, True]), "red")
    (cross,) = ax.get_lines()
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1, 2)


def test_the_cylinder_is_round():
    """The outline's points lie on the circle of its radius about its centre, in pixels."""
    states = np.zeros((2, *WAKE.domain.shape, 3))
    states[..., 0] = np.random.default_rng(0).normal(size=states.shape[:-1])
    figure = fields({"reference": states}, WAKE)
    (body,) = figure.axes[0].collections
    outline = np.concatenate([path.vertices for path in body.get_paths()])
    h = np.array(WAKE.domain.spacing[::-1])
    place = (outline + 1) * h  # pixel (i, j) is the corner at ((i + 1) h, (j + 1) h)
    radii = np.hypot(*(place - 2.5).T)
    assert len(outline) > 20
    np.testing.assert_allclose(radii, 0.5, atol=0.02)


def test_axes_of_forces_hold_the_networks_and_name_what_leaves_them():
    t = np.arange(1, 31)
    reference = np.stack([1.3 + 0.1 * np.cos(t), np.sin(t)], -1)[None]
    sample = {"test_set": np.array(["test_interpolation"]), "physics": np.array(["reynolds=150"])}
    sample |= {"prediction": np.zeros((1, 30, 2)), "reference_forces": reference}
    sample["diverged"] = np.zeros((1, 30), bool)
    shown = {
        "ONE": sample | {"prediction_forces": reference + 0.3},  # more than its range
        "WIG": sample | {"prediction_forces": reference * np.linspace(1, 30, 30)[:, None]},
        "coarse solver": sample | {"prediction_forces": reference - 40},
    }
    for component, ax in enumerate(forces(shown, WAKE).axes):
        low, high = ax.get_ylim()
        ours = (reference + 0.3)[0, :, component]
        assert low < min(ours.min(), reference[0, :, component].min())
        assert ours.max() < high < 10
        assert [t.get_text() for t in ax.texts] == ["leaves the axes: WIG, coarse solver"]


def test_an_own_system_of_two_dimensions_has_pictures_and_its_own_figures(tmp_path):
    def mine(samples, system):
        figure = Figure()
        figure.subplots().set_title(f"{system.name} {', '.join(samples)}")
        return figure

    plain = dataclasses.replace(FLOW, flow=None, figures={"mine": mine})
    summary, _ = run([("WIG", 0, 0.01)])
    samples = flow_samples(0.01)
    paths = plot_run(
        tmp_path, summary, {("WIG", 0): samples}, plain, {"horizon": 12, "long_horizon": 40}
    )
    names = {path.stem for path in paths}
    channels = {f"field_{c}_{s}" for c in plain.channels for s in TITLES.values()}
    channels = {name for name in channels if not name.endswith("validation")}
    assert names == {"curves", "spectra", "mine", "rollout", *channels}
    figure = fields({"reference": samples["reference"][0], "WIG": samples["prediction"][0]}, plain)
    images = [ax.get_images()[0].get_array() for ax in figure.axes if ax.get_images()]
    np.testing.assert_allclose(images[0], samples["reference"][0, 0, ..., 0])
    np.testing.assert_allclose(images[-1], samples["prediction"][0, -1, ..., 0])
    assert figure.axes[0].get_title() == "frame 1\nt = 1 time units"


def test_fields_of_three_dimensions_are_refused():
    solid = dataclasses.replace(
        KS, domain=Domain((2, 2, 2), (("periodic", "periodic"),) * 3), lyapunov_time=None
    )
    with pytest.raises(InputError, match="has three dimensions, which no picture shows"):
        fields({"network": np.zeros((2, 2, 2, 2, 1))}, solid)


def test_colours_follow_the_first_row():
    field = np.ones((3, 8, 8)) * np.arange(1, 4)[:, None, None]
    figure = panels({"reference": field, "network": 100 * field}, FLOW, "")
    limits = {ax.get_images()[0].get_clim() for ax in figure.axes if ax.get_images()}
    assert limits == {(-3, 3)}
