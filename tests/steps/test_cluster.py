"""The same recipe on a dask cluster and on processes: the same results as on threads."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from distributed import Client, LocalCluster

from geocube_ml.cluster import prepare
from geocube_ml.errors import TilesFailed
from geocube_ml.files import read_json
from geocube_ml.run import main
from geocube_ml.spec.recipe import read_recipe
from geocube_ml.steps.progress import Reporter
from geocube_ml.steps.runner import run_recipe
from tests.steps.conftest import by_size, cut_short, stamps, tree

Recipe = Callable[..., Path]

STEPS = ["cube", "labels"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes of one thread."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


class Runs(NamedTuple):
    threads: Path
    cluster: Path
    said: str
    """Of the one on the cluster."""


@pytest.fixture(scope="module")
def runs(
    values: dict[str, Any],
    undisturbed: Path,
    client: Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    """Two steps on the cluster; all steps on one are among the tests of stores."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(values | {"out": str(folder / "cluster")}))
    said = io.StringIO()
    run_recipe(read_recipe(path), STEPS, client=client, reporter=Reporter(said))
    return Runs(undisturbed, folder / "cluster", said.getvalue())


def test_cube_and_labels_are_the_same_byte_by_byte(runs):
    for name in ("s2", "s2_clear", "label", "polygon"):
        assert tree(runs.cluster / "cube.zarr" / name) == tree(runs.threads / "cube.zarr" / name)


def test_the_records_are_the_same(runs):
    for step in STEPS:
        there, here = (
            {path.stem: read_json(path) for path in (out / "records" / step / "tiles").iterdir()}
            for out in (runs.cluster, runs.threads)
        )
        assert there == here
        assert len(here) == 8
        there, here = (
            read_json(out / "records" / step / "done.json") for out in (runs.cluster, runs.threads)
        )
        assert there == here


def test_it_says_where_it_runs(runs, client):
    first = runs.said.splitlines()[0]
    assert first == f"on 2 threads on 2 workers of the dask scheduler {client.scheduler.address}"
    assert runs.said.count(" done ") == len(STEPS)


def test_the_workers_did_it_and_are_left_as_they_were(runs, client):
    done = client.run_on_scheduler(
        lambda dask_scheduler: sum(
            prefix.state_counts["memory"]
            for name, prefix in dask_scheduler.task_prefixes.items()
            if name.startswith("tile")
        )
    )
    assert done >= 2 * 8
    assert client.status == "running"
    assert client.submit(sum, (1, 2)).result() == 3
    assert not prepare._prepared
    left = client.run(lambda: dict(__import__("geocube_ml").cluster.prepare._prepared))
    assert list(left.values()) == [{}, {}]
    cache = client.run(lambda: __import__("os").environ.get("GDAL_CACHEMAX"))
    assert list(cache.values()) == [None, None]


def test_the_memory_of_this_process_is_not_told_for_that_of_the_workers(runs):
    was = {
        out: read_json(out / "records/price/cube.json")["was"]["worker_bytes"]
        for out in (runs.threads, runs.cluster)
    }
    assert was[runs.threads] > 0
    assert was[runs.cluster] is None  # though the recipe says threads, as it is the same


def test_a_run_on_threads_takes_up_what_one_on_a_cluster_left(recipe, runs, tmp_path):
    path, out = recipe(), tmp_path / "out"
    shutil.copytree(runs.cluster, out)
    shutil.rmtree(out / "records/labels")
    (out / "records/cube/done.json").unlink()
    for name in ("s2.2022-01.2022-12.0000_0001", "s2.2022-01.2022-12.0001_0003"):
        (out / f"records/cube/tiles/{name}.json").unlink()
    before = stamps(out / "records/cube/tiles")
    assert main([str(path), "cube", "labels"]) == 0
    after = stamps(out / "records/cube/tiles")
    assert {name: after[name] for name in before} == before
    for name in ("s2", "s2_clear", "label", "polygon"):
        assert tree(out / "cube.zarr" / name) == tree(runs.threads / "cube.zarr" / name)


def test_tiles_that_fail_there_are_told_as_those_that_fail_here(
    recipe, client, copied, tmp_path, capsys
):
    cut = by_size(copied, "B04")[0]
    cut_short(cut)
    items = {"sources.s2.items": {"catalog": str(copied / "items")}}
    here = recipe(items | {"out": str(tmp_path / "here")}, "here.yaml")
    assert main([str(here), "cube"]) == 3
    there = read_recipe(recipe(items | {"cluster": {"pause": 0}}))
    with pytest.raises(TilesFailed) as caught:
        run_recipe(there, ["cube"], client=client, reporter=Reporter(io.StringIO()))

    def told(text: str) -> list[list[str]]:
        """Words, as tiles fail in any order."""
        return [sorted(re.split(r"[ ,]+", line)) for line in text.splitlines()]

    assert f"Item {cut.parent.name}, asset B04" in str(caught.value)
    assert "tried 3 times" in str(caught.value)
    assert told(f"error: {caught.value}") == told(capsys.readouterr().err)
    made = [
        {path.name for path in (tmp_path / out / "records/cube/tiles").iterdir()}
        for out in ("here", "out")
    ]
    assert made[0] == made[1]


def test_what_is_left_out_there_is_left_out_here(recipe, client, copied, tmp_path):
    cut_short(by_size(copied, "B11")[0])
    changes = {
        "unreadable": "leave-out",
        "sources.s2.items": {"catalog": str(copied / "items")},
    }
    here = recipe(changes | {"out": str(tmp_path / "here")}, "here.yaml")
    assert main([str(here), "cube"]) == 0
    there = read_recipe(recipe(changes))
    run_recipe(there, ["cube"], client=client, reporter=Reporter(io.StringIO()))
    assert list((tmp_path / "out/records/cube/left_out").iterdir())
    for folder in ("cube.zarr", "records/cube"):
        assert tree(tmp_path / "out" / folder) == tree(tmp_path / "here" / folder)


def test_processes_of_this_machine(recipe, runs, tmp_path, capsys):
    path = recipe({"cluster": {"where": "processes", "workers": 1}})  # each takes long to begin
    assert main([str(path), "cube", "labels"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"on 1 thread on 1 worker of the dask scheduler tcp://.*", first)
    for name in ("s2", "s2_clear", "label", "polygon"):
        assert tree(tmp_path / "out/cube.zarr" / name) == tree(runs.threads / "cube.zarr" / name)


def test_the_client_that_is_open(recipe, client, runs, tmp_path, capsys):
    path = recipe({"cluster": "current"})
    assert main([str(path), "cube"]) == 2
    assert "No dask client is open in this process" in capsys.readouterr().err
    with client.as_current():
        assert main([str(path), "cube"]) == 0
    assert str(client.scheduler.address) in capsys.readouterr().out
    assert client.status == "running"
    assert tree(tmp_path / "out/cube.zarr/s2") == tree(runs.threads / "cube.zarr/s2")
