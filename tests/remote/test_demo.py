"""All steps in an object store, on a cluster; killed in the middle; with a store that stumbles."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pystac
import pytest

from geocube_ml.files import alone, names, place
from geocube_ml.run import main
from geocube_ml.sim import Archive
from geocube_ml.store.cube import DIGEST
from tests.remote.conftest import digests, results, start
from tests.servers.dask import DaskCluster
from tests.servers.faults import Gate, Request
from tests.servers.process import wait_until
from tests.servers.stac_api import missing


@pytest.fixture
def bucket(s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()


def in_store(demo, archive):
    """Where the demo's files are in a store: what a recipe with everything in it changes."""
    source = demo["sources"]["s2"]
    items = source["items"] | {"catalog": f"{archive}/items"}
    return {
        "simulate": demo["simulate"] | {"folder": archive},
        "sources": {"s2": source | {"items": items}},
        "labels": demo["labels"] | {"path": f"{archive}/labels.gpkg"},
        "evaluate": demo["evaluate"]
        | {"reference": f"{archive}/truth.tif", "bound": f"{archive}/best.tif"},
    }


def found(s3, bucket, folder):
    """Objects below a folder by their place in it."""
    skip = len(folder) + 1
    return {key[skip:]: content for key, content in s3.objects(bucket, folder).items()}


def cube_of(digests: dict[str, str]) -> dict[str, str]:
    """Those of what the step `cube` computes."""
    return {k: v for k, v in digests.items() if k.startswith("cube.zarr/s2")}


def items_of_an_api(api: Any, archive: Archive, there: str) -> dict[str, str]:
    """Where the archive's items are found, when its files lie in the store."""
    items = [pystac.Item.from_file(str(path)) for path in archive.items.glob("*.json")]
    for item in items:
        item.make_asset_hrefs_absolute()
        for asset in item.assets.values():
            asset.href = f"{there}/{asset.href.removeprefix(f'{archive.folder}/')}"
    api.load(items)
    return {"stac_api": api.url}


# -- killed in the middle


def recorded(step: str) -> str:
    """In the addresses of the records of a step's tiles."""
    return f"/out/records/{step}/tiles/"


def all_but_the_first(step: str) -> Callable[[Request], bool]:
    """Picks the records of a step's tiles, so that one is written and then all is held."""
    first: set[str] = set()

    def held(request: Request) -> bool:
        if request.kind != "put" or recorded(step) not in request.path:
            return False
        if not first:
            first.add(request.path.partition("?")[0])
        return request.path.partition("?")[0] not in first

    return held


def worker_of(cluster: DaskCluster, gate: Gate) -> str:
    """A worker whose request the gate holds."""
    for name, pid in cluster.worker_pids().items():
        if {c.laddr.port for c in psutil.Process(pid).net_connections("tcp")} & gate.ports:
            return name
    raise AssertionError(f"nobody has sent {gate.held}")


def once_held(gate: Gate, act: Callable[[], object]) -> None:
    """Do something when a tile is done but for its record; then let the records pass."""
    try:
        wait_until(lambda: bool(gate.held), what="a tile that is nearly done", timeout_s=300)
        act()
    finally:
        gate.open()


def tiles_done(cluster: DaskCluster) -> int:
    """How many tasks workers of this scheduler have ended."""

    def count(dask_scheduler: Any) -> int:
        return sum(
            prefix.state_counts["memory"]
            for name, prefix in dask_scheduler.task_prefixes.items()
            if name.startswith("tile")
        )

    with cluster.client() as client:
        found: int = client.run_on_scheduler(count)
        return found


def prepared(cluster: DaskCluster) -> list[Any]:
    """What runs have prepared on workers and not undone."""
    with cluster.client() as client:
        found = client.run(lambda: dict(__import__("geocube_ml").cluster.prepare._prepared))
        return list(found.values())


@pytest.fixture
def through(s3_faults, bucket) -> dict[str, Any]:
    """A recipe's `storage`: the store as seen through the proxy."""
    return {"s3": {f"s3://{bucket}/out": {"endpoint_url": s3_faults.url}}}


def test_everything_in_a_store_on_a_cluster_that_loses_workers_equals_the_local_run(
    request, s3, s3_faults, bucket, through, demo, small_archive, local_run, write_recipe, cluster,
    capsys,
):  # fmt: skip
    """One while the cube is made and one while the map is: that costs nothing but time."""
    archive = f"s3://{bucket}/archive"
    changes = in_store(demo, archive)
    if not missing():  # else those of the folder, as in the tests below
        api = request.getfixturevalue("stac_api")
        asked = changes["sources"]["s2"]["items"]
        del asked["catalog"]
        asked |= items_of_an_api(api, small_archive, archive)
    recipe = write_recipe(
        **changes, out=f"s3://{bucket}/out", cluster=cluster.address, storage=through
    )
    killed = []

    def kill(gate: Gate) -> None:
        killed.append(cluster.kill_worker(worker_of(cluster, gate)))

    with (
        s3_faults.gate(all_but_the_first("cube")) as making,
        s3_faults.gate(all_but_the_first("predict")) as mapping,
        ThreadPoolExecutor(2) as pool,
    ):
        kills = [
            pool.submit(once_held, gate, lambda gate=gate: kill(gate)) for gate in (making, mapping)
        ]
        assert main([str(recipe)]) == 0
        for each in kills:
            each.result()
    assert len(set(killed)) == 2
    # three steps, the tiles that are judged, models by splits
    assert tiles_done(cluster) >= 4 * 8 + 2 * 2
    assert prepared(cluster) == [{}, {}]
    said = capsys.readouterr()
    objects = found(s3, bucket, "out")
    assert results(digests(objects)) == results(local_run)
    assert "run.lock" not in objects

    before = digests(objects)
    assert main([str(recipe)]) == 0
    more = capsys.readouterr()
    assert more.out.count("was done already") == 8
    after = digests(found(s3, bucket, "out"))
    assert {k: v for k, v in after.items() if not k.startswith("runs/")} == {
        k: v for k, v in before.items() if not k.startswith("runs/")
    }

    # a tile's record says what, of which inputs, and with which content
    tiles = "records/cube/tiles/"
    (name,) = (
        key.removeprefix(tiles).removesuffix(".json")
        for key in objects
        if key.startswith(f"{tiles}s2.") and key.endswith(".0000_0000.json")
    )
    record = json.loads(objects[f"{tiles}{name}.json"])
    made = json.loads(objects["cube.zarr/s2/zarr.json"])["attributes"]
    assert record["digest"] == made[DIGEST]
    assert (record["step"], record["tile"], record["attempt"]) == ("cube", name, 1)
    assert set(record["content"]) == {"s2", "s2_clear"}

    every = s3.objects(bucket)
    every |= {"said": "".join([said.out, said.err, more.out, more.err]).encode()}
    every |= {name: text.encode() for name, text in cluster.logs().items()}
    for secret in (s3.secret, s3.key):
        assert [name for name, content in every.items() if secret.encode() in content] == []


