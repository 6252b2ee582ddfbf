"""What must not be seen in a log, and what must."""

import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geocube_ml.files import redacted

SECRET = st.text(string.ascii_letters + string.digits + "+/=-_.~", min_size=12, max_size=80)
SIGNED = [
    "sig", "se", "st", "sp", "sv", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token",
    "AWSAccessKeyId", "Signature", "x-amz-signature", "SIG",
]  # fmt: skip
KEYS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"]


@given(st.sampled_from(SIGNED), SECRET, st.sampled_from(["", "v=2&"]), st.booleans())
@example("sig", "a" * 20, "", True)
def test_signatures_in_addresses_are_hidden_and_the_rest_is_kept(name, secret, other, again):
    secret = quote(secret, safe="")
    more = f"&sig={secret}&sp=r" if again else ""
    text = f"403 at 'https://a.net/c/B04.tif?{other}{name}={secret}{more}' (twice)"
    got = redacted(text)
    assert secret not in got
    assert got.startswith(f"403 at 'https://a.net/c/B04.tif?{other}{name}=***")
    assert got.endswith("' (twice)")


@given(SECRET)
def test_a_signature_is_hidden_without_its_address_and_however_it_is_written(secret):
    secret = quote(secret, safe="")
    for text in (
        f"st=2022&sig={secret}",
        f"sig={secret}",
        f"BlobEndpoint=https://a.net;SharedAccessSignature=sv=1&sig={secret}",
        f"url=https%3A%2F%2Fa.net%2Fc%3Fst%3D1%26sig%3D{secret}%26sp%3Dr",
        f"<Url>https://a.net/c?st=1&amp;sig={secret}&amp;sp=r</Url>",
        f'{{"href": "https://a.net/c?st=1\\u0026sig={secret}"}}',
    ):
        assert secret not in redacted(text)


@given(SECRET.filter(lambda s: "/" not in s))
def test_passwords_in_addresses_are_hidden(secret):
    assert redacted(f"no https://me:{secret}@host/a.tif?x=1") == "no https://***@host/a.tif?x=1"


@given(SECRET, st.sampled_from(["Bearer", "bearer", "Basic", "AWS4-HMAC-SHA256 Credential=k,"]))
def test_headers_are_hidden(secret, scheme):
    for text in (
        f"Authorization: {scheme} {secret}",
        f"{{'Authorization': '{scheme} {secret}', 'Host': 'a.net'}}",
        f"authorization={scheme} {secret}",
    ):
        assert secret not in redacted(text)
    assert redacted(f"sent Bearer {secret} to a.net") == "sent Bearer *** to a.net"


@given(SECRET, st.sampled_from(KEYS), st.text(max_size=20))
def test_what_the_environment_holds_is_hidden_wherever_it_stands(secret, name, around):
    with pytest.MonkeyPatch.context() as patch:
        for key in KEYS:
            patch.delenv(key, raising=False)
        patch.setenv(name, secret)
        got = redacted(f"<{around}>{secret}<{around}> {quote(secret, safe='')}")
        assert secret not in got
        assert quote(secret, safe="") not in got


@pytest.mark.parametrize(
    "text",
    [
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG",
        '{"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG", "SessionToken": "wJalrXUtnFEMI/K7MDENG"}',
        "AWS_SESSION_TOKEN=wJalrXUtnFEMI/K7MDENG",
        "X-Amz-Security-Token: wJalrXUtnFEMI/K7MDENG",
    ],
)
def test_keys_are_hidden_by_their_names(text):
    assert "wJalr" not in redacted(text)


def test_the_name_of_a_key_is_hidden():
    assert redacted("InvalidAccessKeyId AKIAIOSFODNN7EXAMPLE") == "InvalidAccessKeyId AKIA***"


@given(st.text())
def test_what_is_hidden_once_stays_as_it_is(text):
    once = redacted(text)
    assert redacted(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "https://a.net/c/T33UUP_20220601_B02_10m.tif?v=2&collection=c cannot be read",
        "TIFFFillTile: got 0 bytes, expected 495470; st=3, the best=4",
        "s3://maps/open/a.tif: the bearer is not known, see http://a.net/@me",
        "first=1&last=2",
        "",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a")  # too short to be one
    assert redacted(text) == text
