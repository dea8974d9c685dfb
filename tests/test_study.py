"""Studies as data: matrices, ids, shards, and what a mistake in them says."""

import json
from dataclasses import replace

import pytest

from tfunroll import study
from tfunroll.core import InputError
from tfunroll.evaluation.averages import MIN_SEEDS
from tfunroll.study import collection, curves, description, folder
from tfunroll.study.description import chosen, fingerprint
from tfunroll.study.execution import report

MATRIX = """
title = "Two axes"
[presets.long]
curriculum = "1:30,3:10"
batch_size = 4
[mini]
system = "ks"
seeds = [0, 1]
batch_size = 8
[[mini.cells]]
width = [4, 8]
mode = ["correction", "prediction"]
modalities = [["ONE", "WIG"], ["NOG"]]
[[mini.cells]]
preset = "long"
"""


def written(tmp_path, text=MATRIX, name="mine"):
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_matrix_expands(tmp_path):
    found = study.load(written(tmp_path), "mini")
    assert len(found.runs) == 2 * 2 * 2 + 1
    configs = [found.config(run_id) for run_id in found.runs]
    assert {(c.width, c.mode, c.modalities) for c in configs[:8]} == {
        (width, mode, modalities)
        for width in (4, 8)
        for mode in ("correction", "prediction")
        for modalities in (("ONE", "WIG"), ("NOG",))
    }
    assert all(c.seeds == (0, 1) for c in configs)
    assert configs[0].batch_size == 8
    assert (configs[-1].batch_size, configs[-1].curriculum) == (4, "1:30,3:10")
    assert found.varying() == ["mode", "width", "modalities", "curriculum", "batch_size"]


def test_ids_depend_on_a_run_alone(tmp_path):
    # written down: ids that change would orphan the results of every study in progress
    found = list(study.load(written(tmp_path), "mini").runs)
    assert found[0] == "ks-correction-resnet-4x0-m4-9d7d26e9"
    assert found[-1] == "ks-correction-resnet-demo-m3-b787c13e"
    more = MATRIX.replace("[4, 8]", "[4, 6, 8]") + '[[mini.cells]]\nnet = "fno"\n'
    assert set(found) < set(study.load(written(tmp_path, more), "mini").runs)
    same = MATRIX.replace("batch_size = 8", "batch_size = 8\nloss = 'supervised'")  # the default
    assert found == list(study.load(written(tmp_path, same), "mini").runs)
    other = MATRIX.replace("seeds = [0, 1]", "seeds = [0, 2]")
    assert not set(found) & set(study.load(written(tmp_path, other), "mini").runs)


@pytest.mark.parametrize("name", study.names())
def test_studies_that_come_along(name):
    variants = description.variants(name)
    assert variants[0] == "mini"
    for variant in variants:
        found = study.load(name, variant)
        assert found.title
        assert found.question.endswith("?")
        for run_id in found.runs:
            assert len(found.config(run_id).seeds) >= MIN_SEEDS, run_id
    assert len(study.load(name, variants[-1]).runs) >= len(study.load(name, "mini").runs)


def test_all_are_there():
    assert set(study.names()) == {
        *("modalities", "correction_vs_prediction", "horizon", "scaling", "transition"),
        *("convergence", "stability", "alternatives", "initial", "routes", "ensembles"),
    }


