"""Summaries against scipy by hand, the printed table, and tables on disk."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean, gstd, ttest_rel

from tfunroll.core import InputError
from tfunroll.evaluation import averages
from tfunroll.evaluation.results import COLUMNS, format_table, read_csv, summarise, write_csv

SEEDS, CASES = 4, 6
FRAMES = {"horizon": 12, "long_horizon": 200}


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
        **{"kind": "network" if modality.isupper() else modality, "refinement": 0, "substeps": 0},
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
    assert (got["n"], got["n_seeds"], got["common_seeds"]) == (wig.size, SEEDS, SEEDS)
    np.testing.assert_allclose(got["value"], gmean(wig.ravel()))
    np.testing.assert_allclose(got["spread_seeds"], gstd(gmean(wig, axis=1), ddof=1))
    np.testing.assert_allclose(got["spread_cases"], gstd(gmean(wig, axis=0), ddof=1))
    np.testing.assert_allclose(got["ratio"], gmean(wig.ravel()) / gmean(one.ravel()))
    wanted = ttest_rel(np.log(wig).mean(1), np.log(one).mean(1)).pvalue
    np.testing.assert_allclose(got["p_value"], wanted)
    assert row(summary, "ONE", subset)["ratio"] == 1
    assert np.isnan(row(summary, "ONE", subset)["p_value"])


def test_times_have_means_and_plain_differences():
    one, wig = 40 + 100 * ONE, 45 + 100 * WIG
    tables = [table(v, m, "correlation_time") for v, m in ((one, "ONE"), (wig, "WIG"))]
    got = row(summarise(pd.concat(tables)), "WIG")
    np.testing.assert_allclose(got["value"], wig.mean())
    np.testing.assert_allclose(got["spread_seeds"], wig.mean(1).std(ddof=1))
    np.testing.assert_allclose(got["ratio"], wig.mean() / one.mean())
    np.testing.assert_allclose(got["p_value"], ttest_rel(wig.mean(1), one.mean(1)).pvalue)


WORST = 9.0  # what metrics.compute makes of a diverged rollout's error


def lost(values, *places):
    """Values and status, diverged at these places."""
    values, status = values.copy(), np.full(values.shape, "ok", object)
    for place in places:
        values[place], status[place] = WORST, "diverged"
    return values, status


@pytest.mark.parametrize("count", range(1, 7))
def test_a_model_is_never_better_for_diverging(count):
    """Whichever rollouts diverge, value and ratio grow with each."""
    places = [(i % SEEDS, i % CASES) for i in range(count)]
    for model in (WIG, WIG * 100):
        fewer, more = (
            row(summarise(pd.concat([table(ONE, "ONE"), table(v, "WIG", status=s)])), "WIG")
            for v, s in (lost(model, *places[:-1]), lost(model, *places))
        )
        assert more["value"] > fewer["value"]
        assert more["ratio"] > fewer["ratio"]
        assert more["diverged"] == count / WIG.size
        np.testing.assert_allclose(more["ratio"], more["value"] / gmean(ONE.ravel()))


def test_value_ratio_p_and_text_are_of_one_kind():
    """Errors of two models of which the better one diverges more often: no two of the columns
    contradict each other, and no baseline's ratio is zero."""
    one, one_status = lost(ONE, (0, 0))
    wig, wig_status = lost(WIG * 1e-2, *((s, c) for s in range(SEEDS) for c in range(3)))
    tables = [
        table(one, "ONE", status=one_status),
        table(wig, "WIG", status=wig_status),
        table(ONE[:1] * 9, "persistence"),
    ]
    summary = summarise(pd.concat(tables))
    value = {m: row(summary, m)["value"] for m in ("ONE", "WIG", "persistence")}
    got = row(summary, "WIG")
    assert got["ratio"] == pytest.approx(value["WIG"] / value["ONE"])
    assert (got["ratio"] > 1) == (value["WIG"] > value["ONE"])
    assert row(summary, "persistence")["ratio"] > 1
    seeds = [np.log(values).mean(1) for values in (wig, one)]
    assert got["p_value"] == pytest.approx(ttest_rel(*seeds).pvalue)
    text = format_table(summary, FRAMES)
    assert f"{value['WIG'] / value['ONE']:.2f}" in text


