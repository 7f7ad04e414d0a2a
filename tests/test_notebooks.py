"""Every notebook runs from top to bottom, and is committed with outputs that show it did."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


# Each may go to any worker: they are the longest of all tests, and share nothing.
EACH = [
    pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(f"notebook {path.stem}"))
    for path in NOTEBOOKS
]


@pytest.fixture(params=EACH)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def nbformat():
    """Imported late, since it takes seconds and every worker collects this file."""
    import nbformat

    return nbformat


def with_few_seeds(nbformat, notebook):
    """Override the cell of parameters, as papermill does: the code runs, and the wait is short."""
    for place, cell in enumerate(notebook.cells):
        if "parameters" in cell.metadata.get("tags", ()):
            assert cell.source.startswith("seeds = ")
            notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("seeds = 4"))
            return


@pytest.mark.notebook
# Asking the kernel's manager to shut down leaves sockets to the collector.
@pytest.mark.filterwarnings("default")
def test_notebook_runs(nbformat, path):
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with_few_seeds(nbformat, notebook)
    # Where a reader's kernel starts, so that nothing depends on the folder of the tests.
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.execute()  # raises CellExecutionError, with the traceback of the cell


def test_committed_outputs(nbformat, path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"display_data", "stream"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs)
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 600_000
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) + "/" not in text and str(FOLDER.parent) not in text