def test_shards_divide_the_runs(tmp_path):
    found = study.load(written(tmp_path), "mini")
    for n in (1, 2, 4, 20):
        parts = [chosen(found, f"{i}/{n}") for i in range(1, n + 1)]
        assert sorted(run_id for part in parts for run_id in part) == sorted(found.runs)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    two = list(found.runs)[1:3]
    assert chosen(found, only=",".join(reversed(two))) == two


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width = 4", "width=4: must be an object"),
        ("[large]", "variant='mini' is unknown"),
        ("[mini]\nwidth = 4", "the matrix is empty"),
        ("[mini]\n[[mini.cells]]\nwidth = []", "the matrix is empty"),
        ("[mini]\n[[mini.cells]]\ncolour = 4", "'colour' is not a setting"),
        ("[mini]\n[[mini.cells]]\nout = 'x'", "'out' is not a setting"),
        ("[mini]\n[[mini.cells]]\nwidth = 'wide'", "width='wide': must be a valid integer"),
        ("[mini]\n[[mini.cells]]\nmode = 'guess'", "mode='guess' is unknown"),
        ("[mini]\n[[mini.cells]]\nwidth = [4, 4]", "names the run ks-correction-resnet-4x0-m4-"),
        ("[mini]\n[[mini.cells]]\npreset = 'x'", "preset='x' is unknown; allowed: none"),
        ("[mini]\ncurriculum = '3'\n[[mini.cells]]", "curriculum stage '3'"),
        ("[mini", "is not TOML"),
    ],
)
def test_mistakes_in_a_description(text, message, tmp_path):
    with pytest.raises(InputError, match="(study=|variant=)") as caught:
        study.load(written(tmp_path, text), "mini")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match="study='guess' is unknown; allowed: alternatives, "):
        study.load("guess", "mini")
    with pytest.raises(InputError, match="study='none.toml': none.toml cannot be read"):
        study.load("none.toml", "mini")
    with pytest.raises(InputError, match="variant='huge' is unknown; allowed: mini, paper, small"):
        study.load("modalities", "huge")
    found = study.load(written(tmp_path), "mini")
    for shard in ("0/2", "3/2", "1/0", "-1/2"):
        with pytest.raises(InputError, match=f"shard='{shard}' is outside its range; allowed: 1/"):
            chosen(found, shard)
    for shard in ("2", "a/b", "1/2/3"):
        with pytest.raises(InputError, match="is not i/n, such as 2/4"):
            chosen(found, shard)
    with pytest.raises(InputError, match="run='x' is unknown"):
        chosen(found, only="x")
    with pytest.raises(InputError, match="either --shard or --run"):
        chosen(found, "1/2", "x")


def test_a_folder_belongs_to_one_description(tmp_path):
    found = study.load(written(tmp_path), "mini")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is not a study's folder"):
        folder.read(out)
    folder.claim(found, out)
    folder.claim(found, out)
    assert folder.read(out) == found
    with pytest.raises(InputError, match="is the folder of another study, mine \\(mini\\)"):
        folder.claim(replace(found, name="yours"), out)
    edited = study.load(written(tmp_path, MATRIX.replace("[4, 8]", "[4, 6]")), "mini")
    with pytest.raises(InputError, match="was edited .* 4 runs are gone .* 4 runs are new"):
        folder.claim(edited, out)
    (out / "study.json").write_text('{"name": 3}')
    with pytest.raises(InputError, match="is not a study's folder"):
        folder.read(out)


def test_labels_say_what_differs():
    found = study.load("alternatives", "mini")
    labels = collection._labels(found, list(found.runs))
    assert list(labels.values()) == [
        *("plain", "plain", "plain", "noise=0.001", "noise=0.01"),
        *("pushforward=1", "pushforward=3", "cut_every=2"),
    ]
    found = study.load("routes", "mini")
    labels = list(collection._labels(found, list(found.runs)).values())
    assert labels == [f"through={r}" for r in ("all", "solver", "network", "identity")]
    found = study.load("horizon", "mini")
    labels = list(collection._labels(found, list(found.runs)).values())
    assert len(set(labels)) == len(labels)
    found = study.load("convergence", "mini")
    assert list(collection._labels(found, list(found.runs)).values()) == ["resnet"]


def test_failures_are_listed_by_reason():
    failed = {"a": {"shared 0": "x is wrong", "ONE 0": "x is wrong"}, "b": {"WIG 1": "diverged"}}
    assert report(failed).splitlines() == [
        "failed: 2 runs",
        "  a (shared 0 and 1 more): x is wrong",
        "  b (WIG 1): diverged",
    ]
    assert report({}) == ""


def test_the_content_of_study_json(tmp_path):
    found = study.load(written(tmp_path), "mini")
    folder.claim(found, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "study.json").read_text())
    assert list(content["runs"]) == list(found.runs)
    assert content["runs"][next(iter(found.runs))]["modalities"] == ["ONE", "WIG"]


def test_a_study_begun_by_an_earlier_version_is_read(tmp_path):
    settings = {"correction": "graded", "coarse": "etdrk2", "solver_fraction": 0.25}
    run_id = f"ks-{fingerprint(settings)}"
    runs = {run_id: settings}
    content = {"name": "a", "variant": "mini", "title": "", "question": "", "runs": runs}
    (tmp_path / "study.json").write_text(json.dumps(content))
    config = folder.read(tmp_path).config(run_id).resolved()
    assert config.coarse == "etdrk2:fraction=0.25"
    assert curves.fraction(config) == 0.25
