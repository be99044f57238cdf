import json
from pathlib import Path

from ops import ready
from ops.programs import Place
from zentransfer.ids import Region

PLACE = Place(Path("/srv/zt"), 8000, (Region.US,), 60.0)
PIDS = {"control": 1, "us-ingest-0": 2, "us-delivery-0": 3}


def test_the_document_is_that_of_the_contract() -> None:
    assert json.loads(ready.text(ready.document(PLACE, PIDS))) == {
        "control": {"url": "http://localhost:8000", "grpc": "127.0.0.1:8001", "pid": 1},
        "dashboard": None,
        "edges": {
            "us": {
                "node": "us-1",
                "http": "http://127.0.0.1:8100",
                "ftp": "127.0.0.1:8121",
                "ftps": None,
                "sftp": None,
                "metrics": "http://127.0.0.1:8180/metrics",
                "pids": {"ingest-0": 2, "delivery-0": 3},
            }
        },
        "account": None,
        "mailbox": "/srv/zt/mail",
        "delivered": "/srv/zt/delivered",
    }
