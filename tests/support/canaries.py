"""Values that must never be seen in a log, a metric or a reply: one of each personal kind."""

from typing import Final

CANARIES: Final = {
    "e-mail": "jane.doe@photographers.example",
    "person": "Jane Doe",
    "IPv4": "192.0.2.77",
    "IPv4 and port": "192.0.2.77:50412",
    "IPv6": "2001:db8::77",
    "path": "/srv/jane.doe/IMG_0001.JPG",
    "file name": "IMG_0001.JPG",
    "user agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "password": "correct-horse-battery",
    "short password": "hunter2",
    "camera's secret": "k7f3q2m9c4d8w5x6y2z3",
    "capability": "mfzwizltoqzgczlbmfzwizltqe",
    "token": "zt_live_9f8e7d6c5b4a39281706f5e4",
    "destination": "sftp.agency.example",
    "forged line": '\n{"fact": "process.ready", "by": "control"}',
}
