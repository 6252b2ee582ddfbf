"""Rasters in S3, in Azure and on the web: who asks, what is survived, and what nobody sees."""

import logging
import shutil
import ssl
import subprocess
import traceback
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.errors import AccessError, InputError, MissingError, ReadError, StorageError
from geocube_ml.raster import (
    azure,
    cost,
    counted,
    from_raster,
    opened,
    read_header,
    read_onto,
    read_overview,
    remote,
    write_cog,
)
from geocube_ml.raster.aws import aws_options
from geocube_ml.spec.storage import S3Spec, StorageSpec
from tests.servers.faults import Answer
from tests.servers.files import Azure

GRID = GeoBox((700, 700), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
WINDOW = GRID[90:400, 90:500]  # several blocks of several rows of them
QUICK = StorageSpec(attempts=4, deadline_s=20)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    return rng.integers(1, 10_000, GRID.shape).astype("uint16")


@pytest.fixture(scope="module")
def cog(values, tmp_path_factory):
    """The bytes of a raster."""
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    return write_cog(path, values, GRID, nodata=0, blocksize=128).read_bytes()


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """Nothing of this machine says who asks, and nothing waits for long."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws" / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws" / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(azure, "_FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(azure, "_signatures", {})


def read(href, storage=QUICK, at=WINDOW):
    return read_onto(href, at, nodata=0, dtype="uint16", storage=storage)[0]


@pytest.fixture
def right(values):
    """Values of the window, bit for bit."""
    return partial(np.testing.assert_array_equal, values[90:400, 90:500], strict=True)


@pytest.fixture
def web(serve_files, tmp_path, cog):
    """A server with the raster `a.tif`."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "a.tif").write_bytes(cog)
    return serve_files(folder)


# -- faults -----------------------------------------------------------------------------------


def test_a_window_is_a_few_requests_and_the_next_one_fewer(web, right):
    right(read(f"{web.url}/a.tif"))
    assert web.counts() == {"head": 1, "get": 5}  # size, header, and the window's rows of blocks
    web.clear()
    read(f"{web.url}/a.tif", at=GRID[400:500, 400:500])
    assert web.count() == web.count(kind="get") == 1  # the header is kept


@pytest.mark.parametrize("at_most", [1, 2])
@pytest.mark.parametrize(
    "fault", ["slow_down", "too_many", "reset", "lost", "reset_body", "truncated"]
)
def test_faults_that_pass_are_survived(web, right, fault, at_most):
    with web.faults(faults=[fault], at_most=at_most):
        right(read(f"{web.url}/a.tif"))
    assert web.injected()[fault] >= at_most


def test_a_server_that_hangs_is_left_after_the_deadline(web, right):
    for kind in ("head", "get"):  # without a deadline it would take longer than a test may
        with web.faults(
            faults=["hang_get"], at_most=1, hang_s=900, where=lambda r, kind=kind: r.kind == kind
        ):
            right(read(f"{web.url}/a.tif?{kind}", StorageSpec(attempts=8, deadline_s=1)))
    assert web.injected()["hang_get"] >= 3


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_of_faults_is_survived(web, right, seed):
    faults = ["slow_down", "too_many", "reset", "lost", "reset_body", "truncated"]
    with web.faults(0.4, faults=faults, at_most=2, seed=seed):
        right(read(f"{web.url}/a.tif?{seed}", StorageSpec(attempts=8, deadline_s=20)))


def test_a_mask_within_a_remote_file_counts(web):
    """Its directory is the last of the file.  This server is of this process: it could not answer
    to a request that holds Python's lock.
    """
    planes = np.full(GRID.shape, 7, "uint16")
    mask = np.ones(GRID.shape, bool)
    mask[:200] = False
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            web.folder / "m.tif", "w", driver="GTiff", height=700, width=700, count=1,
            dtype="uint16", crs=str(GRID.crs), transform=GRID.transform, tiled=True,
        ) as dst,
    ):  # fmt: skip
        dst.write(planes, 1)
        dst.write_mask(mask)
    got = read(f"{web.url}/m.tif")
    np.testing.assert_array_equal(got, np.where(mask, planes, 0)[90:400, 90:500])


