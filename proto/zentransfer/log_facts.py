"""Every fact that a log may hold: how serious it is, and the fields of its line.  Pure.

The rule: what is not in this table is not written.  A fact is named noun.participle; its fields
have types that nothing personal fits (law 11).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from zentransfer.ids import Kind
from zentransfer.log_fields import (
    BYTES,
    CLASS,
    CODE,
    COUNT,
    EXIT_STATUS,
    FLAG,
    MODULE,
    NODE,
    PROCESS,
    REGION,
    SECONDS,
    SIGNAL,
    Field,
    Text,
    Word,
    id_of,
)
from zentransfer.versions import MISMATCH

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Fact:
    """How serious a fact is, and the fields that its line may hold."""

    level: Level
    fields: Mapping[str, Field]


def _info(**fields: Field) -> Fact:
    return Fact("info", fields)


def _warning(**fields: Field) -> Fact:
    return Fact("warning", fields)


def _error(**fields: Field) -> Fact:
    return Fact("error", fields)


_CHILD: Final = Text("control|(us|fr|sg)-(ingest|delivery)-[0-9]{1,2}")
_STAGE: Final = Word("stop_admitting", "drain", "flush_outbox", "give_back_leases", "close")

_COMMAND_END: Final = Word("done", "refused", "failed", "expired")
_MISMATCH: Final = Text(MISMATCH)
_UPLOAD: Final = id_of(Kind.UPLOAD)
_DELIVERY: Final = id_of(Kind.DELIVERY)
_DELETION: Final = Word("delivered", "cancelled", "erased", "expired", "unfinished")
_NO_TLS: Final = Word(
    "no_tls",
    "other_server",
    "version",
    "cipher",
    "certificate",
    "hung_up",
    "late",
    "not_resumed",
    "broken",
)
_ASIDE: Final = Word(
    "malformed",
    "unknown_kind",
    "unknown_account",
    "foreign_region",
    "foreign_account",
    "conflict",
    "refused",
    "lost",
)

FACTS: Final[Mapping[str, Fact]] = MappingProxyType(
    {
        "unregistered": _warning(),
        # what others say: a library's logger, Python's warnings, errors that nobody caught
        "library.warning": _warning(logger=MODULE),
        "library.error": _error(logger=MODULE),
        "python.warning": _warning(category=CLASS),
        "python.uncaught": _error(),
        "python.unraisable": _error(),
        "thread.uncaught": _error(),
        # a process of ours, from start to end (zentransfer.service, zentransfer.health)
        "process.started": _info(),
        "process.ready": _info(),
        "process.stopping": _info(),
        "process.at_once": _warning(),
        "process.orphaned": _warning(),
        "process.leave_late": _warning(stage=_STAGE),
        "process.leave_failed": _error(stage=_STAGE),
        "process.notify_failed": _warning(),
        "process.failed": _error(),
        "process.stray": _error(),
        "process.left": _info(),
        "http.failed": _error(),
        "tls.reloaded": _info(),
        "tls.refused": _error(),
        "rpc.failed": _error(),
        # the one-machine launcher (ops)
        "launcher.system_ready": _info(),
        "launcher.child_started": _info(child=_CHILD),
        "launcher.child_late": _warning(child=_CHILD),
        "launcher.child_ended": _warning(
            child=_CHILD, status=EXIT_STATUS, signal=SIGNAL, pause_s=SECONDS
        ),
        "launcher.child_failed": _error(child=_CHILD, status=EXIT_STATUS, signal=SIGNAL),
        "launcher.ready_file_failed": _error(),
        "launcher.replaced": _info(),
        "launcher.not_replaced": _error(child=_CHILD),
        # the stream between a process of a node and control (edge.link, control.rpc.fleet)
        "link.up": _info(node=NODE, version=COUNT, dials=COUNT, away_s=SECONDS),
        "link.down": _warning(node=NODE, reason=CODE, lived_s=SECONDS),
        "link.away": _warning(node=NODE, reason=CODE),
        "link.superseded": _error(node=NODE, lived_s=SECONDS, wait_s=SECONDS),
        "link.version_mismatch": _error(node=NODE, detail=_MISMATCH, wait_s=SECONDS),
        "link.refused": _error(node=NODE, reason=CODE, wait_s=SECONDS),
        "link.obey_failed": _error(node=NODE),
        "link.failed": _error(node=NODE),
        "link.outbox_behind": _error(node=NODE),
        "link.outbox_failed": _error(node=NODE),
        "link.facts_again": _warning(node=NODE, count=COUNT),
        "link.snapshot_kept": _info(node=NODE, version=COUNT),
        "link.snapshot_refused": _error(node=NODE, version=COUNT, reason=CODE),
        "link.snapshot_failed": _error(node=NODE),
        "fleet.connected": _info(node=NODE, process=PROCESS, version=COUNT),
        "fleet.disconnected": _info(node=NODE, process=PROCESS, reason=CODE, lived_s=SECONDS),
        "fleet.refused": _warning(node=NODE, process=PROCESS, reason=CODE),
        "fleet.version_mismatch": _error(node=NODE, process=PROCESS, detail=_MISMATCH),
        "fleet.command_ended": _info(node=NODE, process=PROCESS, state=_COMMAND_END),
        "fleet.snapshot_acked": _info(node=NODE, process=PROCESS, version=COUNT),
        "fleet.snapshot_nacked": _error(node=NODE, process=PROCESS, version=COUNT, reason=CODE),
        "fleet.key_learned": _info(region=REGION, node=NODE),
        "fleet.key_refused": _error(region=REGION, node=NODE),
        "fleet.facts_wait": _error(node=NODE, process=PROCESS, reason=CODE),
        "fleet.late": _warning(region=REGION, node=NODE, process=PROCESS),
        "fleet.lost": _error(region=REGION, node=NODE, process=PROCESS),
        "fleet.back": _info(region=REGION, node=NODE, process=PROCESS),
        "fleet.held": _error(region=REGION),
        "fleet.quarantined": _error(region=REGION, node=NODE),
        "fleet.released": _info(region=REGION, node=NODE),
        "fleet.enabled": _info(region=REGION, node=NODE),
        # what an ingest process takes in (edge.ingest, edge.intake, edge.sweep)
        "process.restricted": _info(),
        "process.unrestricted": _warning(state=Word("unsupported", "failed")),
        "snapshot.broken": _error(),
        "pepper.broken": _error(),
        "upload.aborted": _info(upload=_UPLOAD, reason=CODE, size_bytes=BYTES),
        "upload.names_broken": _error(upload=_UPLOAD),
        "upload.unsettled": _error(upload=_UPLOAD),
        "sweep.ended": _info(uploads=COUNT, settled=COUNT),
        # the region's keeping place, where it is not this machine's disk (edge.keeping)
        "sink.failing": _warning(reason=CODE),
        "sink.works": _info(),
        "sink.orphans_removed": _info(uploads=COUNT),
        "sink.tombstones_removed": _info(uploads=COUNT),
        "ftp.failed": _error(),
        "ftp.no_data_port": _warning(),
        "sftp.failed": _error(),
        "ftp.tls_refused": _info(reason=_NO_TLS, is_data=FLAG),
        # what a node has to tell control (edge.outbox)
        "outbox.flush_failed": _error(),
        "outbox.gap": _error(),
        "outbox.adopted": _info(process=PROCESS, count=COUNT),
        "outbox.not_adopted": _error(),
        # from a whole upload to its deletion receipt (edge.workflow)
        "delivery.done": _info(upload=_UPLOAD, delivery=_DELIVERY, attempt=COUNT),
        "delivery.lost": _warning(upload=_UPLOAD, delivery=_DELIVERY, attempt=COUNT),
        "delivery.postponed": _warning(delivery=_DELIVERY, attempt=COUNT, reason=CODE),
        "delivery.failed": _error(delivery=_DELIVERY, attempt=COUNT, reason=CODE),
        "delivery.parked": _warning(delivery=_DELIVERY, attempt=COUNT, reason=CODE),
        "delivery.hindered": _warning(reason=CODE),
        "delivery.unplanned": _warning(upload=_UPLOAD),
        "delivery.fault": _error(),
        "content.destroyed": _info(upload=_UPLOAD, reason=_DELETION, bytes=BYTES),
        # what control makes of it, and what it tells nodes (control.facts, control.fleet)
        "facts.set_aside": _error(node=NODE, process=PROCESS, reason=_ASIDE, count=COUNT),
        "snapshot.published": _info(region=REGION, version=COUNT),
        "snapshot.not_published": _error(),
    }
)

# What every line may hold beside its fields, and the words that structlog keeps for itself.
_RESERVED: Final = frozenset(
    {"at", "level", "by", "fact", "dropped", "error", "errno", "causes", "frames"}
    | {"event", "exc_info"}
)
assert not any(_RESERVED & fact.fields.keys() for fact in FACTS.values())