def test_a_model_that_always_diverges_says_so_in_words():
    wild, status = lost(WIG, *np.ndindex(WIG.shape))
    summary = summarise(pd.concat([table(ONE, "ONE"), table(wild, "WIG", status=status)]))
    got = row(summary, "WIG")
    assert got["diverged"] == 1
    assert np.isnan(got["ratio"])
    assert np.isnan(got["p_value"])
    text = format_table(summary, FRAMES)
    assert "all rollouts diverged" in text
    assert_no_inf_or_nan(text)
    summary = summarise(pd.concat([table(wild, m, status=status) for m in ("ONE", "WIG")]))
    assert format_table(summary, FRAMES).count("all rollouts diverged") == 2


def assert_no_inf_or_nan(text):
    assert not {"inf", "nan"} & set(re.findall(r"\w+", text.lower()))


def test_errors_of_zero_have_a_floor():
    zero = np.zeros_like(ONE)
    summary = summarise(pd.concat([table(ONE, "ONE"), table(zero, "WIG")]))
    assert row(summary, "WIG")["value"] == pytest.approx(averages.FLOOR)
    assert row(summary, "WIG")["ratio"] > 0
    summary = summarise(pd.concat([table(zero, m) for m in ("ONE", "WIG")]))
    assert row(summary, "WIG")["ratio"] == 1
    assert_no_inf_or_nan(format_table(summary, FRAMES))


def test_metrics_without_a_bound_have_medians():
    """Forces: a diverged rollout has no value; among errors it counts as inf."""
    values, status = lost(ONE, (0, 0), (1, 1))
    values[status == "diverged"] = np.inf
    of_error = row(summarise(table(values, "ONE", "drag_error", status=status)), "ONE")
    np.testing.assert_allclose(of_error["value"], gmean(np.exp(np.median(np.log(values), 1))))
    of_value = row(summarise(table(values, "ONE", "mean_drag", status=status)), "ONE")
    fine = np.where(status == "diverged", np.nan, values)
    np.testing.assert_allclose(of_value["value"], np.nanmedian(fine, 1).mean())
    values[0], status[0] = np.inf, "diverged"  # most of a seed
    got = row(summarise(table(values, "ONE", "drag_error", status=status)), "ONE")
    assert np.isnan(got["value"])  # an empty cell of summary.csv


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_no_p_value_and_no_partner_no_ratio(seeds):
    summary = summarise(pd.concat([table(ONE[:seeds], "ONE"), table(WIG[:seeds], "WIG")]))
    got = row(summary, "WIG")
    assert np.isnan(got["p_value"])
    assert np.isnan(got["spread_seeds"]) == (seeds == 1)
    np.testing.assert_allclose(
        got["ratio"], gmean(WIG[:seeds].ravel()) / gmean(ONE[:seeds].ravel())
    )
    assert format_table(summary, FRAMES).splitlines()[3].endswith("too few seeds")
    assert "too few seeds" not in format_table(summarise(table(ONE, "ONE")), FRAMES)
    alone = row(summarise(table(WIG, "WIG")), "WIG")
    assert np.isnan(alone["ratio"])


def test_p_values_take_the_seeds_that_both_have():
    summary = summarise(pd.concat([table(ONE, "ONE"), table(WIG[:3], "WIG")]))
    got = row(summary, "WIG")
    assert got["common_seeds"] == 3
    wanted = ttest_rel(np.log(WIG[:3]).mean(1), np.log(ONE[:3]).mean(1)).pvalue
    np.testing.assert_allclose(got["p_value"], wanted)