@pytest.mark.parametrize("fault", ["slow_down", "reset", "truncated"])
def test_faults_that_last_end_in_an_error(web, fault):
    with (
        web.faults(faults=[fault], at_most=10_000),
        pytest.raises(ReadError, match=r"/a\.tif cannot be read \(.+\)"),
    ):
        read(f"{web.url}/a.tif")
    assert 4 <= web.injected()[fault] <= 4 * 4 * 4  # ours, GDAL's, and its rows of blocks


def test_a_raster_that_is_damaged_is_tried_so_often_and_read_when_it_is_mended(web, cog, right):
    path = web.folder / "a.tif"
    path.write_bytes(cog[: len(cog) // 3])
    with pytest.raises(ReadError, match=r"/a\.tif cannot be read"):
        read(f"{web.url}/a.tif")
    assert web.count(kind="head") >= QUICK.attempts
    path.write_bytes(cog)
    right(read(f"{web.url}/a.tif"))


def test_not_there_is_not_asked_again_but_not_remembered_either(web, cog, right):
    for asked in (1, 2):  # the second time also to make GDAL forget
        web.clear()
        with pytest.raises(MissingError, match=r"There is no http://.*/later\.tif"):
            read(f"{web.url}/later.tif")
        assert web.counts() == {"head": asked}
    (web.folder / "later.tif").write_bytes(cog)
    right(read(f"{web.url}/later.tif"))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_is_not_asked_again(web, monkeypatch, status, right):
    monkeypatch.setattr(web, "answer", lambda _: Answer(status))
    with pytest.raises(AccessError, match=r"Access to http://.*/a\.tif was refused"):
        read(f"{web.url}/a.tif")
    assert web.counts() == {"head": 1}
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    right(read(f"{web.url}/a.tif"))


def test_what_is_no_raster_is_looked_at_twice(web):
    (web.folder / "a.tif").write_text("<html>Sign in</html>")
    with pytest.raises(ReadError, match=r"not recognized as being in a supported file format"):
        read(f"{web.url}/a.tif")
    assert web.count(kind="get") <= 3  # once of them to make GDAL forget


def test_nobody_there_is_an_error_after_a_few_attempts(logged):
    with pytest.raises(ReadError, match=r"http://127.0.0.1:9/a.tif cannot be read"):
        read("http://127.0.0.1:9/a.tif")
    assert logged().count("a.tif is read again in") == QUICK.attempts - 1


def test_a_raster_that_is_not_what_it_must_be_is_not_read_again(web):
    made = {"height": 4, "width": 4, "count": 1, "dtype": "uint8", "transform": GRID.transform}
    with rasterio.open(web.folder / "plain.tif", "w", driver="GTiff", **made) as dst:
        dst.write(np.ones((4, 4), "uint8"), 1)
    with pytest.raises(InputError, match="has no CRS"):
        read(f"{web.url}/plain.tif")
    assert web.count(kind="head") == 1


def test_headers_are_read_wherever_they_are(web, tmp_path):
    with opened(f"{web.url}/a.tif", QUICK) as src:
        assert src.shape == (700, 700)
    with opened(str(web.folder / "a.tif")) as src:
        assert src.shape == (700, 700)
    assert from_raster(f"{web.url}/a.tif", lambda src: src.count) == 1
    with pytest.raises(MissingError, match="There is no file"), opened(str(tmp_path / "no.tif")):
        pass
    with pytest.raises(MissingError, match="There is no http"), opened(f"{web.url}/no.tif"):
        pass


# -- S3 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _bucket(s3):
    return s3.bucket()


@pytest.fixture
def bucket(_bucket, s3, cog, tmp_path):
    """A bucket, and a folder of its own for each test: GDAL keeps what it has read."""
    name = f"{_bucket}/{tmp_path.name}"
    assert s3.request("PUT", f"{name}/maps/a.tif", cog).ok
    assert s3.request("PUT", f"{s3.open_bucket}/{name}/maps/a.tif", cog).ok
    return name


@pytest.fixture
def config(tmp_path):
    """Writes ``~/.aws``."""
    folder = tmp_path / "aws"

    def write(name, text):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return write


def environment(monkeypatch, s3, **other):
    for name, value in (s3.env | other).items():
        monkeypatch.setenv(name, value)


def test_s3_with_keys_and_endpoint_of_the_environment(s3, bucket, monkeypatch, right):
    environment(monkeypatch, s3)
    right(read(f"s3://{bucket}/maps/a.tif"))
    right(read(f"/vsis3/{bucket}/maps/a.tif"))


def test_s3_with_an_endpoint_for_s3_alone(s3, bucket, monkeypatch, right):
    environment(
        monkeypatch, s3,
        AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ENDPOINT_URL_S3=s3.endpoint_url,
    )  # fmt: skip
    right(read(f"s3://{bucket}/maps/a.tif"))


@pytest.mark.parametrize("how", ["environment", "recipe"])
def test_s3_with_a_profile_that_names_its_endpoint(s3, bucket, monkeypatch, config, how, right):
    config("config", f"[profile maps]\nregion = {s3.region}\nendpoint_url = {s3.endpoint_url}\n")
    config(
        "credentials",
        f"[maps]\naws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n"
        "[default]\naws_access_key_id = another\naws_secret_access_key = secret-of-another\n",
    )
    spec = StorageSpec(attempts=2)
    if how == "environment":
        monkeypatch.setenv("AWS_PROFILE", "maps")
    else:
        spec = StorageSpec(attempts=2, s3={f"s3://{bucket}": S3Spec(profile="maps")})
    right(read(f"s3://{bucket}/maps/a.tif", spec))


def test_s3_with_keys_of_a_process(s3, bucket, config, right, tmp_path):
    """As for single sign-on and roles: botocore runs it, GDAL would not."""
    said = tmp_path / "said.json"
    said.write_text(
        f'{{"Version": 1, "AccessKeyId": "{s3.key}", "SecretAccessKey": "{s3.secret}"}}'
    )
    config("config", f"[default]\ncredential_process = cat {said}\n")
    spec = S3Spec(endpoint_url=s3.endpoint_url, region=s3.region)
    right(read(f"s3://{bucket}/maps/a.tif", StorageSpec(s3={f"s3://{bucket}": spec})))


def test_keys_that_change_are_noticed(s3, bucket, config, right):
    spec = S3Spec(endpoint_url=s3.endpoint_url, region=s3.region)
    storage = StorageSpec(attempts=2, s3={f"s3://{bucket}": spec})
    config("credentials", "[default]\naws_access_key_id = old\naws_secret_access_key = worn-out\n")
    with pytest.raises(AccessError):
        read(f"s3://{bucket}/maps/a.tif", storage)
    config(
        "credentials",
        f"[default]\naws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n",
    )
    right(read(f"s3://{bucket}/maps/a.tif", storage))


def test_s3_without_a_name(s3, bucket, right):
    spec = S3Spec(endpoint_url=s3.endpoint_url, anonymous=True)
    storage = StorageSpec(
        attempts=2, s3={"s3://" + name: spec for name in (bucket, s3.open_bucket)}
    )
    right(read(f"s3://{s3.open_bucket}/{bucket}/maps/a.tif", storage))
    with pytest.raises(AccessError, match=r"Access to s3://.*/a\.tif was refused .*AWS_PROFILE"):
        read(f"s3://{bucket}/maps/a.tif", storage)


def test_s3_without_keys_says_how_to_give_them(s3, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    with pytest.raises(AccessError, match=r"No keys were found .*AWS_PROFILE.*anonymous: true"):
        read(f"s3://{bucket}/maps/a.tif")


def test_a_profile_that_is_not_there_is_named(bucket):
    spec = S3Spec(profile="nobody")
    with pytest.raises(AccessError, match=r"profile \(nobody\) could not be found.*AWS_PROFILE"):
        read(f"s3://{bucket}/maps/a.tif", StorageSpec(s3={f"s3://{bucket}": spec}))


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_keys_are_refused_at_once(s3, bucket, s3_faults, monkeypatch, wrong):
    environment(monkeypatch, s3.behind(s3_faults.url), **{wrong: "a-wrong-one-of-mine"})
    with pytest.raises(AccessError, match=r"Access to s3://.*/a\.tif was refused") as caught:
        read(f"s3://{bucket}/maps/a.tif")
    assert "a-wrong-one" not in "".join(traceback.format_exception(caught.value))
    assert s3_faults.count() <= 2


def test_an_object_or_bucket_that_is_not_there(s3, bucket, s3_faults, monkeypatch):
    environment(monkeypatch, s3.behind(s3_faults.url))
    with pytest.raises(MissingError, match=r"There is no s3://.*/no\.tif"):
        read(f"s3://{bucket}/maps/no.tif")
    with pytest.raises((MissingError, AccessError), match=r"no-such-bucket"):
        read("s3://no-such-bucket/a.tif")
    assert s3_faults.count() <= 4


@pytest.mark.parametrize("fault", ["slow_down", "reset", "reset_body", "truncated", "hang_get"])
def test_s3_survives_faults(s3, bucket, s3_faults, monkeypatch, fault, right):
    environment(monkeypatch, s3.behind(s3_faults.url))
    deadline_s = 1 if fault == "hang_get" else 20
    with s3_faults.faults(faults=[fault], at_most=1, hang_s=900):
        right(read(f"s3://{bucket}/maps/a.tif", StorageSpec(attempts=8, deadline_s=deadline_s)))
    assert s3_faults.injected()[fault] >= 1


def test_threads_with_other_keys_do_not_meet(s3, bucket, s3_faults, right, config, monkeypatch):
    """Options of the main thread are those of the process, unless a thread has its own."""
    environment(monkeypatch, s3)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    spec = S3Spec(endpoint_url=s3_faults.url, anonymous=True)
    storage = StorageSpec(attempts=1, s3={f"s3://{s3.open_bucket}": spec})
    hrefs = [f"s3://{b}/maps/a.tif" for b in (bucket, f"{s3.open_bucket}/{bucket}")] * 6
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(read, href, storage) for href in hrefs]
        for href in hrefs[:4]:
            right(read(href, storage))
        for future in futures:
            right(future.result())
    assert all(f"/{s3.open_bucket}/" in entry.path for entry in s3_faults.log)


def test_keys_do_not_stay_in_the_process(s3, bucket, monkeypatch):
    environment(monkeypatch, s3)
    read(f"s3://{bucket}/maps/a.tif")
    assert rasterio.env.get_gdal_config("AWS_SECRET_ACCESS_KEY") in (None, s3.secret)
    for name in s3.env:
        monkeypatch.delenv(name)
    assert rasterio.env.get_gdal_config("AWS_SECRET_ACCESS_KEY") is None


@pytest.mark.parametrize(
    ("said", "headers"),
    [
        ({"anonymous": True}, {"Authorization": None, "x-amz-request-payer": None}),
        ({"requester_pays": True}, {"x-amz-request-payer": "requester"}),
        ({"region": "eu-central-1"}, {"Authorization": "/eu-central-1/s3/aws4_request"}),
        ({}, {"x-amz-security-token": "a-session-token"}),
    ],
)
def test_a_request_says_what_the_recipe_says(web, monkeypatch, said, headers, right):
    seen = []
    answer = web.answer
    monkeypatch.setattr(web, "answer", lambda request: seen.append(request) or answer(request))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    (web.folder / "maps").mkdir()
    (web.folder / "a.tif").rename(web.folder / "maps" / "a.tif")
    spec = S3Spec(endpoint_url=web.url, **said)
    right(read("s3://maps/a.tif", StorageSpec(s3={"s3://maps": spec})))
    for request in seen:
        assert request.path == "/maps/a.tif"
        for name, value in headers.items():
            found = request.headers.get(name)
            assert found is None if value is None else value in found


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_a_certificate_is_trusted_if_the_aws_tools_would_trust_it(
    web, monkeypatch, tmp_path, right
):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 2 -addext"
    made = ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setattr(
        web._http, "socket", context.wrap_socket(web._http.socket, server_side=True)
    )
    spec = S3Spec(endpoint_url=web.url.replace("http:", "https:"), anonymous=True)
    storage = StorageSpec(attempts=3, s3={"s3://web": spec})
    (web.folder / "web").mkdir()
    (web.folder / "a.tif").rename(web.folder / "web" / "a.tif")
    with pytest.raises(ReadError, match="certificate"):
        read("s3://web/a.tif", storage)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    right(read("s3://web/a.tif", storage))


@pytest.mark.parametrize(
    ("said", "bucket", "host", "virtual"),
    [
        ({"region": "eu-central-1"}, "maps", "s3.amazonaws.com", "TRUE"),
        ({}, "maps", "s3.amazonaws.com", "TRUE"),
        ({"region": "eu-central-1"}, "maps.org", "s3.amazonaws.com", "FALSE"),
        ({"region": "cn-north-1"}, "maps", "s3.cn-north-1.amazonaws.com.cn", "FALSE"),
        ({"endpoint_url": "https://store.org:9000/"}, "maps", "store.org:9000", "FALSE"),
    ],
)
def test_a_bucket_is_part_of_the_name_at_amazon_alone(said, bucket, host, virtual):
    spec = S3Spec(anonymous=True, **said)
    found = aws_options(f"s3://{bucket}/a.tif", StorageSpec(s3={f"s3://{bucket}": spec}))
    assert (found["AWS_S3_ENDPOINT"], found["AWS_VIRTUAL_HOSTING"]) == (host, virtual)
    assert found["AWS_REGION"] == said.get("region", "us-east-1")
    assert found["AWS_HTTPS"] == "YES"


# -- Azure ------------------------------------------------------------------------------------

BLOB = "https://maps1.blob.core.windows.net/tiles/33/a.tif"


@pytest.fixture
def sky(token_server, tmp_path, cog, monkeypatch):
    """Azure's server; its raster is at `BLOB`."""
    settings, _ = azure._planetary_computer()  # imported without its warnings
    folder = tmp_path / "sky"
    (folder / "maps1" / "tiles" / "33").mkdir(parents=True)
    (folder / "maps1" / "tiles" / "33" / "a.tif").write_bytes(cog)
    monkeypatch.setenv("PC_SDK_SAS_URL", token_server.sas_url)
    monkeypatch.setattr(azure, "_now", lambda: token_server.tokens.clock.now().timestamp())
    type(settings).get.cache_clear()
    with Azure(folder, tokens=token_server.tokens) as server:
        monkeypatch.setenv("GDAL_HTTP_PROXY", server.url)
        monkeypatch.setenv("CPL_AZURE_USE_HTTPS", "NO")
        remote._suspect.add(BLOB)  # another server had it
        yield server
    type(settings).get.cache_clear()


@pytest.fixture
def tokens(token_server):
    return token_server.tokens


def test_a_blob_is_signed_when_it_is_read_and_once_for_all_threads(sky, tokens, right):
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(read, [BLOB] * 8):
            right(got)
    assert tokens.handed_out == [("maps1", "tiles")]
    assert all("sig=" in entry.path for entry in sky.log)


def test_an_old_signature_in_an_address_is_not_used(sky, tokens, right):
    right(read(f"{BLOB}?st=2020&se=2021&sp=r&sv=1&sr=c&sig=an-old-one"))
    assert not any("an-old-one" in entry.path for entry in sky.log)


def test_a_signature_is_renewed_before_it_ends(sky, tokens, right):
    right(read(BLOB))
    tokens.clock.move(3600 - QUICK.attempts * QUICK.deadline_s - 100)
    right(read(BLOB, at=WINDOW))
    assert len(tokens.handed_out) == 1
    tokens.clock.move(150)  # before it ends, less than all attempts before
    read(BLOB, at=GRID[500:600, 500:600])
    assert len(tokens.handed_out) == 2
    assert sky.count(status=403) == 0


def test_a_short_lived_signature_is_used_for_half_of_its_life(sky, tokens):
    tokens.valid_s = 60  # less than all attempts may take
    for _ in range(3):
        read(BLOB)
    assert len(tokens.handed_out) == 1


def test_a_signature_that_is_withdrawn_is_renewed_once(sky, tokens, right):
    right(read(BLOB))
    tokens.revoke()
    remote._suspect.add(BLOB)
    right(read(BLOB))
    assert len(tokens.handed_out) == 2


def test_a_signature_that_ends_between_header_and_pixels_is_renewed(sky, tokens, right):
    """GDAL knows size and header by then, and says only that a block could not be read."""
    read(BLOB, at=GRID[600:610, 600:610])
    tokens.revoke()
    right(read(BLOB))
    assert len(tokens.handed_out) == 2


def test_a_signature_that_is_refused_also_when_new_is_told(sky, tokens, monkeypatch):
    monkeypatch.setattr(tokens, "opens", lambda *_: False)
    with pytest.raises(AccessError, match=r"Access to https://maps1.*/a\.tif was refused"):
        read(BLOB)
    assert len(tokens.handed_out) == 2
    assert sky.count() <= 4


def test_a_container_that_is_not_known_is_read_unsigned(sky, token_server, monkeypatch):
    monkeypatch.setattr(token_server, "answer", lambda _: Answer(404, body=b"{}"))
    asked = []
    monkeypatch.setattr(azure.requests, "get", count_calls(azure.requests.get, asked))
    # GDAL asks for the bytes over TLS, which the server does not speak
    for _ in range(2):
        source = remote._source(BLOB, QUICK)
        assert (source.path, source.secrets) == (f"/vsicurl/{BLOB}", {})
    assert len(asked) == 1


def test_public_accounts_are_not_signed():
    blob = "https://ai4edatasetspublicassets.blob.core.windows.net/assets/a.tif"
    assert remote._source(blob, QUICK).path == f"/vsicurl/{blob}"


@pytest.mark.parametrize("fault", ["slow_down", "reset", "truncated"])
def test_a_token_server_in_trouble_is_asked_again(sky, token_server, fault, right):
    with token_server.faults(faults=[fault], at_most=2):
        right(read(BLOB))


def test_a_token_server_that_is_away_is_told_before_long(sky, monkeypatch):
    monkeypatch.setattr(azure._planetary_computer()[0], "sas_url", "http://127.0.0.1:9/token")
    with pytest.raises(AccessError, match=r"No signature for maps1/tiles .*no answer") as caught:
        read(BLOB)
    assert isinstance(caught.value, StorageError)


def test_a_token_server_that_hangs_is_left(sky, token_server):
    with (  # without a deadline it would take longer than a test may
        token_server.faults(faults=["hang_get"], at_most=99, hang_s=900),
        pytest.raises(AccessError, match="no answer"),
    ):
        read(BLOB, StorageSpec(attempts=2, deadline_s=1))
    assert token_server.count() <= 2


def test_accounts_with_like_named_containers_do_not_meet(sky, values):
    other = sky.folder / "maps2" / "tiles" / "33" / "a.tif"
    write_cog(other, values[::-1], GRID, nodata=0, blocksize=128)
    got = read(BLOB), read(BLOB.replace("maps1", "maps2"))
    np.testing.assert_array_equal(got[0], values[90:400, 90:500])
    np.testing.assert_array_equal(got[1], values[::-1][90:400, 90:500])


def test_azures_own_variables_do_not_sign(sky, monkeypatch, right):
    for name in ("ACCESS_KEY", "ACCESS_TOKEN", "ACCOUNT", "SAS_TOKEN"):
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", "d3Jvbmc=")
    monkeypatch.setenv("AZURE_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", "AccountName=x;AccountKey=d3Jvbmc=;BlobEndpoint=http://y"
    )
    right(read(BLOB))


def test_names_are_as_they_are_written(sky, cog, right):
    (sky.folder / "maps1" / "tiles" / "a b+c.tif").write_bytes(cog)
    right(read("https://maps1.blob.core.windows.net/tiles/a%20b+c.tif"))


# -- what nobody sees -------------------------------------------------------------------------


def count_calls(call, seen):
    def counted(*args, **kwargs):
        seen.append(args)
        return call(*args, **kwargs)

    return counted


def everything(error):
    """All that a log of an error can show, hidden contexts too."""
    said, seen = "".join(traceback.format_exception(error)), set()
    links = [error]
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            said += f"{link!r} {link} {link.args}"
            links += [link.__cause__, link.__context__]
    return said


@pytest.fixture
def logged(caplog):
    """What our own and rasterio's loggers say at any level."""
    caplog.set_level(logging.DEBUG)

    def text():
        ours = ("geocube_ml", "rasterio")
        return "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(ours))

    return text


@pytest.mark.parametrize("fault", [None, "truncated", "slow_down", "gone", "refused"])
def test_no_signature_is_seen(sky, tokens, monkeypatch, logged, fault):
    given_out = []
    new = tokens.new

    def noted(*names):
        expiry, token = new(*names)
        given_out.append(token)
        return expiry, token

    monkeypatch.setattr(tokens, "new", noted)
    said = ""
    if fault == "gone":
        (sky.folder / "maps1" / "tiles" / "33" / "a.tif").unlink()
    if fault == "refused":
        monkeypatch.setattr(tokens, "opens", lambda *_: False)
    faults = {"faults": [fault], "at_most": 999} if fault in ("truncated", "slow_down") else {}
    with sky.faults(1.0 if faults else 0.0, **faults):
        if fault is None:
            read(BLOB)
        else:
            with pytest.raises((ReadError, MissingError)) as caught:
                read(BLOB)
            said = everything(caught.value)
            assert BLOB in said
    assert given_out
    assert (fault is not None) or "/vsiaz/tiles/33/a.tif" in logged()
    for token in given_out:
        signature = urllib.parse.parse_qs(token)["sig"][0]
        for hidden in (signature, urllib.parse.quote(signature, safe=""), token):
            assert hidden not in said
            assert hidden not in logged()


@pytest.mark.parametrize("fault", ["truncated", "slow_down", None])
def test_no_key_is_seen(s3, bucket, s3_faults, monkeypatch, logged, fault):
    key = "a-key-that-opens-nothing"
    environment(monkeypatch, s3.behind(s3_faults.url))
    if fault is None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"{key}-token")
    with (
        s3_faults.faults(faults=[fault or "reset"], at_most=999 if fault else 0),
        pytest.raises(ReadError) as caught,
    ):
        read(f"s3://{bucket}/maps/a.tif", StorageSpec(attempts=2, deadline_s=20))
    for hidden in (key, s3.secret, s3.key):
        assert hidden not in everything(caught.value)
        assert hidden not in logged()


def test_no_signature_of_an_address_is_seen(web, logged):
    """Of another kind than those that we make; GDAL has it in the raster's name."""
    query = "X-Amz-Credential=k%2Fus-east-1&X-Amz-Signature=0123456789abcdef"
    read(f"{web.url}/a.tif?{query}")
    with pytest.raises(MissingError) as missing:
        read(f"{web.url}/no.tif?{query}")
    with web.faults(faults=["truncated"], at_most=999), pytest.raises(ReadError) as caught:
        read(f"{web.url}/a.tif?other&{query}")
    (web.folder / "b.tif").write_text("<html>")
    with pytest.raises(ReadError) as wrong:
        read(f"{web.url}/b.tif?{query}")
    assert "X-Amz-Signature=***" in logged()
    for said in (*(everything(e.value) for e in (missing, caught, wrong)), logged()):
        assert "0123456789abcdef" not in said


def test_attempts_are_told_in_the_log(web, logged):
    path = web.folder / "a.tif"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ReadError):
        read(f"{web.url}/a.tif")
    assert logged().count("a.tif is read again in") == QUICK.attempts - 1


