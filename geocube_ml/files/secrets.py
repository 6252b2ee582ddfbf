"""Text without the keys, signatures and passwords that may stand in it.

Addresses are signed, and libraries put them into their messages; those end in logs, reports and
issue trackers.  Names stay, values go, so that one still sees what was asked for.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

HIDDEN = "***"

_IN_ENVIRONMENT = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID",
    "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING",
    "PC_SDK_SUBSCRIPTION_KEY",
)  # fmt: skip
_SHORTEST = 6  # characters of a value that is looked for anywhere; shorter ones are words

# = and & may be written for a URL within a URL, for XML or for JSON
_IS = r"(?:=|%3[Dd]|\\u003[Dd])"
_AND = r"(?:[?&;]|%3[Ff]|%26|&amp;|\\u0026)"
_VALUE = r"(?:(?!%26|&amp;|\\u0026)[^\s&;\"'<>()\[\]{},])*"
# what a signature is made of and says: of little use to a reader, of some to a thief
_SIGNED = (
    r"sig|signature|s[evprsti]|spr|srt|sip|sdd|skoid|sktid|sk[etsv]|saoid|suoid|scid"
    r"|x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|key-pair-id|policy|expires"
    r"|(?:access_|auth_?|id_|refresh_)?token|api_?key|subscription-key|code|password|secret"
)
_SECRET = (
    r"sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid"
    r"|credential|sharedaccesssignature|accountkey"
)
_KEY = (
    r"(?:aws_?)?secret_?access_?key|(?:aws_?)?access_?key_?id|(?:aws_?)?session_?token"
    r"|x-amz-security-token|ocp-apim-subscription-key"
)

_RULES = [
    # the whole header, whatever its scheme
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"), 1),
    (re.compile(r"(?i)\b(bearer\s+)[^\s\"',;<>]{8,}"), 1),
    (re.compile(r"(://)[^\s/?#\"'<>]*@"), 1),
    (re.compile(rf"(?i)({_AND}(?:{_SIGNED}){_IS}){_VALUE}"), 1),
    (re.compile(rf"(?i)(?<![\w-])((?:{_SECRET}){_IS}){_VALUE}"), 1),
    (re.compile(rf"(?i)\b((?:{_KEY})[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&<>]+"), 1),
    (re.compile(r"\b((?:AKIA|ASIA))[A-Z0-9]{16}\b"), 1),
]


def redacted(text: str) -> str:
    """The text, its secrets replaced by ``***``.

    Parameters
    ----------
    text : str
        A message, an address, a line of a log.

    Returns
    -------
    str
        Without signatures in addresses (Azure's, S3's), passwords in addresses, authorization
        headers, and the values of the environment's keys.

    Examples
    --------
    >>> redacted("403 at https://a.blob.core.windows.net/c/B04.tif?st=2022&sig=aB%2F1= again")
    '403 at https://a.blob.core.windows.net/c/B04.tif?st=***&sig=*** again'
    >>> redacted("https://me:word@host/a.tif is not there")
    'https://***@host/a.tif is not there'
    """
    for name in _IN_ENVIRONMENT:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            for written in {value, quote(value), quote(value, safe="")}:
                text = text.replace(written, HIDDEN)
    for rule, kept in _RULES:
        text = rule.sub(lambda match, kept=kept: match[kept] + _tail(match[0]), text)  # type: ignore[misc]
    return text


def _tail(found: str) -> str:
    return HIDDEN + ("@" if found.endswith("@") else "")
