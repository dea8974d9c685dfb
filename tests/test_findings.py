"""Findings from made-up results whose truth is known, and the statistics they rest on."""

import itertools
import json
import pathlib
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tfunroll.evaluation import results
from tfunroll.evaluation.results import COLUMNS
from tfunroll.study import (
    comparisons,
    description,
    figures,
    findings,
    publishing,
    starts,
    statistics,
    trends,
    uncertainty,
)

SEEDS = range(5)


def made_up(
    runs,
    error,
    modalities=("ONE", "NOG", "WIG"),
    validation=None,
    metric="relative_error",
    seeds=SEEDS,
):
    """A gathered study: ``error(settings, modality)`` times noise by seed and by test case.

    Half of the noise of a seed is common to its modalities, as in trained networks.
    """
    rng = np.random.default_rng(0)
    study = description.Study("made-up", "mini", "Made up", "?", runs)
    common = {seed: rng.normal(0, 0.2) for seed in seeds}
    rows, trained = [], []
    for (run_id, settings), modality, seed in itertools.product(runs.items(), modalities, seeds):
        config = study.config(run_id)
        if modality not in config.modalities:
            continue
        own = common[seed] + rng.normal(0, 0.05)
        for test_set, case in itertools.product(
            ("test_interpolation", "test_extrapolation"), range(4)
        ):
            value = error(settings, modality) * np.exp(own + rng.normal(0, 0.02))
            row = dict.fromkeys(COLUMNS, "") | {
                **{"run": run_id, "modality": modality, "seed": seed, "test_set": test_set},
                **{"trajectory": str(case), "start_frame": 0, "metric": metric, "frame": pd.NA},
                **{"value": value, "status": "ok", "chaotic": True},
                **{"kind": "network", "refinement": 0, "substeps": 0},
                "num_weights": settings.get("width", 4) ** 2,
            }
            rows.append(row)
        trained.append(
            {"run": run_id, "modality": modality, "seed": seed, "updates": 100, "seconds": 3.0,
             "processor_seconds": 2.0, "training_loss": 1.0,
             "validation_error": (validation or error)(settings, modality)}
        )  # fmt: skip
    labels = {run_id: run_id for run_id in runs}
    table, trainings = pd.DataFrame(rows), pd.DataFrame(trained)
    where = pathlib.Path("nowhere")
    data = {"dataset": "made_up", "config": "tiny", "version": "1.0.0", "fingerprint": "0123abcd"}
    versions = dict.fromkeys(("tensorflow", "keras", "numpy", "python"), "1")
    code = {"device": "CPU", "precision": "float32", "tfunroll": "0.1", "commit": "c0ffee"}
    evaluation = {"horizon": 12, "long_horizon": 200, "data": data, "environment": code | versions}
    evaluations = dict.fromkeys(runs, evaluation)
    return SimpleNamespace(
        study=study, labels=labels, table=table, trainings=trainings, out=where,
        evaluations=evaluations, states=dict.fromkeys(runs, "finished"),
    )  # fmt: skip


EFFECT = {"ONE": 1.0, "NOG": 0.8, "WIG": 0.5}


def test_an_order_that_is_there_is_found():
    runs = {name: {"width": width} for name, width in (("a", 4), ("b", 8), ("c", 12))}
    gathered = made_up(runs, lambda s, m: EFFECT[m])
    order = comparisons.order(gathered)
    assert order.verdict == findings.PARTLY  # the direction; the paper's 0.62 is not 0.5
    assert "the paper's 0.62 lies outside the interval" in order.why
    logs = comparisons.log_ratios(gathered, "WIG").groupby("seed")["log"].mean()
    estimate = statistics.geometric(logs)
    assert estimate.value == pytest.approx(0.5, rel=0.05)
    assert estimate.low < 0.5 < estimate.high < 0.6
    assert estimate.p < 1e-3
    assert f"WIG/ONE {estimate.value:.2f}" in order.ours
    robust = comparisons.robustness(gathered)
    assert robust.verdict == findings.AGREES
    assert "WIG < ONE in 6 of 6" in robust.ours


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        ({"ONE": 1, "NOG": 1, "WIG": 1}, findings.OPEN),
        ({"ONE": 1, "NOG": 1, "WIG": 0.5}, findings.PARTLY),
        ({"ONE": 1, "NOG": 2, "WIG": 0.5}, findings.PARTLY),
        ({"ONE": 1, "NOG": 2, "WIG": 2}, findings.DIFFERS),
    ],
)
def test_an_order_that_is_not_there_is_not_claimed(effect, verdict):
    order = comparisons.order(made_up({"a": {}, "b": {"width": 8}}, lambda s, m: effect[m]))
    assert order.verdict == verdict


