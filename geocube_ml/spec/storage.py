"""How object stores are reached; who may read and write is said by the environment, as ever."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import EXECUTION, Spec


class S3Spec(Spec):
    """How one bucket, or a part of it, is reached.

    Keys, tokens and whatever is not given here are taken as the AWS tools take them: from the
    environment (``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ...), ``~/.aws``,
    or the machine's role.  A recipe holds no secret.
    """

    profile: str | None = Field(None, json_schema_extra=EXECUTION)
    """Profile of ``~/.aws/config`` and ``~/.aws/credentials``."""

    endpoint_url: str | None = Field(None, json_schema_extra=EXECUTION)
    """``https://host:port`` of a store that is not Amazon's."""

    region: str | None = Field(None, json_schema_extra=EXECUTION)
    """Such as ``eu-central-1``."""

    anonymous: bool = Field(False, json_schema_extra=EXECUTION)
    """Public data: send no signature."""

    requester_pays: bool = Field(False, json_schema_extra=EXECUTION)
    """Agree to pay for what is read."""

    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, json_schema_extra=EXECUTION
    )
    """Encryption at rest, asked for with each object that is written."""

    kms_key: str | None = Field(None, json_schema_extra=EXECUTION)
    """Id or ARN of the key for ``aws:kms``; the bucket's own by default."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.anonymous and (self.profile or self.requester_pays):
            both = "profile" if self.profile else "requester_pays"
            raise ValueError(f"`anonymous` sends no name, `{both}` needs one; give one of them")
        if self.kms_key and not str(self.encryption).startswith("aws:kms"):
            raise ValueError(
                f"`kms_key` needs `encryption: aws:kms`, which is {self.encryption}; add it"
            )
        if self.endpoint_url and not self.endpoint_url.startswith(("http://", "https://")):
            raise ValueError(
                f"`endpoint_url` begins with http:// or https://, got {self.endpoint_url!r}"
            )
        if self.endpoint_url and "@" in self.endpoint_url:
            raise ValueError("`endpoint_url` holds a name or key; put it into the environment")
        return self


class StorageSpec(Spec):
    """How stores are reached, and how patiently."""

    s3: dict[str, S3Spec] = Field({}, json_schema_extra=EXECUTION)
    """``s3://bucket`` or ``s3://bucket/prefix`` to its settings; the longest that fits counts."""

    attempts: int = Field(5, ge=1, json_schema_extra=EXECUTION)
    """How often a request is tried that failed for a passing reason: throttled (429, 503), timed
    out, cut off, answered in part."""

    deadline_s: float = Field(60, gt=0, json_schema_extra=EXECUTION)
    """Seconds in which a request must be answered, however busy its connection looks; sending a
    large body gets more."""

    requests: int = Field(32, ge=1, json_schema_extra=EXECUTION)
    """At most so many requests in flight to a store, from each process."""

    lease_s: float = Field(40, gt=0, json_schema_extra=EXECUTION)
    """A run that gives no sign of life for so long is taken for dead, and another may go on in
    its folder."""

    @field_validator("s3")
    @classmethod
    def _prefixes(cls, s3: dict[str, S3Spec]) -> dict[str, S3Spec]:
        for prefix in s3:
            if not prefix.startswith("s3://") or len(prefix) < len("s3://abc"):
                raise ValueError(
                    f"name a bucket as s3://bucket or s3://bucket/prefix, got {prefix!r}"
                )
        return s3

    def of(self, url: str) -> S3Spec:
        """The settings for an ``s3://`` address.

        Examples
        --------
        >>> spec = StorageSpec(s3={"s3://maps": {"region": "eu-west-1"},
        ...                        "s3://maps/open": {"anonymous": True}})
        >>> spec.of("s3://maps/open/a.tif").anonymous, spec.of("s3://maps/opened.tif").anonymous
        (True, False)
        """
        fits = [p for p in self.s3 if f"{url}/".startswith(p.rstrip("/") + "/")]
        return self.s3[max(fits, key=len)] if fits else S3Spec()
