"""The notebook runs from top to bottom, on random images in place of the flowers."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "ddim_flowers.ipynb"
# Sizes of the official splits, which `mock_data` does not know.
SPLITS = {"train": 1020, "test": 6149, "validation": 1020}
HIDDEN_CELL = """
import tensorflow_datasets as tfds
mocked = tfds.testing.mock_data(
    num_examples=40, data_dir={metadata!r}, policy=tfds.testing.MockPolicy.USE_FILES
)
mocked.__enter__()
"""


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def metadata(tmp_path):
    """Write the metadata of the flowers as TensorFlow Datasets does after a download."""
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder("oxford_flowers102", data_dir=tmp_path / "metadata")
    splits = [
        tfds.core.SplitInfo(name=name, shard_lengths=[number], num_bytes=0)
        for name, number in SPLITS.items()
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    Path(builder.data_dir).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)
    return tmp_path / "metadata"


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_stored_notebook_is_clean_and_opens_in_colab(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.accelerator == "GPU"
    for cell in code_of(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
    source = "\n".join(cell.source for cell in notebook.cells)
    assert source.count("[tensorflow,tfds]") == 2  # with and without kddim installed
    assert not any(path in source for path in ("/work", "/home", "/root", "/tmp", "/content"))


def test_notebook_runs_from_top_to_bottom(notebook, metadata, tmp_path, monkeypatch):
    monkeypatch.setenv("KDDIM_NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # The kernel's own draws into the notebook.
    hidden = nbformat.v4.new_code_cell(HIDDEN_CELL.format(metadata=str(metadata)))
    notebook.cells.insert(0, hidden)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()

    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "32 images to train on, 8 to validate on" in printed
    assert "val_kid" in printed
    assert "random_conv" in printed
    drawn = [output for output in outputs if "image/png" in output.get("data", {})]
    # Photographs, one grid for each of two epochs, the history, four numbers of steps, and the
    # images of the loaded model.
    assert len(drawn) == 9
    assert (folder / "ddim_flowers.keras").is_file()
