"""The notebooks of docs/notebooks run whole. Slow; `make test-slow` installs what they need."""

import pathlib
import resource

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "notebooks"
MINUTES = 3  # on two cores, as docs/notebooks/index.md says; of processor time twice that


def processor_seconds():
    """Of all child processes that have ended: it does not depend on what else runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ks", "own_solver", "own_network"])
def test_notebook(name, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason='needs pip install "tfunroll[docs]"')
    read = pytest.importorskip("myst_nb.core.read", reason='needs pip install "tfunroll[docs]"')
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    notebook = read.read_myst_markdown_notebook(text)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    before = processor_seconds()
    client.execute()  # raises what a cell raises
    seconds = processor_seconds() - before
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    printed = "".join(o.get("text", "") for o in outputs)
    print(f"{name}: {seconds:.0f} s of processor time\n{printed}")
    assert "coarse solver" in printed  # the table of an evaluation
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert (tmp_path / "pictures" / "rollouts.png").exists()
    assert 5 < seconds < 2 * 60 * MINUTES


def test_all_notebooks_are_run_and_listed():
    names = {path.stem for path in FOLDER.glob("*.md")} - {"index"}
    assert names == {"ks", "own_solver", "own_network"}
    assert all(f"({name}.md)" in (FOLDER / "index.md").read_text() for name in names)