def test_the_papers_own_ratios_agree():
    paper = {"ONE": 1.0, **comparisons.PAPER_RATIOS}
    order = comparisons.order(made_up({"a": {"width": 4}}, lambda s, m: paper[m]))
    assert order.verdict == findings.AGREES


@pytest.mark.parametrize("state", ["finished", "not run"])
def test_an_incomplete_matrix_has_provisional_verdicts_and_its_notes(state, monkeypatch):
    monkeypatch.setattr(findings, "table", lambda gathered, markdown: "TABLE")
    gathered = made_up({"a": {"width": 4}, "b": {"width": 8}}, lambda s, m: EFFECT[m])
    gathered.states = {"a": "finished", "b": state}
    found = findings.Finding("Title", "", "numbers", findings.AGREES, seeds=5)
    text = findings.section(gathered, [found], "How the runs were chosen.")
    assert ("**provisional, agrees**" in text) == (state == "not run")
    assert "**agrees**" in text or state == "not run"
    assert "How the runs were chosen." in text
    assert "tfunroll 0.1 c0ffee" in text
    assert "Data, with fingerprint: made_up/tiny 1.0.0 (0123abcd)." in text


def test_a_page_keeps_the_studies_that_are_not_gathered_again(tmp_path, monkeypatch):
    monkeypatch.setattr(findings, "table", lambda gathered, markdown: "TABLE")
    for name, number in (("modalities", 0.5), ("mine", 0.4), ("modalities", 0.3)):
        gathered = made_up({"a": {"width": 4}}, lambda s, m: EFFECT[m])
        gathered.study = replace(gathered.study, name=name)
        gathered.states, gathered.out = {"a": "finished"}, tmp_path
        gathered.summary = pd.DataFrame({"frame": [pd.NA], "subset": ["all"]})
        (tmp_path / "p.png").write_bytes(b"picture")
        texts = ("Title", "paper", f"is {number}", "agrees", "", "p", str(number))
        found = findings.Finding(*texts, seeds=5)
        publishing.publish([(gathered, [found])], tmp_path / "docs")
    (entry,) = json.loads((tmp_path / "docs/study/mine-mini/findings.json").read_text())
    assert entry["data"] == ["made_up/tiny 1.0.0 (0123abcd)"]
    assert "c0ffee" in entry["code"][0]
    text = (tmp_path / "docs" / "findings.md").read_text()
    assert "is 0.5" not in text
    assert text.index("is 0.3") < text.index("is 0.4")  # a user's own studies come last
    assert "![Title](study/modalities-mini/p.png)" in text
    assert "![Title](p.png)" in (tmp_path / "docs/study/mine-mini/section.md").read_text()
    overview = text.split("## At a glance")[1].split("## Made up")[0]
    assert [row.split("|")[3].strip() for row in overview.splitlines() if "mini" in row] == [
        "0.3",
        "0.4",
    ]
    listed = text.split("## Not run yet")[1]
    assert "| modalities | mini" not in " ".join(listed.split())
    assert "| modalities | small" in " ".join(listed.split())


def test_pictures_of_a_study_show_every_seed_of_every_run():
    gathered = made_up({"small": {"width": 4}, "large": {"width": 8}}, lambda s, m: EFFECT[m])
    for make, label, effect in (
        (figures.errors, "relative error over 12 frames", EFFECT),
        (figures.ratios, "error / error of ONE", {"NOG": 0.8, "WIG": 0.5}),
    ):
        figure = make(gathered)
        assert [ax.get_title() for ax in figure.axes] == ["interpolation", "extrapolation"]
        assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["small", "large"]
        legend = [t.get_text() for t in figure.legends[0].get_texts()]
        assert legend == [*effect, "geometric mean over seeds"]
        for ax in figure.axes:
            assert ax.get_xlabel() == label
            dots = [line for line in ax.get_lines() if len(line.get_xdata()) == len(SEEDS)]
            assert len(dots) == 2 * len(effect)  # by modality, then by run
            for line, wanted in zip(dots, np.repeat(list(effect.values()), 2), strict=True):
                x, y = line.get_data()
                assert np.exp(np.log(x).mean()) == pytest.approx(wanted, rel=0.3)
                assert len(set(y)) == 1


