"""Pictures are written, whatever a run has; what they show: test_pictures.py."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from PIL import Image

from tfunroll import metrics, plots, systems
from tfunroll.core import Domain
from tfunroll.metrics import StaggeredGrid
from tfunroll.plots import animation as animations
from tfunroll.plots import flows
from tfunroll.plots.rollouts import line_spectrum
from tfunroll.plots.style import styles_of
from tfunroll.results import COLUMNS, ORDER, SETS

KS = systems.get("ks")
FRAMES, POINTS = 40, 48
NAMES = ("curves", "spectra", "rollouts")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")


def model(modality, seed, error, test_sets=tuple(SETS)):
    """Results and samples of travelling waves whose phase drifts by ``error`` per frame."""
    t, x = np.arange(1, FRAMES + 1)[:, None], 2 * np.pi * np.arange(POINTS) / POINTS

    def waves(speed):
        return sum(np.sin(n * (x - speed * t)) / n for n in (2, 3, 5))[None, ..., None]

    r, u = waves(0.1), waves(0.1 + min(error, 0.1))
    if np.isinf(error):
        u[:, 4:] = np.nan
    tables, samples = [], {"reference": [], "prediction": [], "test_set": [], "physics": []}
    for test_set in test_sets:
        for name in ("relative_error", "nrmse"):
            values, status = metrics.compute(name, u, r, 12)
            frames = [pd.NA] if values.ndim == 1 else range(1, FRAMES + 1)
            tables.append(
                pd.DataFrame(
                    {"frame": frames, "value": values.ravel(), "status": status.ravel()}
                ).assign(test_set=test_set, metric=name)
            )
        for key, value in zip(samples, (r[0], u[0], test_set, "domain_size=8"), strict=True):
            samples[key].append(value)
    rows = pd.concat(tables).assign(modality=modality, seed=seed).reindex(columns=list(COLUMNS))
    return rows, {key: np.array(value) for key, value in samples.items()}


def run(models, test_sets=tuple(SETS)):
    made = {(name, seed): model(name, seed, error, test_sets) for name, seed, error in models}
    results = pd.concat([rows for rows, _ in made.values()])
    return results, {key: samples for key, (_, samples) in made.items()}


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
    check(plots.plot_run(tmp_path, *run([*models, *solvers]), KS))


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
    results, _ = run(models, ("test_interpolation",))
    check(plots.plot_run(tmp_path, results, {}, KS), ["curves"])


def test_a_run_where_all_diverged(tmp_path):
    models = [("ONE", 0, np.inf), ("WIG", 0, np.inf)]
    check(plots.plot_run(tmp_path, *run(models, ("test_interpolation",)), KS))


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
        "test_set": np.array(list(SETS)),
        "physics": np.array(["reynolds=600", "reynolds=1000"]),
    }


def test_a_flow_has_vorticity_spectra_evolution_and_an_animation(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "ANIMATED", 5)
    results, _ = run([(m, 0, 0.02) for m in ORDER])
    samples = {
        ("ONE", 0): flow_samples(0.02, blow_up=20),
        ("NOG", 1): flow_samples(0.0),
        ("WIG", 0): flow_samples(0.01),
        ("coarse solver", 0): flow_samples(0.03, blow_up=1),
    }
    animation, *paths = plots.plot_run(tmp_path, results, samples, FLOW)
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
    results, _ = run([("ONE", 0, np.inf)])
    samples = {("ONE", 0): flow_samples(0.0, blow_up=1)}
    samples["ONE", 0]["prediction"][:, 0] = np.inf
    assert len(plots.plot_run(tmp_path, results, samples, FLOW)) == 11


def test_colours_are_symmetric_about_zero():
    fields = flow_samples(0.01)
    figure = flows.vorticity({"ONE": fields}, FLOW, "test_interpolation")
    images = [image for ax in figure.axes for image in ax.get_images()]
    assert len(images) == 2 * flows.PANELS
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