@pytest.mark.parametrize("lost", ["client", "scheduler"])
def test_a_run_that_loses_its_scheduler_or_itself_is_taken_up_where_it_stopped(
    lost, s3, s3_faults, bucket, through, local_run, write_recipe, cluster, capsys
):
    storage = through | {"lease_s": 2}
    recipe = write_recipe(out=f"s3://{bucket}/out", cluster=cluster.address, storage=storage)
    records = place(f"s3://{bucket}/out/records/cube/tiles")
    with s3_faults.gate(all_but_the_first("cube")) as gate:
        if lost == "client":
            run = start(recipe, "cube", env=s3.env)
            once_held(gate, run.kill)
            said, _ = run.communicate(timeout=300)
            assert run.returncode == -signal.SIGKILL, said
            # its workers end what they have begun
            wait_until(lambda: len(names(records)) == 1 + len(gate.held), what="tiles")
        else:
            killer = threading.Thread(target=once_held, args=(gate, cluster.kill))
            killer.start()
            assert main([str(recipe), "cube"]) == 2
            killer.join()
            assert "the same command goes on where it stopped" in capsys.readouterr().err
    kept = names(records)
    assert 1 <= len(kept) < 8

    # a scheduler that is gone takes its workers with it; the next run does without
    where = {} if lost == "scheduler" else {"cluster": cluster.address}
    again = write_recipe(out=f"s3://{bucket}/out", storage=storage, **where)
    s3_faults.clear()
    assert main([str(again), "cube"]) == 0
    paths = [entry.path.partition("?")[0] for entry in s3_faults.log if entry.kind == "put"]
    made = {path.rpartition("/")[2] for path in paths if recorded("cube") in path}
    assert not kept & made  # what was done is not done again
    assert len(kept | made) == 8
    cube = cube_of(digests(found(s3, bucket, "out")))
    assert cube == cube_of(local_run)


# -- a store that stumbles


def test_a_store_that_stumbles_at_one_in_twenty_requests_changes_nothing(
    s3, s3_faults, bucket, demo, local_run, write_recipe, capsys
):
    storage = {
        "s3": {f"s3://{bucket}": {"endpoint_url": s3_faults.url}}, "deadline_s": 3, "attempts": 8,
    }  # fmt: skip
    store = in_store(demo, f"s3://{bucket}/archive")
    quick = ("slow_down", "too_many", "reset", "lost", "reset_body", "truncated")
    # what hangs costs the deadline: it comes less often
    plan = {"faults": (*quick, *quick, "hang_put", "hang_get"), "seed": 1, "hang_s": 60}
    with s3_faults.faults(0.05, **plan):
        recipe = write_recipe(**store, out=f"s3://{bucket}/out", storage=storage)
        assert main([str(recipe)]) == 0
    injected = s3_faults.injected()
    assert sum(injected.values()) >= 20
    assert {"slow_down", "reset", "truncated", "hang_put"} <= set(injected)
    objects = found(s3, bucket, "out")
    assert results(digests(objects)) == results(local_run)
    said = capsys.readouterr()
    for text in (said.out, said.err, *(c.decode("latin-1") for c in objects.values())):
        assert s3.secret not in text


# -- what is refused


def test_a_second_run_in_the_same_place_is_refused(s3, bucket, write_recipe, capsys):
    # the second watches for long, so that it sees a sign of life however late that comes
    recipe = write_recipe(out=f"s3://{bucket}/out", storage={"lease_s": 90})
    with alone(place(f"s3://{bucket}/out"), lease_s=2):
        assert main([str(recipe), "cube"]) == 2
    assert "Another run is at work" in capsys.readouterr().err


def test_what_another_recipe_left_is_refused(s3, bucket, demo, write_recipe, capsys):
    source = demo["sources"]["s2"]
    period = {"start": "2022-06", "end": "2022-07"}
    red, nir = (
        {"sources": {"s2": source | {"bands": [band]}}, "period": period} for band in ("red", "nir")
    )
    recipe = write_recipe(out=f"s3://{bucket}/out", **red)
    assert main([str(recipe), "cube"]) == 0
    other = write_recipe(out=f"s3://{bucket}/out", **nir)
    assert main([str(other), "cube"]) == 2
    assert "from another recipe" in capsys.readouterr().err
    assert main([str(other), "cube", "--redo"]) == 0