def test_the_picture_of_stability_counts_who_lives():
    gathered = made_up({"a": {}}, lambda s, m: 1.0, ("ONE",), metric="divergence_time")
    table = gathered.table
    table["value"], table["status"] = 200.0, "censored"
    table.loc[table.index[:10], ["value", "status"]] = [50.0, "diverged"]  # of 5 seeds × 8 cases
    (ax,) = figures.stability(gathered).axes
    (line,) = ax.get_lines()
    x, y = line.get_data()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 1, 200, 0.75)
    assert set(x[1:-1]) == {50}


def test_systems_are_told_apart():
    runs = {"a": {"width": 4}, "k": {"system": "kolmogorov"}}
    effect = {"ks": EFFECT, "kolmogorov": {"ONE": 1.0, "NOG": 1.5, "WIG": 0.9}}
    ours = comparisons.order(made_up(runs, lambda s, m: effect[s.get("system", "ks")][m])).ours
    by_system = ours.split("By system: ")[1]
    values = [float(x.split()[1]) for x in by_system.replace(". ", "; ").replace(
        "ks: ", "").replace("kolmogorov: ", "").split("; ")]  # fmt: skip
    assert values == pytest.approx([0.8, 0.5, 1.5, 0.9], rel=0.1)


def test_a_seed_that_diverges_is_not_left_out():
    gathered = made_up({"a": {}}, lambda s, m: EFFECT[m])
    table = gathered.table
    before = comparisons.log_ratios(gathered, "WIG").groupby("seed")["log"].mean()
    lost = (table["modality"] == "WIG") & (table["seed"] == 0)
    table.loc[lost, ["value", "status"]] = [9.0, "diverged"]
    logs = comparisons.log_ratios(gathered, "WIG").groupby("seed")["log"].mean()
    assert logs[0] > before[0] + 1
    np.testing.assert_array_equal(logs[1:], before[1:])
    assert statistics.geometric(logs).value > statistics.geometric(before).value
    assert comparisons.order(gathered).verdict == findings.PARTLY  # NOG's, still


