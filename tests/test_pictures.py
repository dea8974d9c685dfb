"""What the pictures show, read from the figures: panels, names, units, and the numbers drawn.

One seed and rollouts of one error each: it does not matter which mean is drawn.
"""

import dataclasses

import numpy as np
import pytest
from test_plots import CELLS, FLOW, FRAMES, KS, SETTINGS, flow_samples, run

from tfunroll import systems
from tfunroll.core import Domain
from tfunroll.evaluation.results import SETS
from tfunroll.metrics import flows as measures
from tfunroll.plots import animation, channels, curved, flows
from tfunroll.plots.curves import curves
from tfunroll.plots.forces import forces
from tfunroll.plots.rollouts import rollouts, spectra

AERO = systems.get("aerofoil")
ERRORS = {"ONE": 0.03, "WIG": 0.01, "coarse solver": 0.1}
BLOWN = 4  # frames that the coarse solver lives


@pytest.fixture(scope="module")
def waves():
    """(results, model -> samples) of travelling waves; the coarse solver blows up."""
    results, samples = run([(name, 0, error) for name, error in ERRORS.items()])
    return results, with_divergence({name: samples[name, 0] for name in ERRORS})


def with_divergence(drawn, model="coarse solver", frame=BLOWN):
    for name, sample in drawn.items():
        lost = np.zeros(sample["prediction"].shape[:2], bool)
        if name == model:
            sample["prediction"][:, frame:] = np.nan
            lost[:, frame:] = True
        sample["diverged"] = lost
    return drawn


def lines(ax):
    """Label -> (x, y) of the lines of a panel; those without a label are grids and marks."""
    return {
        line.get_label().replace("\n", " "): (np.asarray(line.get_xdata(), float),
                                              np.asarray(line.get_ydata(), float))
        for line in ax.get_lines() if not line.get_label().startswith("_")
    }  # fmt: skip


def labelled(figure, label):
    """The panels of the row whose first panel has this y-label."""
    (first,) = [ax for ax in figure.axes if ax.get_ylabel().startswith(label)]
    row = first.get_subplotspec().rowspan
    return [ax for ax in figure.axes if ax.get_subplotspec().rowspan == row]


def in_legend(figure):
    return {text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()}


# ---------------------------------------------------------------------- one dimension


def test_curves():
    results, _ = run([(name, 0, error) for name, error in ERRORS.items()])
    figure = curves(results, KS, SETTINGS)
    above, below = labelled(figure, "normalised RMSE"), labelled(figure, "relative error")
    assert [ax.get_title() for ax in above] == ["interpolation", "extrapolation"]
    assert in_legend(figure) == set(ERRORS)
    for ax, bars, test_set in zip(above, below, SETS, strict=True):
        part = results[results["test_set"] == test_set].set_index("modality")
        drawn = lines(ax)
        assert set(drawn) == set(ERRORS)
        for name, (x, y) in drawn.items():
            wanted = part.loc[name].query("metric == 'nrmse'")
            np.testing.assert_array_equal(x, wanted["frame"])
            np.testing.assert_allclose(y, wanted["value"].astype(float))
        assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "frame")
        (mark,) = [line for line in ax.get_lines() if line.get_label().startswith("_")]
        assert set(mark.get_xdata()) == {KS.lyapunov_time}
        error = part.query("metric == 'relative_error'")["value"].astype(float)
        assert [t.get_text().split("\n")[0] for t in bars.get_xticklabels()] == ["ONE", "WIG"]
        heights = [bar.get_height() for bar in bars.patches]
        np.testing.assert_allclose(heights, error[["ONE", "WIG"]])
        np.testing.assert_allclose(lines(bars)["coarse solver"][1], error["coarse solver"])


def test_spectra(waves):
    _, drawn = waves
    figure = spectra(drawn, KS)
    assert [ax.get_title().split("\n") for ax in figure.axes] == [
        ["interpolation", "domain size 8 [2π]"],
        ["extrapolation", "domain size 8 [2π]"],
    ]
    assert in_legend(figure) == {"reference", *ERRORS}
    for ax in figure.axes:
        assert set(lines(ax)) == {"reference", *ERRORS}
        for x, y in lines(ax).values():  # sin(nx)/n of n = 2, 3, 5; drift changes no spectrum
            np.testing.assert_array_equal(x, np.arange(1, 24))
            np.testing.assert_allclose(y[[1, 2, 4]], [1 / 16, 1 / 36, 1 / 100], rtol=1e-9)
            assert y[[0, 3]].max() < 1e-12
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_rollouts(waves):
    _, drawn = waves
    figure = rollouts(drawn, KS)
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    rows = np.reshape(panels, (4, 4))
    assert [ax.get_title() for ax in rows[0]] == ["reference", *ERRORS]
    for case, (top, bottom) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        first = drawn["ONE"]["reference"][case, :, :, 0].T
        image = [ax.get_images()[0].get_array() for ax in top]
        np.testing.assert_allclose(image[0], first)
        for name, u, ax in zip(ERRORS, image[1:], bottom[1:], strict=True):
            shown = FRAMES if name != "coarse solver" else BLOWN
            wanted = drawn[name]["prediction"][case, :shown, :, 0].T
            np.testing.assert_allclose(u[:, :shown], wanted)
            assert np.ma.getmaskarray(u)[:, shown:].all()
            difference = ax.get_images()[0].get_array()[:, :shown]
            np.testing.assert_allclose(difference, np.abs(wanted - first[:, :shown]))
        assert [t.get_text() for t in top[3].texts] == ["diverged"]
        assert not top[1].texts


