"""What the pages on labels and data sets show works on a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/dataset.md"


def test_the_loaders_of_the_page_run(undisturbed, tmp_path, monkeypatch, capsys):
    (tmp_path / "out/my-fields").mkdir(parents=True)
    for name in ("samples.zarr", "cube.zarr"):
        (tmp_path / "out/my-fields" / name).symlink_to(undisturbed / name)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], PAGE.name, "exec"), {})
    assert "red" in capsys.readouterr().out
    assert (tmp_path / "out/my-fields/samples.parquet").exists()


@pytest.mark.parametrize("name", ["labels.parquet", "labels_lost.csv", "samples.zarr", "cube.zarr"])
def test_the_page_names_what_a_run_leaves(undisturbed, name):
    assert f"`{name}`" in PAGE.read_text()
    assert (undisturbed / name).exists()
