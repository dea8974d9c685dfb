"""Pictures are written, whatever a run has; what they show: test_pictures.py."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from PIL import Image

from tfunroll import metrics, plots, systems
from tfunroll.core import Domain
from tfunroll.evaluation.results import COLUMNS, ORDER, SETS, format_table, scientific, summarise
from tfunroll.metrics import StaggeredGrid
from tfunroll.plots import animation as animations
from tfunroll.plots import flows
from tfunroll.plots.curves import curves
from tfunroll.plots.rollouts import line_spectrum
from tfunroll.plots.style import styles_of

KS = systems.get("ks")
FRAMES, POINTS = 40, 48
NAMES = ("curves", "spectra", "rollouts")
SETTINGS = {"horizon": 12, "long_horizon": 200}

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")


def model(modality, seed, error, test_sets=tuple(SETS)):
    """Results and samples of travelling waves whose phase drifts by ``error`` per frame."""
    t, x = np.arange(1, FRAMES + 1)[:, None], 2 * np.pi * np.arange(POINTS) / POINTS

    def waves(speed):
        return sum(np.sin(n * (x - speed * t)) / n for n in (2, 3, 5))[None, ..., None]

    r, u = waves(0.1), waves(0.1 + min(error, 0.1))
    if np.isinf(error):
        u[:, 4:] = np.nan
    lost = metrics.diverged(u, r)
    names = ("reference", "prediction", "diverged", "test_set", "physics")
    tables, samples = [], {name: [] for name in names}
    for test_set in test_sets:
        for name in ("relative_error", "nrmse", "divergence_time"):
            values, status = metrics.compute(name, u, r, 12)
            frames = [pd.NA] if values.ndim == 1 else range(1, FRAMES + 1)
            tables.append(
                pd.DataFrame(
                    {"frame": frames, "value": values.ravel(), "status": status.ravel()}
                ).assign(test_set=test_set, metric=name)
            )
        values = r[0], u[0], lost[0], test_set, "domain_size=8"
        for key, value in zip(samples, values, strict=True):
            samples[key].append(value)
    rows = pd.concat(tables).assign(modality=modality, seed=seed, chaotic=True)
    rows["frame"] = rows["frame"].astype("Int64")
    labels = dict.fromkeys(set(COLUMNS) - set(rows), "")
    return rows.assign(**labels), {key: np.array(value) for key, value in samples.items()}


def run(models, test_sets=tuple(SETS)):
    made = {(name, seed): model(name, seed, error, test_sets) for name, seed, error in models}
    summary = summarise(pd.concat([rows for rows, _ in made.values()], ignore_index=True))
    return summary, {key: samples for key, (_, samples) in made.items()}


def check(paths, names=NAMES):
    assert {p.name for p in paths} == {f"{n}{s}" for n in names for s in (".png", ".pdf")}
    for path in paths:
        if path.suffix == ".png":
            picture = imread(path)[..., :3]
            assert picture.shape[0] > 200
            assert picture.std() > 0.05
        else:
            assert path.read_bytes().startswith(b"%PDF")


def test_a_whole_run(tmp_path):
    models = [
        (m, s, e * (1 + s)) for m, e in zip(ORDER, (0.03, 0.02, 0.01), strict=True) for s in (0, 1)
    ]
    solvers = [("persistence", 0, 0.1), ("coarse solver", 0, np.inf), ("equal-cost solver", 0, 0.0)]
    check(plots.plot_run(tmp_path, *run([*models, *solvers]), KS, SETTINGS))
    with Image.open(tmp_path / "curves.png") as picture:
        assert json.loads(picture.text["Description"]) == SETTINGS


@pytest.mark.parametrize(
    "models",
    [
        [("WIG", 3, 0.01)],
        [("coarse solver", 0, 0.01)],
        [("ONE", 0, 0.0)],
    ],
    ids=["one modality", "no trained model", "perfect"],
)
def test_incomplete_runs_have_curves(tmp_path, models):
    summary, _ = run(models, ("test_interpolation",))
    check(plots.plot_run(tmp_path, summary, {}, KS, SETTINGS), ["curves"])


def test_a_run_where_all_diverged(tmp_path):
    models = [("ONE", 0, np.inf), ("WIG", 0, np.inf)]
    summary, samples = run(models, ("test_interpolation",))
    check(plots.plot_run(tmp_path, summary, samples, KS, SETTINGS))
    texts = [t.get_text() for ax in curves(summary, KS, SETTINGS).axes for t in ax.texts]
    assert texts.count("all rollouts\ndiverged") == 2


def test_pictures_show_the_numbers_of_the_table():
    """Bars, whiskers and the shares of diverged rollouts, and the curves over time."""
    errors = (("ONE", 0.03), ("NOG", 0.02), ("WIG", 0.01))
    models = [(m, s, e * (1 + 0.3 * s)) for m, e in errors for s in range(3)]
    models[1] = ("ONE", 1, np.inf)
    summary, _ = run([*models, ("persistence", 0, 0.1)])
    figure = curves(summary, KS, SETTINGS)
    text = format_table(summary, SETTINGS)
    upper, lower = figure.axes[:2], figure.axes[2:4]
    for test_set, ax in zip(SETS, lower, strict=True):
        rows = summary[(summary["test_set"] == test_set) & (summary["metric"] == "relative_error")]
        rows = rows.set_index("modality")
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == ["ONE\n33% diverged\nin 200 frames", "NOG", "WIG"]
        bars = [patch.get_height() for patch in ax.patches]
        for modality, bar, container in zip(ORDER, bars, ax.containers[::2], strict=True):
            value, spread = rows.loc[modality, ["value", "spread_seeds"]]
            assert bar == value
            assert f"{scientific(bar)} ×÷ {spread:.2f}" in text
            (whisker,) = container.lines[2][0].get_segments()
            np.testing.assert_allclose(whisker[:, 1], [value / spread, value * spread])
    for test_set, ax in zip(SETS, upper, strict=True):
        rows = summary[(summary["test_set"] == test_set) & (summary["metric"] == "nrmse")]
        for line in [line for line in ax.lines if line.get_label() in ORDER]:
            wanted = rows[rows["modality"] == line.get_label()]["value"]
            np.testing.assert_array_equal(line.get_ydata(), wanted)
    assert lower[0].get_ylabel() == "relative error over 12 frames"
    ratio = summary.query("modality == 'WIG' and metric == 'relative_error'")["ratio"].iloc[0]
    heights = [patch.get_height() for patch in lower[0].patches]
    assert heights[2] / heights[0] == pytest.approx(ratio)


# ---------------------------------------------------------------------- flows

CELLS = 16
FLOW = dataclasses.replace(
    KS,
    domain=Domain((CELLS, CELLS), (("periodic", "periodic"),) * 2),
    channels=("u", "v", "p"),
    flow=StaggeredGrid(2 * np.pi / CELLS),
    lyapunov_time=None,
)


def flow_samples(drift, blow_up=None):
    """Taylor-Green vortices that travel; one case per test set."""
    x = 2 * np.pi * np.arange(1, CELLS + 1) / CELLS
    half = x - np.pi / CELLS

    def frames(speed):
        shift = speed * np.arange(FRAMES)[:, None, None]
        u = np.sin(x - shift) * np.cos(half[:, None])
        v = -np.cos(half - shift) * np.sin(x[:, None])
        return np.stack([u, v, 0 * u], -1).astype(np.float32)

    r, u = frames(0.05), frames(0.05 + drift)
    if blow_up:
        u[blow_up:] = np.nan
    return {
        "reference": np.stack([r, r]),
        "prediction": np.stack([u, u]),
        "diverged": metrics.diverged(np.stack([u, u]), np.stack([r, r])),
        "test_set": np.array(list(SETS)),
        "physics": np.array(["reynolds=600", "reynolds=1000"]),
    }


def test_a_flow_has_vorticity_spectra_evolution_and_an_animation(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "ANIMATED", 5)
    summary, _ = run([(m, 0, 0.02) for m in ORDER])
    samples = {
        ("ONE", 0): flow_samples(0.02, blow_up=20),
        ("NOG", 1): flow_samples(0.0),
        ("WIG", 0): flow_samples(0.01),
        ("coarse solver", 0): flow_samples(0.03, blow_up=1),
    }
    animation, *paths = plots.plot_run(tmp_path, summary, samples, FLOW, SETTINGS)
    names = ("curves", "spectra", "evolution", "vorticity_interpolation", "vorticity_extrapolation")
    check(paths, names)
    with Image.open(animation) as gif:
        assert gif.n_frames == 5
        first = np.asarray(gif.convert("RGB"), float)
        gif.seek(4)
        last = np.asarray(gif.convert("RGB"), float)
    assert first.shape[1] > 3 * first.shape[0]
    assert np.abs(first - last).mean() > 5  # it moves


@pytest.mark.slow
def test_a_flow_where_all_blew_up_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "ANIMATED", 2)
    summary, _ = run([("ONE", 0, np.inf)])
    samples = {("ONE", 0): flow_samples(0.0, blow_up=1)}
    samples["ONE", 0]["prediction"][:, 0] = np.inf
    samples["ONE", 0]["diverged"][:] = True
    assert len(plots.plot_run(tmp_path, summary, samples, FLOW, SETTINGS)) == 11


def test_colours_are_symmetric_about_zero():
    fields = flow_samples(0.01)
    figure = flows.vorticity({"ONE": fields}, FLOW, "test_interpolation")
    images = [image for ax in figure.axes for image in ax.get_images()]
    assert len(images) == 2 * animations.PANELS
    assert {(-low, high) for low, high in (image.get_clim() for image in images)} == {
        (images[0].get_clim()[1],) * 2
    }


def test_styles_differ_in_more_than_colour():
    styles = styles_of([*ORDER, "persistence", "coarse solver", "equal-cost solver"])
    for field in ("color", "dashes", "marker"):
        assert len({getattr(style, field) for style in styles.values()}) == len(styles)
    assert len({styles[name].hatch for name in ORDER}) == 3


def test_a_spectrum_holds_the_energy():
    x = 2 * np.pi * np.arange(16) / 16
    modes, energy = line_spectrum(np.cos(3 * x)[None, None, :, None])
    np.testing.assert_allclose(energy, np.where(modes == 3, 0.25, 0), atol=1e-15)


def test_own_data_in_two_dimensions(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "ANIMATED", 3)
    own = dataclasses.replace(
        FLOW,
        domain=Domain((CELLS, CELLS), (("periodic", "periodic"), ("zero", "replicate"))),
        flow=None,
        channels=("u", "v 2", "p/ρ"),
    )
    summary, _ = run([("WIG", 0, 0.02)])
    samples = {("WIG", 0): flow_samples(0.02, blow_up=20)}
    animation, *paths = plots.plot_run(tmp_path, summary, samples, own, SETTINGS)
    fields = [f"field_{c}_{s}polation" for c in ("u", "v_2", "p_ρ") for s in ("inter", "extra")]
    check(paths, ("curves", *fields))  # no spectra along an axis that is not periodic
    with Image.open(animation) as gif:
        assert gif.n_frames == 3
