"""What a browser may do at this door from a page of another origin (the Fetch standard).  Pure.

The rule: any origin may, because what opens the door is a token that the page must hold itself; no
cookie or other right of the browser counts here.
"""

from collections.abc import Mapping
from typing import Final

_EXPOSED: Final = (
    "Location",
    "Repr-Digest",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "ZT-Upload-Id",
)
_ALLOWED: Final = (
    "Authorization",
    "Content-Digest",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Type",
    "Repr-Digest",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Want-Repr-Digest",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
)
_MAX_AGE_S: Final = 7_200  # seconds: what browsers keep of a preflight at most


def headers_for(headers: Mapping[str, str], verbs: tuple[str, ...]) -> dict[str, str]:
    """Return what the answer to a request with *headers* says to a browser; else nothing.

    *verbs* are those of the resource.
    """
    if "Origin" not in headers:
        return {}
    said = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": ", ".join(_EXPOSED),
    }
    if "Access-Control-Request-Method" in headers:
        said["Access-Control-Allow-Methods"] = ", ".join(verbs)
        said["Access-Control-Allow-Headers"] = ", ".join(_ALLOWED)
        said["Access-Control-Max-Age"] = str(_MAX_AGE_S)
    return said
