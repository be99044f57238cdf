"""A stateless node of two kinds of process: ingest takes bytes in, delivery sends them on.

A byte's path, top to bottom: door -> admission -> ``upload`` (pure) -> pump -> ``seal`` -> sink ->
durable -> outcome -> reply.  Ingest is write-only: it seals to the region's public key and cannot
open what it wrote.  Delivery opens under a lease, after an audit record, and destroys at the end.
``link`` is the only module here that sees protobuf messages; ``ingest`` and ``delivery`` are the
composition roots of the two processes (``python -m edge ingest``, ``python -m edge delivery``).
"""