def test_a_raster_that_was_replaced_is_read_anew_when_it_is_distrusted(web, tmp_path):
    path = web.folder / "replaced.tif"
    for value in (1, 7):
        write_cog(path, np.full((64, 64), value, np.uint8), GRID)
        remote.distrust(f"{web.url}/replaced.tif")
        values = from_raster(f"{web.url}/replaced.tif", lambda src: src.read(1))
        assert (values == value).all()


# -- the price --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [WINDOW, GRID[0:128, 0:128], GRID[130:250, :], GRID[130:600, :], GRID, GRID[600:700, 0:300]],
    ids=["inside", "a block", "a row", "rows", "all", "the end"],
)
def test_a_window_costs_what_its_header_foretells(web, at):
    href = f"{web.url}/a.tif?{id(at)}"
    header = read_header(href, QUICK)
    price = cost(header, at, (1,), "nearest", "average")
    web.clear()
    with counted() as counts:
        read(href, at=at)
    assert (price.blocks, price.decoded_bytes) == (counts.blocks, counts.decoded_bytes)
    assert price.requests == web.count()
    sent = sum(entry.sent for entry in web.log)  # in whole pages of 16 KiB
    assert 0 <= sent - price.compressed_bytes <= 2 * 16_384 * price.requests


def test_a_header_says_the_same_from_a_server_and_from_a_disk(web):
    far, near = read_header(f"{web.url}/a.tif", QUICK), read_header(str(web.folder / "a.tif"))
    for name in ("height", "width", "count", "dtype", "crs", "transform", "nodata", "block"):
        assert getattr(far, name) == getattr(near, name)
    assert far.interleaved == near.interleaved
    assert far.overviews == near.overviews == ((350, 350), (175, 175), (87, 87))
    np.testing.assert_array_equal(far.block_bytes, near.block_bytes)
    assert near.file_bytes == (web.folder / "a.tif").stat().st_size


def test_a_coarse_look_takes_three_requests(web, values):
    header = read_header(str(web.folder / "a.tif"))
    got, nodata = read_overview(f"{web.url}/a.tif", 100, (1,), QUICK)
    assert got.shape == (1, *header.overviews[-1])
    assert nodata == 0
    assert set(np.unique(got)) <= set(np.unique(values))
    assert web.count() <= 3
