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
                "ftps": "127.0.0.1:8190",
                "sftp": "127.0.0.1:8122",
                "metrics": "http://127.0.0.1:8180/metrics",
                "readyz": {"ingest-0": "http://127.0.0.1:8180/readyz"},
                "pids": {"ingest-0": 2, "delivery-0": 3},
            }
        },
        "account": None,
        "mailbox": "/srv/zt/mail",
        "delivered": "/srv/zt/delivered",
    }


def test_each_worker_is_asked_at_its_own_listener_also_after_its_index_changed() -> None:
    place = Place(Path("/srv/zt"), 8000, (Region.US,), 60.0, workers=2)
    pids = {"control": 1, "us-ingest-2": 2, "us-ingest-1": 4, "us-delivery-0": 3}
    part = ready.document(place, pids)["edges"]["us"]
    assert part["pids"] == {"ingest-2": 2, "ingest-1": 4, "delivery-0": 3}
    assert part["readyz"] == {
        "ingest-2": "http://127.0.0.1:8182/readyz",
        "ingest-1": "http://127.0.0.1:8181/readyz",
    }
    assert part["metrics"] == "http://127.0.0.1:8181/metrics"
