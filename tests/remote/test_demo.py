"""All steps in an object store, on a cluster; killed in the middle; with a store that stumbles."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

import pystac
import pytest

from geocube_ml.files import names, place
from geocube_ml.run import main
from tests.remote.conftest import digests, results, start


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


@pytest.fixture(params=["folder", "api"])
def items(request, bucket, demo, small_archive):
    """Where items are found whose files are in the store."""
    asked = demo["sources"]["s2"]["items"]
    if request.param == "folder":
        return asked | {"catalog": f"s3://{bucket}/archive/items"}
    api = request.getfixturevalue("stac_api")
    found = [pystac.Item.from_file(str(path)) for path in small_archive.items.glob("*.json")]
    for item in found:
        item.make_asset_hrefs_absolute()
        for asset in item.assets.values():
            there = asset.href.removeprefix(f"{small_archive.folder}/")
            asset.href = f"s3://{bucket}/archive/{there}"
    api.load(found)
    return {"stac_api": api.url} | {k: v for k, v in asked.items() if k != "catalog"}


def test_everything_in_a_store_on_a_cluster_equals_the_local_run(
    items, s3, bucket, demo, local_run, write_recipe, new_dask_cluster
):
    cluster = new_dask_cluster(env=s3.env)
    store = in_store(demo, f"s3://{bucket}/archive")
    store["sources"]["s2"]["items"] = items
    recipe = write_recipe(**store, out=f"s3://{bucket}/out", cluster=cluster.address)
    run = start(recipe, env=s3.env)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    objects = found(s3, bucket, "out")
    assert results(digests(objects)) == results(local_run)
    assert "run.lock" not in objects

    before = digests(objects)
    again = start(recipe, env=s3.env)
    more, _ = again.communicate(timeout=100)
    assert again.returncode == 0
    assert more.count("was done already") == 8
    after = digests(found(s3, bucket, "out"))
    assert {k: v for k, v in after.items() if not k.startswith("runs/")} == {
        k: v for k, v in before.items() if not k.startswith("runs/")
    }

    # a tile's record says what, of which inputs, and with which content
    record = json.loads(objects["records/cube/tiles/0000_0000.json"])
    begun = json.loads(objects["records/cube/begun.json"])
    assert record["digest"] == begun["digest"]
    assert (record["step"], record["tile"], record["attempt"]) == ("cube", "0000_0000", 1)
    assert set(record["content"]) == {"s2", "s2_clear"}

    every = s3.objects(bucket) | {"said": (said + more).encode()}
    every |= {name: text.encode() for name, text in cluster.logs().items()}
    for secret in (s3.secret, s3.key):
        assert [name for name, content in every.items() if secret.encode() in content] == []


def interrupted(records, run, count: int, act: Callable[[], object]) -> None:
    """Do something once so many tiles are recorded."""
    until = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < until:
        if len(names(records)) >= count:
            act()
            return
        time.sleep(0.02)
    said, _ = run.communicate(timeout=10)
    pytest.fail(f"nothing was left to interrupt: {said}")


STORAGE = {"lease_s": 2}


@pytest.mark.parametrize("step", ["cube", "predict"])
def test_a_worker_that_is_killed_costs_nothing_but_time(
    step, s3, bucket, local_run, write_recipe, new_dask_cluster
):
    cluster = new_dask_cluster(env=s3.env)
    recipe = write_recipe(out=f"s3://{bucket}/out", cluster=cluster.address)
    run = start(recipe, env=s3.env)
    records = place(f"s3://{bucket}/out/records/{step}/tiles")
    interrupted(records, run, 1, cluster.kill_worker)
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert results(digests(found(s3, bucket, "out"))) == results(local_run)


@pytest.mark.parametrize("lost", ["scheduler", "client"])
def test_a_run_that_loses_its_scheduler_or_itself_is_taken_up_where_it_stopped(
    lost, s3, bucket, local_run, write_recipe, new_dask_cluster
):
    cluster = new_dask_cluster(env=s3.env)
    recipe = write_recipe(out=f"s3://{bucket}/out", cluster=cluster.address, storage=STORAGE)
    run = start(recipe, "cube", env=s3.env)
    records = place(f"s3://{bucket}/out/records/cube/tiles")
    kill = cluster.kill_scheduler if lost == "scheduler" else run.kill
    interrupted(records, run, 1, kill)
    said, _ = run.communicate(timeout=100)
    if lost == "scheduler":
        assert run.returncode == 2, said
        assert "the same command goes on where it stopped" in said
    else:
        assert run.returncode == -signal.SIGKILL
    time.sleep(1)  # a worker may be at the end of a tile
    kept = {name: (records / name).stat().st_mtime for name in names(records)}

    # a scheduler that is gone takes its workers with it; one that is left still ends some tiles
    where = {} if lost == "scheduler" else {"cluster": cluster.address}
    again = write_recipe(out=f"s3://{bucket}/out", storage=STORAGE, **where)
    assert main([str(again)]) == 0
    for name, stamp in kept.items():  # what was done is not done again
        assert (records / name).stat().st_mtime == stamp
    assert results(digests(found(s3, bucket, "out"))) == results(local_run)


def test_a_store_that_stumbles_at_one_in_twenty_requests_changes_nothing(
    s3, s3_faults, bucket, demo, local_run, write_recipe, capsys
):
    seen_from_here = {
        "s3": {f"s3://{bucket}": {"endpoint_url": s3_faults.url}}, "deadline_s": 2, "lease_s": 20,
    }  # fmt: skip
    store = in_store(demo, f"s3://{bucket}/archive")
    with s3_faults.faults(0.05, seed=1, hang_s=20):
        recipe = write_recipe(**store, out=f"s3://{bucket}/out", storage=seen_from_here)
        assert main([str(recipe)]) == 0
    injected = s3_faults.injected()
    assert sum(injected.values()) >= 20
    assert {"slow_down", "reset", "truncated", "hang_put"} <= set(injected)
    objects = found(s3, bucket, "out")
    assert results(digests(objects)) == results(local_run)
    said = capsys.readouterr()
    for text in (said.out, said.err, *(c.decode("latin-1") for c in objects.values())):
        assert s3.secret not in text


def test_a_second_run_in_the_same_place_is_refused(s3, bucket, write_recipe, capsys):
    from geocube_ml.files import alone

    recipe = write_recipe(out=f"s3://{bucket}/out", storage=STORAGE)
    with alone(place(f"s3://{bucket}/out"), lease_s=2):
        assert main([str(recipe), "cube"]) == 2
    assert "Another run is at work" in capsys.readouterr().err


def test_what_another_recipe_left_is_refused(s3, bucket, demo, write_recipe, capsys):
    recipe = write_recipe(out=f"s3://{bucket}/out")
    assert main([str(recipe), "cube"]) == 0
    source = demo["sources"]["s2"] | {"bands": ["red", "nir"]}
    other = write_recipe(out=f"s3://{bucket}/out", sources={"s2": source})
    assert main([str(other), "cube"]) == 2
    assert "from another recipe" in capsys.readouterr().err
    assert main([str(other), "cube", "--redo"]) == 0
