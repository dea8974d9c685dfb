"""Pictures: written, not empty, and made of whatever a run has."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from tfunroll import metrics, plots, systems
from tfunroll.results import COLUMNS

KS = systems.get("ks")
FRAMES, POINTS = 40, 48
NAMES = ("curves", "spectra", "rollouts")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")


def model(modality, seed, error, test_sets=tuple(plots.SETS)):
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


def run(models, test_sets=tuple(plots.SETS)):
    made = {(name, seed): model(name, seed, error, test_sets) for name, seed, error in models}
    results = pd.concat([rows for rows, _ in made.values()])
    return results, {key: samples for key, (_, samples) in made.items()}


def check(paths, names=NAMES):
    assert {p.name for p in paths} == {f"{n}{s}" for n in names for s in (".png", ".pdf")}
    for path in paths:
        assert path.stat().st_size > 5000
        if path.suffix == ".png":
            picture = imread(path)[..., :3]
            assert picture.shape[0] > 200
            assert picture.std() > 0.05
        else:
            assert path.read_bytes().startswith(b"%PDF")


def test_a_whole_run(tmp_path):
    models = [
        (m, s, e * (1 + s))
        for m, e in zip(plots.ORDER, (0.03, 0.02, 0.01), strict=True)
        for s in (0, 1)
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


def test_styles_differ_in_more_than_colour():
    styles = plots._styles([*plots.ORDER, "persistence", "coarse solver", "equal-cost solver"])
    for field in ("color", "dashes", "marker"):
        assert len({getattr(style, field) for style in styles.values()}) == len(styles)
    assert len({styles[name].hatch for name in plots.ORDER}) == 3


def test_a_spectrum_holds_the_energy():
    x = 2 * np.pi * np.arange(16) / 16
    modes, energy = plots._spectrum(np.cos(3 * x)[None, None, :, None])
    np.testing.assert_allclose(energy, np.where(modes == 3, 0.25, 0), atol=1e-15)
