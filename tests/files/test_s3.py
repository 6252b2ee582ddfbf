"""Files in a real object store, and what becomes of them when it stumbles."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import pickle
import time
from types import SimpleNamespace

import pytest
import s3fs
from aiobotocore.httpsession import AIOHTTPSession
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from geocube_ml.files import (
    below,
    content_digest,
    discard,
    forget_clients,
    is_remote,
    local_copy,
    names,
    place,
    read_json,
    storage_error,
    whole_file,
    whole_folder,
    write_json,
)
from geocube_ml.files.s3 import _length, s3_options
from geocube_ml.spec.storage import S3Spec, StorageSpec

HASTY = StorageSpec(attempts=8, deadline_s=1)


@pytest.fixture
def bucket(s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()


@pytest.fixture
def folder(bucket):
    return place(f"s3://{bucket}/run")


@pytest.fixture
def stumbling(s3, s3_faults, bucket):
    """The same folder through a proxy, for a client that waits a second."""
    spec = S3Spec(endpoint_url=s3_faults.url)
    storage = HASTY.model_copy(update={"s3": {f"s3://{bucket}": spec}})
    return place(f"s3://{bucket}/run", storage)


def test_a_file_is_an_object_and_read_back(folder):
    with whole_file(folder / "a.txt") as local:
        local.write_text("whole")
        assert not (folder / "a.txt").exists()
    assert (folder / "a.txt").read_text() == "whole"
    write_json(folder / "b.json", {"b": [1, 2]})
    assert read_json(folder / "b.json") == {"b": [1, 2]}
    assert names(folder) == {"a.txt", "b.json"}
    assert is_remote(folder)


def test_a_failed_file_leaves_the_earlier_one(folder):
    write_json(folder / "a.json", 1)
    with pytest.raises(ZeroDivisionError), whole_file(folder / "a.json") as local:
        local.write_text(str(1 / 0))
    assert read_json(folder / "a.json") == 1


def test_a_folder_replaces_the_earlier_one(folder):
    for content in ("old", "new"):
        with whole_folder(folder / "bundle") as local:
            (local / "bundle.json").write_text("{}")
            (local / "weights").mkdir()
            (local / "weights" / content).write_text(content)
    found = [str(path.relative_to(folder)) for path in below(folder / "bundle", "")]
    assert found == ["bundle/bundle.json", "bundle/weights/new"]
    with local_copy(folder / "bundle") as local:
        assert (local / "weights" / "new").read_text() == "new"


def test_what_makes_a_folder_whole_is_written_last_and_removed_first(stumbling, s3_faults):
    with whole_folder(stumbling / "bundle") as local:
        for name in ("bundle.json", "a.bin", "z.bin"):
            (local / name).write_text(name)
    puts = [entry.path for entry in s3_faults.log if entry.kind == "put"]
    assert puts[-1].split("?")[0].endswith("bundle.json")
    s3_faults.clear()
    discard(stumbling / "bundle")
    assert below(stumbling, "") == []
    deletes = [entry for entry in s3_faults.log if entry.method in ("POST", "DELETE")]
    assert len(deletes) == 2  # bundle.json alone, then the rest


def test_nothing_is_not_there(folder):
    assert names(folder) == set()
    assert below(folder, "") == []
    assert not (folder / "a.json").exists()
    discard(folder)


def test_a_folder_of_many_names_costs_a_request_a_thousand(folder, stumbling, s3_faults):
    wanted = {f"{n:04d}_0000.json" for n in range(1001)}
    folder.fs.pipe({f"{folder.path}/tiles/{name}": b"{}" for name in wanted})
    s3_faults.clear()
    assert names(stumbling / "tiles") == wanted
    assert s3_faults.counts() == {"list": 2}


def test_a_place_is_sent_to_workers_without_a_key(s3, folder):
    sent = pickle.dumps(folder)
    assert s3.secret.encode() not in sent
    assert s3.key.encode() not in sent
    again = pickle.loads(sent)
    write_json(again / "a.json", 1)
    assert read_json(folder / "a.json") == 1


def test_equal_content_has_an_equal_digest_wherever_it_lies(folder, tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (folder / "b").write_bytes(b"content")
    assert content_digest([folder / "b"]) == content_digest([tmp_path / "a"])


@pytest.mark.parametrize(
    "fault",
    ["slow_down", "too_many", "reset", "lost", "reset_body", "truncated", "hang_put", "hang_get"],
)
def test_a_store_that_stumbles_is_asked_again(fault, stumbling, s3_faults):
    content = {"long": "x" * 300_000}
    with s3_faults.faults(1.0, faults=(fault,), hang_s=900, at_most=1):
        write_json(stumbling / "a.json", content)
        assert read_json(stumbling / "a.json") == content
    assert s3_faults.injected().get(fault, 0) >= 1


def test_a_store_that_never_answers_is_given_up(stumbling, s3_faults):
    with s3_faults.faults(1.0, faults=("hang_put",), hang_s=900, at_most=1000):
        few = HASTY.model_copy(update={"attempts": 1, "deadline_s": 0.05})
        spec = S3Spec(endpoint_url=s3_faults.url)
        where = place(str(stumbling), few.model_copy(update={"s3": {str(stumbling): spec}}))
        with pytest.raises(Exception) as caught:  # noqa: PT011  as s3fs raises it
            write_json(where / "a.json", 1)
    assert "does not answer" in str(storage_error(caught.value, where))


def test_at_most_so_many_requests_are_in_flight(s3_faults, bucket, folder):
    folder.fs.pipe({f"{folder.path}/many/{n}": b"x" for n in range(9)})
    spec = {f"s3://{bucket}": S3Spec(endpoint_url=s3_faults.url)}
    few = place(f"s3://{bucket}/run", StorageSpec(s3=spec, requests=3))
    paths = few.fs.find(f"{few.path}/many")
    began = []

    def held(request):
        began.append(time.monotonic())
        return True

    with s3_faults.faults(1.0, faults=("hang_get",), hang_s=0.5, at_most=1, where=held):
        assert len(few.fs.cat(paths)) == 9
    assert 1 <= sum(at < began[0] + 0.4 for at in began) <= 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another"}, "access is refused"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "access is refused"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer"),
        ({"AWS_PROFILE": "not-there"}, "not-there"),
    ],
)
def test_a_refusal_says_how_access_is_given_and_holds_no_key(
    change, said, bucket, s3, monkeypatch, tmp_path
):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    storage = StorageSpec(attempts=1, deadline_s=60, s3={f"s3://{bucket}/else": S3Spec()})
    where = place(f"s3://{bucket}/else/{said}", storage)
    where.fs.clear_instance_cache()
    with pytest.raises(Exception) as caught:  # noqa: PT011  as s3fs raises it
        place(f"s3://{bucket}/else/{said}", storage).write_text("x")
    text = str(storage_error(caught.value, where))
    assert said in text
    assert "AWS_PROFILE" in text
    assert s3.secret not in text
    assert "another" not in text


def test_a_bucket_that_is_not_there_is_named(bucket):
    where = place("s3://there-is-no-such-bucket/run")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        write_json(where / "a.json", 1)
    assert "there-is-no-such-bucket" in str(storage_error(caught.value, where))


def test_a_public_bucket_is_read_without_a_name(s3, monkeypatch):
    s3.request("PUT", f"{s3.open_bucket}/hello.txt", b"hello")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    storage = StorageSpec(s3={f"s3://{s3.open_bucket}": S3Spec(anonymous=True)})
    assert place(f"s3://{s3.open_bucket}/hello.txt", storage).read_text() == "hello"


def test_encryption_and_who_pays_are_asked_for(s3_faults, bucket):
    spec = S3Spec(
        endpoint_url=s3_faults.url, encryption="aws:kms", kms_key="a-key", requester_pays=True
    )
    storage = StorageSpec(s3={f"s3://{bucket}": spec}, attempts=1)
    where = place(f"s3://{bucket}/run/a.json", storage)
    seen = []
    look = s3_faults.faults(1.0, where=lambda request: seen.append(dict(request.headers)))
    with look, contextlib.suppress(OSError):  # the server may know no such key
        write_json(where, 1)
    sent = {k.lower(): v for headers in seen for k, v in headers.items()}
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "a-key"
    assert sent["x-amz-request-payer"] == "requester"


def test_the_longest_prefix_decides():
    storage = StorageSpec(
        s3={"s3://maps": S3Spec(region="eu-west-1"), "s3://maps/open": S3Spec(anonymous=True)}
    )
    assert storage.of("s3://maps/a").region == "eu-west-1"
    assert storage.of("s3://maps/open/a").anonymous
    assert storage.of("s3://maps/opened").region == "eu-west-1"
    assert storage.of("s3://other/a") == S3Spec()


@pytest.mark.parametrize(
    ("headers", "body", "bytes_"),
    [
        ({}, None, 0),
        ({}, b"12345", 5),
        ({}, io.BytesIO(b"12345"), 5),
        ({}, object(), 0),
        ({"Content-Length": b"7"}, object(), 7),
        ({"content-length": "7"}, object(), 7),
        ({"X-Amz-Decoded-Content-Length": "9"}, object(), 9),
        ({"Content-Length": "odd"}, b"12345", 5),
    ],
)
def test_the_length_of_a_request_is_what_it_says_or_holds(headers, body, bytes_):
    assert _length(SimpleNamespace(headers=headers, body=body)) == bytes_


def test_a_large_upload_may_take_longer_than_the_deadline(bucket, monkeypatch):
    send = AIOHTTPSession.send

    async def slow(self, request):
        if request.method == "PUT":
            await asyncio.sleep(0.7)
        return await send(self, request)

    monkeypatch.setattr(AIOHTTPSession, "send", slow)
    where = place(f"s3://{bucket}/run/large", StorageSpec(attempts=1, deadline_s=0.5))
    where.fs.pipe_file(where.path, b"x" * 5_000_000)
    assert place(f"s3://{bucket}/run/large").stat().st_size == 5_000_000


def test_keys_that_were_corrected_are_taken(bucket, s3, monkeypatch):
    forget_clients()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mistyped")
    with pytest.raises(PermissionError):
        write_json(place(f"s3://{bucket}/run/a.json"), 1)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    forget_clients()
    write_json(place(f"s3://{bucket}/run/a.json"), 1)
    assert read_json(place(f"s3://{bucket}/run/a.json")) == 1


@pytest.mark.filterwarnings("error")
def test_forgotten_clients_close_their_connections(bucket):
    """Of zarr's loop, too: what is not closed warns when it is collected."""
    options = s3_options(f"s3://{bucket}", StorageSpec(deadline_s=7))
    fs = s3fs.S3FileSystem(**options, asynchronous=True)
    assert not sync(FsspecStore(fs, path=f"{bucket}/run").exists("a"))
    place(f"s3://{bucket}/run/a.json", StorageSpec(deadline_s=7)).exists()
    session = fs._s3._endpoint.http_session
    connections = list(session._sessions.values())
    del fs, session
    forget_clients()
    gc.collect()
    until = time.monotonic() + 90
    while not all(each.closed for each in connections) and time.monotonic() < until:
        time.sleep(0.02)
    assert connections
    assert all(each.closed for each in connections)