# ---------------------------------------------------------------------- flows


@pytest.fixture(scope="module")
def vortices():
    drifts = {"ONE": 0.0, "WIG": 0.02, "coarse solver": 0.1}
    drawn = {name: flow_samples(drift) for name, drift in drifts.items()}
    return with_divergence(drawn, frame=10)


def test_vorticity(vortices):
    figure = flows.vorticity(vortices, FLOW, "test_extrapolation")
    panels = [ax for ax in figure.axes if ax.get_images()]
    rows = np.reshape(panels, (4, animation.PANELS))
    assert [ax.get_ylabel() for ax in rows[:, 0]] == ["reference", "coarse solver", "ONE", "WIG"]
    assert "extrapolation" in figure.get_suptitle()
    assert "1000" in figure.get_suptitle()
    for column, ax in enumerate(rows[0]):
        frame, time = ax.get_title().split("\n")
        number = round(column * (FRAMES - 1) / (animation.PANELS - 1))
        assert frame == f"frame {number + 1}"
        assert float(time.split("=")[1].split()[0]) == pytest.approx((number + 1) * KS.frame_time)
        shown = {ax.get_ylabel(): row[column] for row in rows for ax in row[:1]}
        for name, panel in shown.items():
            sample = vortices["ONE" if name == "reference" else name]
            w = sample["reference" if name == "reference" else "prediction"][1, number, ..., :2]
            image = panel.get_images()[0].get_array()
            if name == "coarse solver" and number >= 10:
                assert np.ma.getmaskarray(image).all()
                assert [t.get_visible() for t in panel.texts] == [True]
            else:
                np.testing.assert_allclose(image, measures.vorticity(w, FLOW.flow), atol=1e-6)
                assert not any(t.get_visible() for t in panel.texts)


