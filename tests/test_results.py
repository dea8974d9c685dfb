"""Summaries against scipy by hand, the printed table, and tables on disk."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from tfunroll.results import COLUMNS, format_table, read_csv, summarise, write_csv

SEEDS, CASES = 4, 6


def table(values, modality, metric="relative_error", test_set="test_interpolation", status=None):
    """Rows of one model; values [seed, case]."""
    seeds, cases = values.shape
    status = np.where(np.isinf(values), "diverged", "ok") if status is None else status
    rows = pd.DataFrame(
        {
            "seed": np.repeat(np.arange(seeds), cases),
            "trajectory": np.tile([f"t{i}" for i in range(cases)], seeds),
            "chaotic": np.tile(np.arange(cases) % 2 == 0, seeds),
            "value": values.ravel(),
            "status": np.broadcast_to(status, values.shape).ravel(),
            "frame": pd.array([pd.NA] * values.size, "Int64"),
        }
    )
    labels = {
        **{"run_id": "007", "system": "ks", "dataset": "d/tiny", "mode": "correction"},
        **{"correction": "", "net": "resnet", "num_weights": 6433, "modality": modality},
        **{"steps": 1, "test_set": test_set, "start_frame": 0, "physics": "domain_size=7.44"},
    }
    return rows.assign(metric=metric, **labels)[list(COLUMNS)]


def errors(scale, seed):
    rng = np.random.default_rng(seed)
    return scale * np.exp(0.3 * rng.standard_normal((SEEDS, CASES)))


ONE, WIG = errors(1e-2, 0), errors(5e-3, 1)


def row(summary, modality, subset="all"):
    chosen = summary[(summary["modality"] == modality) & (summary["subset"] == subset)]
    assert len(chosen) == 1
    return chosen.iloc[0]


@pytest.mark.parametrize(
    ("subset", "cases"), [("all", slice(None)), ("chaotic", slice(0, None, 2))]
)
def test_statistics_are_those_of_scipy(subset, cases):
    summary = summarise(pd.concat([table(ONE, "ONE"), table(WIG, "WIG")]))
    one, wig = ONE[:, cases], WIG[:, cases]
    got = row(summary, "WIG", subset)
    assert (got["n"], got["n_seeds"]) == (wig.size, SEEDS)
    np.testing.assert_allclose(got["mean"], wig.mean())
    np.testing.assert_allclose(got["median"], np.median(wig))
    np.testing.assert_allclose(got["std_seeds"], wig.mean(1).std(ddof=1))
    np.testing.assert_allclose(got["std_cases"], wig.mean(0).std(ddof=1))
    np.testing.assert_allclose(got["ratio"], wig.mean() / one.mean())
    wanted = ttest_rel(np.log(wig.mean(1)), np.log(one.mean(1))).pvalue
    np.testing.assert_allclose(got["p_value"], wanted)
    assert row(summary, "ONE", subset)["ratio"] == 1
    assert np.isnan(row(summary, "ONE", subset)["p_value"])


def test_a_diverged_rollout_turns_means_into_medians():
    wig = WIG.copy()
    wig[0, 0] = np.inf
    got = row(summarise(pd.concat([table(ONE, "ONE"), table(wig, "WIG")])), "WIG")
    np.testing.assert_allclose(got["diverged"], 1 / wig.size)
    np.testing.assert_allclose(got["mean"], wig[np.isfinite(wig)].mean())
    np.testing.assert_allclose(got["median"], np.median(wig[np.isfinite(wig)]))
    np.testing.assert_allclose(got["ratio"], np.median(wig) / np.median(ONE))
    wanted = ttest_rel(np.log(np.median(wig, 1)), np.log(np.median(ONE, 1))).pvalue
    np.testing.assert_allclose(got["p_value"], wanted)


def test_a_model_that_always_diverges_has_no_mean():
    wig = np.full_like(WIG, np.inf)
    summary = summarise(pd.concat([table(ONE, "ONE"), table(wig, "WIG")]))
    got = row(summary, "WIG")
    assert got["diverged"] == 1
    assert np.isnan(got["mean"])
    assert np.isnan(got["p_value"])
    assert got["ratio"] == np.inf
    assert "100%" in format_table(summary)


def test_one_seed_has_no_p_value_and_no_partner_no_ratio():
    summary = summarise(pd.concat([table(ONE[:1], "ONE"), table(WIG[:1], "WIG")]))
    got = row(summary, "WIG")
    assert np.isnan(got["p_value"])
    assert np.isnan(got["std_seeds"])
    np.testing.assert_allclose(got["ratio"], WIG[0].mean() / ONE[0].mean())
    alone = row(summarise(table(WIG, "WIG")), "WIG")
    assert np.isnan(alone["ratio"])


def test_models_are_compared_with_their_own_one():
    small = [table(ONE, "ONE"), table(WIG, "WIG")]
    large = [
        t.assign(num_weights=99, value=t["value"] / d) for t, d in zip(small, (2, 4), strict=True)
    ]
    summary = summarise(pd.concat([*small, *large]))
    ratios = summary[(summary["modality"] == "WIG") & (summary["subset"] == "all")]
    ratios = ratios.set_index("num_weights")["ratio"]
    np.testing.assert_allclose(ratios[99], ratios[6433] / 2)
    assert "num_weights" in format_table(summary).splitlines()[0]


def test_censored_times_count_with_their_horizon_and_frames_apart():
    times = np.array([[20.0, 200.0], [40.0, 200.0]])
    status = np.where(times == 200, "censored", "ok")
    frames = pd.concat(
        [table(ONE * f, "ONE", "mse").assign(frame=pd.array([f] * ONE.size)) for f in (1, 20)]
    )
    summary = summarise(pd.concat([table(times, "ONE", "correlation_time", status=status), frames]))
    summary = summary[summary["subset"] == "all"]
    time = summary[summary["metric"] == "correlation_time"].iloc[0]
    assert (time["mean"], time["censored"], time["diverged"]) == (115, 0.5, 0)
    assert time["frame"] is pd.NA
    by_frame = summary[summary["metric"] == "mse"].set_index("frame")["mean"]
    np.testing.assert_allclose(by_frame[20], 20 * by_frame[1])


def test_the_printed_table():
    results = pd.concat(
        [
            table(values, modality, test_set=test_set)
            for modality, values in (("persistence", ONE[:1] * 9), ("WIG", WIG), ("ONE", ONE))
            for test_set in ("test_interpolation", "test_extrapolation")
        ]
    )
    summary = summarise(results)
    text = format_table(summary, {"ONE": 1.25e-4})
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["ONE", "WIG", "persistence"]
    for name in ("training loss", "error interp.", "error extrap.", "diverged", "ratio to ONE"):
        assert name in lines[0]
    assert "0.000125" in lines[2]
    assert f"({ONE.mean() * 1e3:.2f} ± {ONE.mean(1).std(ddof=1) * 1e3:.2f})e-3" in lines[2]
    assert f"{WIG.mean() / ONE.mean():.2f} / " in lines[3]
    assert max(map(len, lines)) <= 150
    assert format_table(summary, markdown=True).startswith("| modality")


def test_a_table_survives_the_disk(tmp_path):
    wild = WIG.copy()
    wild[0, 0] = np.inf
    results = pd.concat([table(ONE, "ONE"), table(wild, "WIG")], ignore_index=True)
    path = tmp_path / "results.csv"
    write_csv(results, path)
    again = read_csv(path)
    pd.testing.assert_frame_equal(again, results, check_dtype=False, rtol=1e-8)
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    pd.testing.assert_frame_equal(summarise(again), summarise(results), check_dtype=False)


def test_a_failed_write_leaves_the_old_table(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("old")

    class Broken(pd.DataFrame):
        def to_csv(self, path, **kwargs):
            path.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_csv(Broken(), path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
