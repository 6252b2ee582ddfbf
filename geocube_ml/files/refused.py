"""What an object store says when it does not do what it is asked, in words that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from geocube_ml.errors import StorageError, chain
from geocube_ml.files.place import Place, is_remote
from geocube_ml.files.secrets import redacted

_HOW = (
    "Keys, profile and endpoint are taken as the AWS tools take them (AWS_PROFILE, "
    "AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ~/.aws); `storage.s3` in the recipe sets them by bucket."
)
_ACCESS = {
    "AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "ExpiredToken", "InvalidToken", "AllAccessDisabled", "AccountProblem",
    "400",  # to a HEAD: an expired key, or another region
}  # fmt: skip
_NAME = {"NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "AuthorizationHeaderMalformed"}


def storage_error(error: BaseException, where: str | Place) -> StorageError | None:
    """The error of a store as one of ours, or None if it is no error of a store.

    Parameters
    ----------
    error : exception
        With its chain of causes.
    where : str or path
        What was asked for; named in the text.
    """
    said = [redacted(str(link)) for link in chain(error)]
    for link in chain(error):
        if isinstance(link, ProfileNotFound):
            return StorageError(f"{where} cannot be reached: {redacted(str(link))}. {_HOW}")
        if isinstance(link, NoCredentialsError | PartialCredentialsError | TokenRetrievalError):
            return StorageError(
                f"{where} cannot be reached: {redacted(str(link))}. {_HOW} Public data need "
                "`anonymous: true` there."
            )
        if isinstance(link, ClientError):
            code = str(link.response.get("Error", {}).get("Code"))
            if code in _ACCESS:
                return StorageError(f"{where}: access is refused ({said[-1]}). {_HOW}")
            if code in ("NotImplemented", "501"):
                return StorageError(
                    f"{where}: the store lacks something ({said[-1]}). A run needs conditional "
                    "writes (If-None-Match) for its `run.lock`; take another store, or a disk."
                )
            if code in _NAME:
                return StorageError(
                    f"{where}: there is no such bucket here ({said[-1]}). Correct its name, its "
                    f"region or the endpoint; a bucket is not made by a run. {_HOW}"
                )
            return StorageError(
                f"{where}: the store refuses a request ({said[-1]}). Run the same command again; "
                "it goes on where it stopped."
            )
        if isinstance(link, HTTPClientError | BotoCoreError):
            return StorageError(
                f"{where} does not answer ({redacted(str(link))}). Check the endpoint and the "
                f"network, and run the same command again. {_HOW}"
            )
    if isinstance(error, ValueError) and "Invalid endpoint" in said[0]:
        return StorageError(
            f"{where} cannot be reached ({said[0]}). An endpoint begins with http:// or https://. "
            f"{_HOW}"
        )
    if isinstance(error, PermissionError) and is_remote(where):
        return StorageError(f"{where}: access is refused ({said[0]}). {_HOW}")
    return None


@contextlib.contextmanager
def asked(where: str | Place) -> Iterator[None]:
    """Turn a store's errors within the block into ours.

    Raises
    ------
    StorageError
        It has no such bucket, refuses, or does not answer.
    """
    try:
        yield
    except Exception as error:
        if refused := storage_error(error, where):
            raise refused from error
        raise
