from zentransfer.v1 import facts_pb2 as _facts_pb2
from zentransfer.v1 import snapshot_pb2 as _snapshot_pb2
from zentransfer.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DesiredState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_STATE_UNSPECIFIED: _ClassVar[DesiredState]
    DESIRED_STATE_ACTIVE: _ClassVar[DesiredState]
    DESIRED_STATE_DRAIN: _ClassVar[DesiredState]
    DESIRED_STATE_DISABLED: _ClassVar[DesiredState]

class ObservedState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBSERVED_STATE_UNSPECIFIED: _ClassVar[ObservedState]
    OBSERVED_STATE_JOINING: _ClassVar[ObservedState]
    OBSERVED_STATE_SERVING: _ClassVar[ObservedState]
    OBSERVED_STATE_DRAINING: _ClassVar[ObservedState]
    OBSERVED_STATE_DRAINED: _ClassVar[ObservedState]
    OBSERVED_STATE_LATE: _ClassVar[ObservedState]
    OBSERVED_STATE_LOST: _ClassVar[ObservedState]

class CommandKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_KIND_UNSPECIFIED: _ClassVar[CommandKind]
    COMMAND_KIND_RETRY: _ClassVar[CommandKind]
    COMMAND_KIND_CANCEL: _ClassVar[CommandKind]
    COMMAND_KIND_ERASE: _ClassVar[CommandKind]
    COMMAND_KIND_DRAIN: _ClassVar[CommandKind]
    COMMAND_KIND_RESUME: _ClassVar[CommandKind]
    COMMAND_KIND_ROTATE: _ClassVar[CommandKind]
    COMMAND_KIND_TRACE: _ClassVar[CommandKind]

class CommandState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_STATE_UNSPECIFIED: _ClassVar[CommandState]
    COMMAND_STATE_DONE: _ClassVar[CommandState]
    COMMAND_STATE_REFUSED: _ClassVar[CommandState]
    COMMAND_STATE_FAILED: _ClassVar[CommandState]
    COMMAND_STATE_EXPIRED: _ClassVar[CommandState]
DESIRED_STATE_UNSPECIFIED: DesiredState
DESIRED_STATE_ACTIVE: DesiredState
DESIRED_STATE_DRAIN: DesiredState
DESIRED_STATE_DISABLED: DesiredState
OBSERVED_STATE_UNSPECIFIED: ObservedState
OBSERVED_STATE_JOINING: ObservedState
OBSERVED_STATE_SERVING: ObservedState
OBSERVED_STATE_DRAINING: ObservedState
OBSERVED_STATE_DRAINED: ObservedState
OBSERVED_STATE_LATE: ObservedState
OBSERVED_STATE_LOST: ObservedState
COMMAND_KIND_UNSPECIFIED: CommandKind
COMMAND_KIND_RETRY: CommandKind
COMMAND_KIND_CANCEL: CommandKind
COMMAND_KIND_ERASE: CommandKind
COMMAND_KIND_DRAIN: CommandKind
COMMAND_KIND_RESUME: CommandKind
COMMAND_KIND_ROTATE: CommandKind
COMMAND_KIND_TRACE: CommandKind
COMMAND_STATE_UNSPECIFIED: CommandState
COMMAND_STATE_DONE: CommandState
COMMAND_STATE_REFUSED: CommandState
COMMAND_STATE_FAILED: CommandState
COMMAND_STATE_EXPIRED: CommandState