def test_spectra_of_flows(vortices):
    figure = flows.spectra(vortices, FLOW)
    upper, lower = labelled(figure, "energy"), labelled(figure, "E / reference")
    for ax, ratio, title in zip(upper, lower, ("reynolds 600", "reynolds 1000"), strict=True):
        assert title in ax.get_title()
        assert set(lines(ax)) == {"reference", *vortices}
        for name, (k, energy) in lines(ax).items():
            np.testing.assert_array_equal(k, np.arange(1, CELLS // 2 + 1))
            np.testing.assert_allclose(energy[0], 0.25, rtol=1e-5, err_msg=name)
            assert energy[1:].max() < 1e-6
        for name in vortices:
            np.testing.assert_allclose(lines(ratio)[name][1][0], 1, rtol=1e-5)


def test_evolution(vortices):
    figure = flows.evolution(vortices, FLOW)
    time = FLOW.frame_time * np.arange(1, FRAMES + 1)
    for label, wanted in (("energy", 0.25), ("enstrophy", None), ("correlation", None)):
        for ax in labelled(figure, label):
            drawn = lines(ax)
            assert set(drawn) == {*vortices} | ({"reference"} if label != "correlation" else set())
            np.testing.assert_allclose(drawn["WIG"][0], time)
            np.testing.assert_allclose(drawn["coarse solver"][0], time[:10])  # ends there
            if wanted:
                np.testing.assert_allclose(drawn["WIG"][1], wanted, rtol=1e-5)
    perfect, drifting = (lines(labelled(figure, "correlation")[0])[n][1] for n in ("ONE", "WIG"))
    np.testing.assert_allclose(perfect, 1, rtol=1e-6)
    # One wave: fluctuations about the reference's mean over time are differences of phasors.
    phase = 0.05 * np.arange(FRAMES)
    r, u = (np.exp(1j * x) - np.exp(1j * phase).mean() for x in (phase, phase * 0.07 / 0.05))
    np.testing.assert_allclose(drifting, (u * r.conj()).real / np.abs(u * r), atol=1e-4)
    assert "[time units]" in figure.axes[-1].get_xlabel()


def test_forces():
    t = np.arange(1, 31)
    reference = np.stack([1.3 + 0.1 * np.cos(t), np.sin(t)], -1)[None]
    sample = {"test_set": np.array(["test_interpolation"]), "physics": np.array(["reynolds=150"])}
    sample |= {"prediction": np.zeros((1, 30, 2)), "reference_forces": reference}
    drawn = {
        "ONE": sample | {"prediction_forces": reference + 0.01},
        "coarse solver": sample | {"prediction_forces": reference.copy()},
    }
    drawn["coarse solver"]["prediction_forces"][:, BLOWN:] = np.nan
    drawn["coarse solver"]["prediction"] = np.zeros((1, 30, 2))
    figure = forces(with_divergence(drawn), dataclasses.replace(KS, frame_time=0.5))
    assert [ax.get_ylabel() for ax in figure.axes] == ["drag coefficient", "lift coefficient"]
    assert "interpolation, reynolds 150" in figure.axes[0].get_title()
    assert "[time units]" in figure.axes[1].get_xlabel()
    assert "line ends: diverged" in in_legend(figure)
    for component, ax in enumerate(figure.axes):
        shown = lines(ax)
        assert set(shown) == {"reference", "ONE", "coarse solver"}
        (end,) = [line for line in ax.get_lines() if line.get_label() == "_end"]
        last = 0.5 * BLOWN, reference[0, BLOWN - 1, component]
        np.testing.assert_allclose(np.ravel(end.get_data()), last)
        np.testing.assert_allclose(shown["reference"], [0.5 * t, reference[0, :, component]])
        np.testing.assert_allclose(shown["ONE"][1], reference[0, :, component] + 0.01)
        np.testing.assert_array_equal(np.isnan(shown["coarse solver"][1]), t > BLOWN)
        low, high = ax.get_ylim()
        assert low < reference[0, :, component].min()
        assert high > reference[0, :, component].max()


# ---------------------------------------------------------------------- curved grids


@pytest.fixture(scope="module")
def aerofoils():
    params = {"mach": np.array([0.6]), "reynolds": np.array([1e4]), "incidence": np.array([8.0])}
    start = AERO.initial_state(params, 0)
    growing = 1 + 0.01 * np.arange(8)[:, None, None] * AERO.domain.centres[..., 0]
    reference = start[:, None] * growing[..., None]
    sample = {
        "reference": reference,
        "test_set": np.array(["test_interpolation"]),
        "physics": np.array(["mach=0.6;reynolds=10000;incidence=8"]),
        **{f"params.{name}": value for name, value in params.items()},
    }
    drawn = {
        "WIG": sample | {"prediction": 1.1 * reference},
        "coarse solver": sample | {"prediction": reference.copy()},
    }
    return with_divergence(drawn)


def test_fields_on_a_curved_grid(aerofoils):
    label = "density ρ/ρ∞"
    figure = curved.field(aerofoils, AERO, label, "test_interpolation")
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    rows = np.reshape(panels, (3, curved.PANELS))
    assert [ax.get_ylabel() for ax in rows[:, 0]] == ["reference", "coarse solver", "WIG"]
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bar.get_ylabel() == label
    for column, frame in enumerate((0, 2, 5, 7)):
        assert rows[0, column].get_title().startswith(f"frame {frame + 1}\nt = ")
        density = aerofoils["WIG"]["reference"][0, frame, ..., 0]
        images = [row[column].collections[0].get_array() for row in rows]
        np.testing.assert_allclose(images[0].reshape(density.shape), density)
        np.testing.assert_allclose(images[2].reshape(density.shape), 1.1 * density)
        assert np.ma.getmaskarray(images[1]).all() == (frame >= BLOWN)
    ax = rows[0, 0]
    assert (ax.get_xlim(), ax.get_ylim()) == AERO.pictures.window
    np.testing.assert_allclose(ax.patches[0].get_xy(), AERO.pictures.nodes[0])  # the body


def test_values_along_the_body(aerofoils):
    figure = curved.surface(aerofoils, AERO)
    label, measure = AERO.pictures.surface
    given = {"mach": np.array([0.6])}
    wanted = measure(aerofoils["WIG"]["reference"], given)[0]
    wig, coarse = figure.axes
    assert (wig.get_ylabel(), coarse.get_ylabel()) == ("WIG", "coarse solver")
    assert figure.get_supylabel() == label
    assert wig.get_title() == "interpolation, Ma 0.6, Re 10000, incidence 8 [degrees]"
    theirs = measure(aerofoils["WIG"]["prediction"], given)[0]
    drawn = [line.get_data() for line in wig.get_lines() if len(line.get_xdata())]
    for (x, y), values in zip(
        drawn, (wanted.mean(0), wanted[-1], theirs.mean(0), theirs[-1]), strict=True
    ):
        np.testing.assert_array_equal(x, AERO.pictures.places)
        np.testing.assert_allclose(y, values)
    theirs = measure(aerofoils["coarse solver"]["prediction"][:, :BLOWN], given)[0]
    np.testing.assert_allclose(coarse.get_lines()[2].get_ydata(), theirs.mean(0))
    assert [t.get_text() for t in coarse.texts] == [f"diverged at frame {BLOWN + 1}"]
    assert in_legend(figure) == {
        f"{model}, {what}" for model in ("reference", "model") for what in ("mean", "last frame")
    }
    assert wig.get_ylim()[0] > wig.get_ylim()[1]  # suction upwards
    assert coarse.get_xlabel() == "x/c"


# ---------------------------------------------------------------------- own data

OWN = dataclasses.replace(
    FLOW,
    domain=Domain((6, 12), (("zero", "zero"), ("periodic", "periodic")), spacing=(1.0, 0.5)),
    channels=("h", "p"),
    flow=None,
    units={"p": "Pa"},
    time_unit="s",
)


def plane(model_error, lost_from=None):
    """Waves h about zero, p about 1000, on 6 × 12 points; one case per test set."""
    x, y = (2 * np.pi * np.arange(n) / n for n in (12, 6))
    shift = 0.1 * np.arange(FRAMES)[:, None, None]

    def frames(speed):
        h = np.sin(x - speed * shift) * np.cos(y[:, None])
        return np.stack([h, 1000 + 10 * h], -1)

    reference, prediction = (np.stack([frames(s)] * 2) for s in (1.0, 1.0 + model_error))
    lost = np.zeros((2, FRAMES), bool)
    if lost_from is not None:
        prediction[:, lost_from:], lost[:, lost_from:] = np.nan, True
    return {
        **{"reference": reference, "prediction": prediction, "diverged": lost},
        **{"test_set": np.array(list(SETS)), "physics": np.array(["a=1", "a=2"])},
    }


@pytest.mark.parametrize(("channel", "label"), [("h", "h"), ("p", "p [Pa]")])
def test_fields_of_own_data(channel, label):
    drawn = {"coarse solver": plane(0.5, lost_from=0), "WIG": plane(0.1)}
    figure = channels.field(drawn, OWN, channel, "test_extrapolation")
    panels = [ax for ax in figure.axes if ax.get_images()]
    rows = np.reshape(panels, (3, animation.PANELS))  # a domain as wide as high
    assert [ax.get_ylabel() for ax in rows[:, 0]] == ["reference", "coarse solver", "WIG"]
    assert figure.get_suptitle() == "extrapolation, a 2"
    (bar,) = [ax for ax in figure.axes if not ax.get_images()]
    assert bar.get_ylabel() == label
    k = OWN.channels.index(channel)
    for column, frame in enumerate(
        np.linspace(0, FRAMES - 1, animation.PANELS).round().astype(int)
    ):
        time = (frame + 1) * OWN.frame_time
        assert rows[0, column].get_title() == f"frame {frame + 1}\nt = {time:.4g} s"
        for row, name, key in ((0, "WIG", "reference"), (2, "WIG", "prediction")):
            image = rows[row, column].get_images()[0]
            np.testing.assert_allclose(image.get_array(), drawn[name][key][1, frame, ..., k])
            assert rows[row, column].get_aspect() == pytest.approx(2.0)  # of a cell
        assert np.ma.getmaskarray(rows[1, column].get_images()[0].get_array()).all()
        assert [t.get_visible() for t in rows[1, column].texts] == [True]
    low, high = rows[0, 0].get_images()[0].get_clim()
    if channel == "h":
        assert low == -high  # about zero
    else:
        assert 985 < low < 1000 < high < 1015


def test_cells_of_a_body_are_left_out():
    mask = np.ones(OWN.domain.shape, bool)
    mask[2:4, 3:5] = False
    system = dataclasses.replace(OWN, domain=dataclasses.replace(OWN.domain, mask=mask))
    figure = channels.field({"WIG": plane(0.1)}, system, "h", "test_interpolation")
    for ax in figure.axes[:-1]:
        hidden = np.ma.getmaskarray(ax.get_images()[0].get_array())
        np.testing.assert_array_equal(hidden, ~mask)


def test_rollouts_of_a_channel_of_one_sign():
    drawn = {"WIG": plane(0.1)}
    for key in ("reference", "prediction"):
        drawn["WIG"][key] = drawn["WIG"][key][:, :, 0]
    figure = rollouts(drawn, OWN, channel=1)
    first = figure.axes[0].get_images()[0]
    shown = drawn["WIG"]["reference"][0, ..., 1]
    np.testing.assert_allclose(first.get_clim(), (shown.min(), shown.max()))
    np.testing.assert_allclose(first.get_array(), shown.T)