def test_models_are_compared_with_their_own_one():
    small = [table(ONE, "ONE"), table(WIG, "WIG")]
    large = [
        t.assign(num_weights=99, value=t["value"] / d) for t, d in zip(small, (2, 4), strict=True)
    ]
    summary = summarise(pd.concat([*small, *large]))
    ratios = summary[(summary["modality"] == "WIG") & (summary["subset"] == "all")]
    ratios = ratios.set_index("num_weights")["ratio"]
    np.testing.assert_allclose(ratios[99], ratios[6433] / 2)
    assert "num_weights" in format_table(summary, FRAMES).splitlines()[0]


def test_censored_times_count_with_their_horizon_and_frames_apart():
    times = np.array([[20.0, 200.0], [40.0, 200.0]])
    status = np.where(times == 200, "censored", "ok")
    frames = pd.concat(
        [table(ONE * f, "ONE", "mse").assign(frame=pd.array([f] * ONE.size)) for f in (1, 20)]
    )
    summary = summarise(pd.concat([table(times, "ONE", "correlation_time", status=status), frames]))
    summary = summary[summary["subset"] == "all"]
    time = summary[summary["metric"] == "correlation_time"].iloc[0]
    assert (time["value"], time["censored"], time["diverged"]) == (115, 0.5, 0)
    assert time["frame"] is pd.NA
    by_frame = summary[summary["metric"] == "mse"].set_index("frame")["value"]
    np.testing.assert_allclose(by_frame[20], 20 * by_frame[1])


def test_the_printed_table():
    results = pd.concat(
        [
            table(values, modality, test_set=test_set)
            for modality, values in (("persistence", ONE[:1] * 9), ("WIG", WIG), ("ONE", ONE))
            for test_set in ("test_interpolation", "test_extrapolation")
        ]
    )
    ends = np.where(np.arange(ONE.size).reshape(ONE.shape) < 6, 100.0, 200.0)
    status = np.where(ends < 200, "diverged", "censored")
    results = pd.concat([results, table(ends, "WIG", "divergence_time", status=status)])
    summary = summarise(results)
    text = format_table(summary, FRAMES, {"ONE": 1.25e-4})
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["ONE", "WIG", "persistence"]
    for name in ("training loss", "error interp.", "error extrap.", "diverged", "ratio to ONE"):
        assert name in lines[0]
    assert "0.000125" in lines[2]
    spread = gstd(gmean(ONE, axis=1), ddof=1)
    assert f"{gmean(ONE.ravel()) * 1e3:.2f}e-3 ×÷ {spread:.2f}" in lines[2]
    assert f"{gmean(WIG.ravel()) / gmean(ONE.ravel()):.2f} / " in lines[3]
    assert "25%" in lines[3]  # of the long rollouts, though none within the frames of the errors
    assert "relative error over 12 frames" in text
    assert "diverged: within 200 frames" in text
    assert max(map(len, lines)) <= 150
    assert format_table(summary, FRAMES, markdown=True).startswith("| modality")


def test_a_table_survives_the_disk(tmp_path):
    wild = WIG.copy()
    wild[0, 0] = np.inf
    results = pd.concat([table(ONE, "ONE"), table(wild, "WIG")], ignore_index=True)
    path = tmp_path / "results.csv"
    write_csv(results, path)
    again = read_csv(path)
    pd.testing.assert_frame_equal(again, results, check_dtype=False, rtol=1e-8)
    results.drop(columns=["kind", "substeps"]).to_csv(tmp_path / "old.csv", index=False)
    with pytest.raises(InputError, match=r"old.csv lacks the columns kind, substeps: .*evaluate"):
        read_csv(tmp_path / "old.csv")
    (tmp_path / "old.csv").unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    pd.testing.assert_frame_equal(summarise(again), summarise(results), check_dtype=False)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00\x9f", b"a,b\n1,2,3\n", b'"never closed', b"frame\nlater\n"]
)
def test_a_file_that_is_no_table_is_one_line(content, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"results.csv (cannot be read|lacks the columns)") as told:
        read_csv(path)
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path)


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