def analyses_of(seeds):
    """Every kind of finding, of made-up effects that are clear."""
    one = {"a": {"width": 4}, "b": {"width": 8}}
    pair = {"c": {"modalities": ("NOG",)}, "p": {"mode": "prediction", "modalities": ("WIG",)}}
    sizes = {str(w): {"width": w} for w in (4, 8, 16, 32)}
    parts = {f"c{c}": graded(c) for c in (0.25, 0.5, 0.75)}
    times = made_up(one, lambda s, m: 100.0, metric="divergence_time", seeds=seeds)
    order = made_up(one, lambda s, m: EFFECT[m], seeds=seeds)
    return [
        *(make(order) for make in (comparisons.order, comparisons.robustness)),
        *(make(order) for make in (comparisons.convergence, comparisons.alternatives)),
        comparisons.correction(
            made_up(pair, lambda s, m: 4.5 if s.get("mode") else 1.0, seeds=seeds)
        ),
        trends.scaling(made_up(sizes, lambda s, m: s["width"] ** (-2 / 3), seeds=seeds)),
        trends.horizon(made_up(horizons(), lambda s, m: 1 + abs(longest(s) - 2), seeds=seeds)),
        trends.transition(made_up(parts, lambda s, m: part(s), seeds=seeds)),
        trends.stability(times),
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_fewer_than_three_seeds_have_no_verdict(count, monkeypatch):
    monkeypatch.setattr(trends.curves, "stability_labels", lambda gathered: {})
    found = analyses_of(range(count))
    assert len(found) == 9
    for finding in found:
        assert (finding.verdict == "too few seeds") == (count < 3), finding.title
        assert finding.seeds == count
        words = re.findall(r"\w+", f"{finding.ours} {finding.why} {finding.short}")
        assert not {"inf", "nan"} & set(words), finding
        assert ("p = " in finding.ours.replace("sign test p = ", "")) <= (count >= 3)


def test_figures_show_the_numbers_of_the_table():
    """Dots are seeds, ticks the geometric mean over them: the value of the summary."""
    gathered = made_up({"a": {"width": 4}, "b": {"width": 8}}, lambda s, m: EFFECT[m])
    lost = (gathered.table["modality"] == "NOG") & (gathered.table["trajectory"] == "0")
    gathered.table.loc[lost, ["value", "status"]] = [9.0, "diverged"]
    summary = pd.concat(
        results.summarise(part).assign(run=run) for run, part in gathered.table.groupby("run")
    ).set_index(["run", "test_set", "modality"])
    for make, column in ((figures.errors, "value"), (figures.ratios, "ratio")):
        for ax, test_set in zip(make(gathered).axes, results.SETS, strict=True):
            ticks = [line.get_xdata() for line in ax.lines if line.get_marker() == "|"]
            shown = {float(x[0]) for x in ticks if len(x)}
            wanted = summary.xs(test_set, level="test_set")[column]
            wanted = wanted if column == "value" else wanted[wanted != 1]
            np.testing.assert_allclose(sorted(shown), sorted(wanted), rtol=1e-12)


def test_correction_against_prediction():
    runs = {"c": {"modalities": ("NOG",)}, "p": {"mode": "prediction", "modalities": ("WIG",)}}
    found = comparisons.correction(
        made_up(runs, lambda s, m: 4.5 if s.get("mode") == "prediction" else 1.0)
    )
    assert found.verdict == findings.AGREES
    assert "The factor agrees too." in found.why
    ratio = float(found.ours.split(": ")[1].split(" ")[0])
    assert ratio == pytest.approx(4.5, rel=0.1)
    far = made_up(runs, lambda s, m: 10.0 if s.get("mode") == "prediction" else 1.0)
    assert comparisons.correction(far).verdict == findings.PARTLY
    unequal = {**runs, "p": {**runs["p"], "width": 9}}  # other networks are not compared
    assert comparisons.correction(made_up(unequal, lambda s, m: 1.0)) is None


@pytest.mark.parametrize(
    ("power", "verdict"), [(-1 / 3, findings.AGREES), (-1.5, findings.DIFFERS)]
)
def test_the_exponent_of_scaling_is_found(power, verdict):
    runs = {str(w): {"width": w} for w in (4, 8, 16, 32)}
    gathered = made_up(runs, lambda s, m: (s["width"] ** 2) ** power)
    found = trends.scaling(gathered)
    assert found.verdict == verdict
    fitted = re.search(r"correction WIG: n\^(\S+)", found.ours.replace("−", "-")).group(1)
    assert float(fitted) == pytest.approx(power, abs=0.05)
    assert "reference scheme" not in found.ours
    left, right = figures.scaling(gathered).axes
    for modality in ("ONE", "NOG", "WIG"):
        (line,) = [x for x in left.get_lines() if x.get_label() == f"{modality} correction"]
        n, error = line.get_data()
        np.testing.assert_array_equal(n, [16, 64, 256, 1024])
        np.testing.assert_allclose(error / error[0], (n / n[0]) ** power, rtol=0.1)
    assert not right.get_lines()
    one = gathered.table.iloc[:1]
    solvers = [
        one.assign(
            modality=f"any name, {9 - n}", kind="reference scheme", substeps=n, value=n**-2.0
        )
        for n in (2, 4, 8)
    ]
    gathered.table = pd.concat([gathered.table, *solvers], ignore_index=True)
    (line,) = figures.scaling(gathered).axes[1].get_lines()
    np.testing.assert_allclose(np.transpose(line.get_data()), [[2, 0.25], [4, 1 / 16], [8, 1 / 64]])
    assert "0.25 at 2 sub-steps to 0.016 at 8 sub-steps (fitted exponent -2.00)" in (
        trends.scaling(gathered).ours
    )
    lost = gathered.table["run"] == "8"
    gathered.table.loc[lost, ["value", "status"]] = [9.0, "diverged"]
    assert trends.scaling(gathered).verdict == findings.OPEN  # no fit through what diverged


def graded(c):
    """Settings of a run whose solver integrates the part c of each frame."""
    return {"correction": "graded", "coarse": f"etdrk2:fraction={c}"}


def part(settings):
    """The c of ``graded``; 0 for others."""
    return float(settings.get("coarse", "=0").rpartition("=")[2])


def horizons(**more):
    texts = {m: f"{m}:{16 // m}" for m in (1, 2, 4, 8)}
    return {f"m{m}": {"curriculum": text, **more} for m, text in texts.items()}


def longest(settings):
    return int(settings["curriculum"].split(":")[0])


def test_the_best_horizon_and_what_validation_chooses():
    def error(settings, modality):
        return 1 + (np.log2(longest(settings)) - 1) ** 2  # best at 2

    def validation(settings, modality):
        return 1 + (np.log2(longest(settings)) - 2) ** 2  # best at 4

    found = trends.horizon(made_up(horizons(), error, validation=validation))
    assert "direct WIG: best m = 2, validation chooses 4 (error × 2." in found.ours
    assert found.verdict == findings.AGREES
    growing = trends.horizon(made_up(horizons(), lambda s, m: 1 / longest(s)))
    assert growing.verdict == findings.OPEN  # the best is the last one tried
    lost = made_up(horizons(), error)
    lost.table[["value", "status"]] = [9.0, "diverged"]
    assert trends.horizon(lost).verdict == findings.OPEN
    assert "all rollouts diverged" in trends.horizon(lost).ours
    assert trends.horizon(made_up({"a": {}}, lambda s, m: 1.0)) is None


def test_the_other_trends():
    runs = {"p": {"mode": "prediction"}} | {f"c{c}": graded(c) for c in (0.25, 0.5, 0.75)}
    gathered = made_up(runs, lambda s, m: 1.1 - part(s))
    found = trends.transition(gathered)
    assert "at c = 0 to" in found.ours
    assert "(rank correlation -1.00)" in found.ours
    (ax,) = figures.transition(gathered).axes
    (line,) = [x for x in ax.get_lines() if x.get_label() == "ONE"]
    c, error = line.get_data()
    np.testing.assert_allclose(c, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(error, 1.1 - c, rtol=0.3)
    gathered = made_up({"a": {}}, lambda s, m: EFFECT[m])
    assert "a NOG/ONE 0.8" in comparisons.convergence(gathered).ours
    runs = {"a": {}, "noisy": {"modalities": ("ONE",), "noise": 0.1}}
    gathered = made_up(runs, lambda s, m: 3.0 if s.get("noise") else EFFECT[m])
    ours = comparisons.alternatives(gathered).ours
    assert float(ours.split("noisy ONE: ")[1].split()[0]) == pytest.approx(3, rel=0.1)
    assert "time × 1.00" in ours


def test_routes_are_compared_with_the_exact_gradient_that_differs_in_nothing_else():
    effect = {"solver": 0.5, "network": 2.0}

    def error(settings, modality):
        size = 10.0 if settings.get("width") else 1.0
        return size * effect.get(settings.get("through"), EFFECT[modality])

    runs = {}
    for name, width in (("small", {}), ("wide", {"width": 4})):
        runs[f"{name} all"] = {"modalities": ("NOG", "WIG"), **width}
        for route in effect:
            runs[f"{name} {route}"] = {"modalities": ("WIG",), "through": route, **width}
    parts = comparisons.routes(made_up(runs, error)).ours.split("exact gradient: ")[1].split("; ")
    found = {name: float(text.split()[0]) for name, text in (part.split(": ") for part in parts)}
    wanted = {"all NOG": EFFECT["NOG"], **{f"{name} WIG": size for name, size in effect.items()}}
    assert found == {
        f"{width} {name}": pytest.approx(value / EFFECT["WIG"], rel=0.1)
        for width in ("small", "wide")
        for name, value in wanted.items()
    }
    assert comparisons.routes(made_up({"a": {"modalities": ("ONE",)}}, error)) is None


def test_ensembles_and_their_kin_are_compared_with_the_plain_network():
    size = {"0.999": 0.9}
    runs = {
        "plain": {"modalities": ("WIG",), "ensemble": True},
        "mean": {"modalities": ("WIG",), "average": "0.999"},
        "wide": {"modalities": ("WIG",), "average": "0.999", "width": 7},
    }
    gathered = made_up(runs, lambda s, m: size.get(s.get("average"), 1.0))
    together = gathered.table.query("run == 'plain' and seed == 0").assign(
        modality="WIG, 5 seeds", kind=results.ENSEMBLE
    )
    single = statistics.per_seed(gathered.table)["score"].xs("plain", level="run")
    together["value"] = 0.6 * np.exp(single.groupby("test_set").mean().mean())
    ratio = together.assign(metric="rollout_spread_skill", value=1.25)
    gathered.table = pd.concat([gathered.table, together, ratio], ignore_index=True)
    parts = [part.assign(run=run) for run, part in gathered.table.groupby("run")]
    gathered.summary = pd.concat(
        [results.summarise(part).assign(run=part["run"].iloc[0]) for part in parts]
    )
    found = uncertainty.ensembles(gathered)
    texts = dict(text.split(": ") for text in found.ours.split("network: ")[1].split("; "))
    assert set(texts) == {"plain WIG, 5 seeds", "mean WIG"}  # "wide" has no plain one beside it
    assert texts["plain WIG, 5 seeds"].startswith("0.60, one sample (spread/error 1.25 / 1.25)")
    assert float(texts["mean WIG"].split()[0]) == pytest.approx(0.9, rel=0.05)
    assert "p = " in texts["mean WIG"]
    assert found.seeds == 5
    assert uncertainty.ensembles(made_up({"a": {}}, lambda s, m: 1.0)) is None


def test_estimates_are_students():
    x = np.array([0.1, 0.3, 0.2, 0.5])
    estimate = statistics.mean(x)
    test = stats.ttest_1samp(x, 0)
    assert (estimate.value, estimate.p) == (pytest.approx(x.mean()), pytest.approx(test.pvalue))
    interval = test.confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(interval))
    assert str(statistics.mean([1.0])) == "1.00, too few seeds"
    assert str(statistics.mean([2.0] * 3)) == "2.00 [2.00, 2.00], all seeds alike"
    assert str(statistics.mean([])) == "–, too few seeds"


def test_an_exact_power_is_found_exactly():
    sizes = np.array([10.0, 100.0, 1000.0])
    errors = np.stack([3 * sizes**-0.4, 4 * sizes**-0.5, 5 * sizes**-0.6])
    estimate = statistics.power(sizes, errors)
    assert estimate.value == pytest.approx(-0.5)
    half = 0.1 / np.sqrt(3) * stats.t.ppf(0.975, 2)
    assert (estimate.low, estimate.high) == pytest.approx((-0.5 - half, -0.5 + half))


def test_starts_are_told_by_validation_and_by_what_they_do_to_unrolling():
    size = {"glorot": 1.0, "fan_in": 0.5, "zero": 0.25}
    settings = [{"initial": i, "net": n} for i in size for n in ("resnet", "unet")]
    runs = {f"{s['net']}-{s['initial']}": s for s in settings}

    def error(settings, modality):  # unrolling gains less from the better start
        start = settings.get("initial")
        return size[start] * (1 if modality == "ONE" else {"glorot": 0.4}.get(start, 0.8))

    gathered = made_up(runs, error, validation=lambda s, m: size[s["initial"]])
    found = starts.initial(gathered)
    assert "fan_in 0.50" in found.ours
    assert "zero 0.25" in found.ours
    assert "resnet zero (default zero), unet zero (default glorot_zero)" in found.why
    gains = found.ours.partition("WIG/ONE on the tests: ")[2]
    ratio = {part.split()[0]: float(part.split()[1]) for part in gains.split("; ")}
    assert ratio["glorot"] == pytest.approx(0.4, rel=0.1)
    assert ratio["zero"] == pytest.approx(0.8, rel=0.1)
    rows = starts.table(gathered)
    assert list(rows["net"]) == ["resnet", "unet"]
    assert list(rows["zero"]) == ["0.25* / 0.25* / 0.25*"] * 2
    assert list(rows["glorot"]) == ["1 / 1 / 1"] * 2
    (ax,) = starts.picture(gathered).axes
    drawn = {line.get_label(): line.get_xdata() for line in ax.lines}
    np.testing.assert_allclose(drawn["zero"], [0.25, 0.25])
    assert len(ax.get_yticklabels()) == 2


def test_a_network_that_diverged_on_validation_counts_as_the_worst():
    runs = {name: {"initial": name} for name in ("glorot", "zero")}
    lost = {"glorot": float("nan"), "zero": float("inf")}
    gathered = made_up(runs, lambda s, m: 1.0, validation=lambda s, m: lost[s["initial"]])
    assert list(starts.table(gathered)["zero"]) == ["1e+03* / 1e+03* / 1e+03*"]


def test_families_of_horizons_have_markers_of_their_own():
    common = {"curriculum": "1:20,4:10"}
    runs = {"plain": common} | {f"cut{k}": {**common, "cut_every": k} for k in (2, 3, 4)}
    figure = figures.horizon(made_up(runs, lambda s, m: EFFECT[m]))
    lines = [x for x in figure.axes[0].get_lines() if x.get_label().startswith("WIG")]
    looks = {(line.get_marker(), line.get_markerfacecolor()) for line in lines}
    assert len(lines) == len(looks) == 4


def test_rows_of_runs_that_differ_in_their_modality_alone_say_so():
    runs = {f"run{k}": {"modalities": (m,)} for k, m in enumerate(EFFECT)}
    gathered = made_up(runs, lambda s, m: EFFECT[m])
    gathered.labels.update(dict.fromkeys(list(runs)[:2], "plain"))
    names = [t.get_text() for t in figures.errors(gathered).axes[0].get_yticklabels()]
    assert names == ["plain (ONE)", "plain (NOG)", "run2"]