class EnrollRequest(_message.Message):
    __slots__ = ("join_secret", "node", "region", "signing_request")
    JOIN_SECRET_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    join_secret: str
    node: str
    region: _types_pb2.Region
    signing_request: bytes
    def __init__(self, join_secret: _Optional[str] = ..., node: _Optional[str] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., signing_request: _Optional[bytes] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: Certificate
    def __init__(self, certificate: _Optional[_Union[Certificate, _Mapping]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("signing_request",)
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    signing_request: bytes
    def __init__(self, signing_request: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: Certificate
    def __init__(self, certificate: _Optional[_Union[Certificate, _Mapping]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("chain", "roots", "not_after_ms", "renew_in_ms")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    RENEW_IN_MS_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    not_after_ms: int
    renew_in_ms: int
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., roots: _Optional[_Iterable[bytes]] = ..., not_after_ms: _Optional[int] = ..., renew_in_ms: _Optional[int] = ...) -> None: ...

class FetchSnapshotRequest(_message.Message):
    __slots__ = ("identity", "version")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    identity: _types_pb2.Identity
    version: int
    def __init__(self, identity: _Optional[_Union[_types_pb2.Identity, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class FetchSnapshotResponse(_message.Message):
    __slots__ = ("version", "offset", "part", "last")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    version: int
    offset: int
    part: bytes
    last: bool
    def __init__(self, version: _Optional[int] = ..., offset: _Optional[int] = ..., part: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "heartbeat", "facts", "ack", "nack", "quota", "done", "under_way", "traced")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    UNDER_WAY_FIELD_NUMBER: _ClassVar[int]
    TRACED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    facts: _facts_pb2.FactBatch
    ack: SnapshotAck
    nack: SnapshotNack
    quota: QuotaAsk
    done: CommandDone
    under_way: _facts_pb2.UnderWay
    traced: Traced
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., facts: _Optional[_Union[_facts_pb2.FactBatch, _Mapping]] = ..., ack: _Optional[_Union[SnapshotAck, _Mapping]] = ..., nack: _Optional[_Union[SnapshotNack, _Mapping]] = ..., quota: _Optional[_Union[QuotaAsk, _Mapping]] = ..., done: _Optional[_Union[CommandDone, _Mapping]] = ..., under_way: _Optional[_Union[_facts_pb2.UnderWay, _Mapping]] = ..., traced: _Optional[_Union[Traced, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "delta", "snapshot", "facts_ack", "quota", "command", "echo")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FACTS_ACK_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    delta: _snapshot_pb2.Delta
    snapshot: SnapshotRef
    facts_ack: FactsAck
    quota: QuotaGrant
    command: Command
    echo: HeartbeatEcho
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., delta: _Optional[_Union[_snapshot_pb2.Delta, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotRef, _Mapping]] = ..., facts_ack: _Optional[_Union[FactsAck, _Mapping]] = ..., quota: _Optional[_Union[QuotaGrant, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., echo: _Optional[_Union[HeartbeatEcho, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("identity", "kind", "region", "boot_id", "build", "proto_min", "proto_max", "capabilities", "snapshot_version", "snapshot_digest", "outbox_epoch", "outbox_first_sequence", "certificate_end_ms", "clock_ms", "observed", "destination_key", "ticket_key")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    PROTO_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTO_MAX_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_END_MS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_FIELD_NUMBER: _ClassVar[int]
    TICKET_KEY_FIELD_NUMBER: _ClassVar[int]
    identity: _types_pb2.Identity
    kind: _types_pb2.ProcessKind
    region: _types_pb2.Region
    boot_id: str
    build: str
    proto_min: int
    proto_max: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    snapshot_version: int
    snapshot_digest: _types_pb2.Digest
    outbox_epoch: str
    outbox_first_sequence: int
    certificate_end_ms: int
    clock_ms: int
    observed: ObservedState
    destination_key: _types_pb2.PublicKey
    ticket_key: _types_pb2.PublicKey
    def __init__(self, identity: _Optional[_Union[_types_pb2.Identity, _Mapping]] = ..., kind: _Optional[_Union[_types_pb2.ProcessKind, str]] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., boot_id: _Optional[str] = ..., build: _Optional[str] = ..., proto_min: _Optional[int] = ..., proto_max: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., snapshot_version: _Optional[int] = ..., snapshot_digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ..., outbox_epoch: _Optional[str] = ..., outbox_first_sequence: _Optional[int] = ..., certificate_end_ms: _Optional[int] = ..., clock_ms: _Optional[int] = ..., observed: _Optional[_Union[ObservedState, str]] = ..., destination_key: _Optional[_Union[_types_pb2.PublicKey, _Mapping]] = ..., ticket_key: _Optional[_Union[_types_pb2.PublicKey, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("proto", "heartbeat_interval_ms", "credit", "resume_from", "desired", "clock_ms")
    PROTO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    RESUME_FROM_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    proto: int
    heartbeat_interval_ms: int
    credit: int
    resume_from: OutboxPosition
    desired: Desired
    clock_ms: int
    def __init__(self, proto: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ..., credit: _Optional[int] = ..., resume_from: _Optional[_Union[OutboxPosition, _Mapping]] = ..., desired: _Optional[_Union[Desired, _Mapping]] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class OutboxPosition(_message.Message):
    __slots__ = ("epoch", "sequence")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    sequence: int
    def __init__(self, epoch: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class Desired(_message.Message):
    __slots__ = ("state", "remaining_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    state: DesiredState
    remaining_ms: int
    def __init__(self, state: _Optional[_Union[DesiredState, str]] = ..., remaining_ms: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("t0_ms", "observed", "utilisation_permille", "uploads_in_flight", "outbox_lag", "outbox_age_ms", "snapshot_version", "clock_offset_ms", "round_trip_ms")
    T0_MS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    UTILISATION_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_LAG_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_MS_FIELD_NUMBER: _ClassVar[int]
    t0_ms: int
    observed: ObservedState
    utilisation_permille: int
    uploads_in_flight: int
    outbox_lag: int
    outbox_age_ms: int
    snapshot_version: int
    clock_offset_ms: int
    round_trip_ms: int
    def __init__(self, t0_ms: _Optional[int] = ..., observed: _Optional[_Union[ObservedState, str]] = ..., utilisation_permille: _Optional[int] = ..., uploads_in_flight: _Optional[int] = ..., outbox_lag: _Optional[int] = ..., outbox_age_ms: _Optional[int] = ..., snapshot_version: _Optional[int] = ..., clock_offset_ms: _Optional[int] = ..., round_trip_ms: _Optional[int] = ...) -> None: ...

class HeartbeatEcho(_message.Message):
    __slots__ = ("t0_ms", "t1_ms", "t2_ms")
    T0_MS_FIELD_NUMBER: _ClassVar[int]
    T1_MS_FIELD_NUMBER: _ClassVar[int]
    T2_MS_FIELD_NUMBER: _ClassVar[int]
    t0_ms: int
    t1_ms: int
    t2_ms: int
    def __init__(self, t0_ms: _Optional[int] = ..., t1_ms: _Optional[int] = ..., t2_ms: _Optional[int] = ...) -> None: ...

class SnapshotRef(_message.Message):
    __slots__ = ("version", "digest", "size_bytes", "nonce")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: _types_pb2.Digest
    size_bytes: int
    nonce: str
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ..., size_bytes: _Optional[int] = ..., nonce: _Optional[str] = ...) -> None: ...

class SnapshotAck(_message.Message):
    __slots__ = ("version", "nonce")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    version: int
    nonce: str
    def __init__(self, version: _Optional[int] = ..., nonce: _Optional[str] = ...) -> None: ...

class SnapshotNack(_message.Message):
    __slots__ = ("nonce", "reason", "serving_version")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SERVING_VERSION_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    reason: str
    serving_version: int
    def __init__(self, nonce: _Optional[str] = ..., reason: _Optional[str] = ..., serving_version: _Optional[int] = ...) -> None: ...

class FactsAck(_message.Message):
    __slots__ = ("epoch", "sequence", "resume_from")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FROM_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    sequence: int
    resume_from: int
    def __init__(self, epoch: _Optional[str] = ..., sequence: _Optional[int] = ..., resume_from: _Optional[int] = ...) -> None: ...

class QuotaAsk(_message.Message):
    __slots__ = ("account_id", "meter", "amount", "fence", "spent", "returned")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    meter: _types_pb2.Meter
    amount: int
    fence: int
    spent: int
    returned: int
    def __init__(self, account_id: _Optional[str] = ..., meter: _Optional[_Union[_types_pb2.Meter, str]] = ..., amount: _Optional[int] = ..., fence: _Optional[int] = ..., spent: _Optional[int] = ..., returned: _Optional[int] = ...) -> None: ...

class QuotaGrant(_message.Message):
    __slots__ = ("account_id", "meter", "amount", "expires_in_ms", "fence", "reason")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_MS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    meter: _types_pb2.Meter
    amount: int
    expires_in_ms: int
    fence: int
    reason: str
    def __init__(self, account_id: _Optional[str] = ..., meter: _Optional[_Union[_types_pb2.Meter, str]] = ..., amount: _Optional[int] = ..., expires_in_ms: _Optional[int] = ..., fence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "kind", "argument", "expires_in_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: CommandKind
    argument: str
    expires_in_ms: int
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[CommandKind, str]] = ..., argument: _Optional[str] = ..., expires_in_ms: _Optional[int] = ...) -> None: ...

class CommandDone(_message.Message):
    __slots__ = ("id", "state", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: CommandState
    reason: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[CommandState, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Traced(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[TraceLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[TraceLine, _Mapping]]] = ...) -> None: ...

class TraceLine(_message.Message):
    __slots__ = ("credential_id", "account_id", "session", "at_ms", "sealed_line")
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    SEALED_LINE_FIELD_NUMBER: _ClassVar[int]
    credential_id: str
    account_id: str
    session: int
    at_ms: int
    sealed_line: _types_pb2.Sealed
    def __init__(self, credential_id: _Optional[str] = ..., account_id: _Optional[str] = ..., session: _Optional[int] = ..., at_ms: _Optional[int] = ..., sealed_line: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ...) -> None: ...
