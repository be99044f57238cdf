"""The load of the FTP bench's row of TLS: one file by PROT P, from memory, over ftplib.

The work is OpenSSL's, so that Python is a small part of it; the share of its core is printed.
"""

import ftplib
import io
import json
import ssl
import sys
import time
from typing import Final

_BLOCK_BYTES: Final = 262_144


class _Zeros(io.RawIOBase):
    """So many zero bytes."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._block = bytes(_BLOCK_BYTES)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next of them."""
        count = min(size, self._left, _BLOCK_BYTES)
        self._left -= count
        return self._block[:count]


def main(port: int, size: int, user: str, password: str) -> None:
    """Send *size* bytes to *port* of loopback; prints one line of JSON."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = ftplib.FTP_TLS(context=context, timeout=300)  # noqa: S321 - it is what is measured
    client.connect("127.0.0.1", port)
    client.login(user, password)
    client.prot_p()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    client.storbinary("STOR tls.bin", _Zeros(size), _BLOCK_BYTES)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    client.quit()
    print(json.dumps({"seconds": took_s, "p99_s": took_s, "cpu_s": cpu_s}))  # noqa: T201 - its answer


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
