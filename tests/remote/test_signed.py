"""A cube from signed blobs: signatures end in mid-run, and none is kept."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from geocube_ml.raster import azure
from geocube_ml.run import main
from tests.remote.conftest import digests
from tests.servers.files import Azure

BLOBS = "https://maps1.blob.core.windows.net/scenes"


@pytest.fixture
def sky(token_server, tmp_path, small_archive, monkeypatch):
    """Azure, with the archive's rasters in the container `scenes`."""
    settings, _ = azure._planetary_computer()  # imported without its warnings
    folder = tmp_path / "sky"
    shutil.copytree(small_archive.folder / "cogs", folder / "maps1" / "scenes")
    monkeypatch.setenv("PC_SDK_SAS_URL", token_server.sas_url)
    monkeypatch.setattr(azure, "_now", lambda: token_server.tokens.clock.now().timestamp())
    monkeypatch.setenv("CPL_AZURE_USE_HTTPS", "NO")
    type(settings).get.cache_clear()
    with Azure(folder, tokens=token_server.tokens) as server:
        monkeypatch.setenv("GDAL_HTTP_PROXY", server.url)
        yield server
    type(settings).get.cache_clear()


@pytest.fixture
def items(small_archive, tmp_path):
    """The archive's items, as Planetary Computer's are: of blobs, some already signed."""
    folder = tmp_path / "items"
    folder.mkdir()
    for n, path in enumerate(sorted(small_archive.items.glob("*.json"))):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"{BLOBS}/{asset['href'].partition('cogs/')[2]}"
            if n % 2:
                asset["href"] += "?st=2020-01-01&se=2020-01-02&sp=rl&sig=an-old-one"
        (folder / path.name).write_text(json.dumps(item))
    return folder


def test_signatures_that_end_in_mid_run_are_renewed_and_none_is_kept(
    sky, items, token_server, demo, local_run, write_recipe, tmp_path, capsys, caplog
):
    for logger in ("geocube_ml", "rasterio", "urllib3"):
        caplog.set_level(logging.DEBUG, logger)
    tokens, asked = token_server.tokens, []

    def hours_pass(request):
        asked.append(request)
        if len(asked) % 40 == 0:
            tokens.clock.move(2 * tokens.valid_s)
        return False

    source = demo["sources"]["s2"]
    out = tmp_path / "out"
    recipe = write_recipe(
        out=str(out),
        sources={"s2": source | {"items": source["items"] | {"catalog": str(items)}}},
    )
    with sky.faults(1.0, where=hours_pass):
        assert main([str(recipe), "cube"]) == 0
    assert len(tokens.handed_out) >= 3  # the clock moved on at least twice
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    cube = {k: v for k, v in digests(files).items() if k.startswith("cube.zarr/s2")}
    assert cube == {k: v for k, v in local_run.items() if k.startswith("cube.zarr/s2")}

    said = capsys.readouterr()
    seen = files | {"out": said.out.encode(), "err": said.err.encode(), "log": caplog.text.encode()}
    for hidden in (b"signature+", b"signature%2B", b"of/maps1", b"of%2Fmaps1", b"an-old-one"):
        assert [name for name, content in seen.items() if hidden in content] == []
