from zentransfer.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FactClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACT_CLASS_UNSPECIFIED: _ClassVar[FactClass]
    FACT_CLASS_KEPT: _ClassVar[FactClass]
    FACT_CLASS_COALESCED: _ClassVar[FactClass]
    FACT_CLASS_MERGED: _ClassVar[FactClass]
    FACT_CLASS_DROPPED_FIRST: _ClassVar[FactClass]

class OutcomeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_STATE_UNSPECIFIED: _ClassVar[OutcomeState]
    OUTCOME_STATE_COMMITTED: _ClassVar[OutcomeState]
    OUTCOME_STATE_CANCELLED: _ClassVar[OutcomeState]
    OUTCOME_STATE_EXPIRED: _ClassVar[OutcomeState]
    OUTCOME_STATE_FAILED: _ClassVar[OutcomeState]

class Door(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOOR_UNSPECIFIED: _ClassVar[Door]
    DOOR_HTTP: _ClassVar[Door]
    DOOR_FTP: _ClassVar[Door]
    DOOR_SFTP: _ClassVar[Door]

class DeliveryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_STATE_UNSPECIFIED: _ClassVar[DeliveryState]
    DELIVERY_STATE_WAIT: _ClassVar[DeliveryState]
    DELIVERY_STATE_RUN: _ClassVar[DeliveryState]
    DELIVERY_STATE_PARKED: _ClassVar[DeliveryState]
    DELIVERY_STATE_DELIVERED: _ClassVar[DeliveryState]
    DELIVERY_STATE_CANCELLED: _ClassVar[DeliveryState]
    DELIVERY_STATE_FAILED: _ClassVar[DeliveryState]

class DeletionReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELETION_REASON_UNSPECIFIED: _ClassVar[DeletionReason]
    DELETION_REASON_DELIVERED: _ClassVar[DeletionReason]
    DELETION_REASON_CANCELLED: _ClassVar[DeletionReason]
    DELETION_REASON_ERASED: _ClassVar[DeletionReason]
    DELETION_REASON_EXPIRED: _ClassVar[DeletionReason]
    DELETION_REASON_UNFINISHED: _ClassVar[DeletionReason]

class AbuseKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ABUSE_KIND_UNSPECIFIED: _ClassVar[AbuseKind]
    ABUSE_KIND_BAD_SECRET: _ClassVar[AbuseKind]
    ABUSE_KIND_UNKNOWN_CREDENTIAL: _ClassVar[AbuseKind]
    ABUSE_KIND_LIMIT_EXCEEDED: _ClassVar[AbuseKind]
    ABUSE_KIND_BANNED: _ClassVar[AbuseKind]
FACT_CLASS_UNSPECIFIED: FactClass
FACT_CLASS_KEPT: FactClass
FACT_CLASS_COALESCED: FactClass
FACT_CLASS_MERGED: FactClass
FACT_CLASS_DROPPED_FIRST: FactClass
OUTCOME_STATE_UNSPECIFIED: OutcomeState
OUTCOME_STATE_COMMITTED: OutcomeState
OUTCOME_STATE_CANCELLED: OutcomeState
OUTCOME_STATE_EXPIRED: OutcomeState
OUTCOME_STATE_FAILED: OutcomeState
DOOR_UNSPECIFIED: Door
DOOR_HTTP: Door
DOOR_FTP: Door
DOOR_SFTP: Door
DELIVERY_STATE_UNSPECIFIED: DeliveryState
DELIVERY_STATE_WAIT: DeliveryState
DELIVERY_STATE_RUN: DeliveryState
DELIVERY_STATE_PARKED: DeliveryState
DELIVERY_STATE_DELIVERED: DeliveryState
DELIVERY_STATE_CANCELLED: DeliveryState
DELIVERY_STATE_FAILED: DeliveryState
DELETION_REASON_UNSPECIFIED: DeletionReason
DELETION_REASON_DELIVERED: DeletionReason
DELETION_REASON_CANCELLED: DeletionReason
DELETION_REASON_ERASED: DeletionReason
DELETION_REASON_EXPIRED: DeletionReason
DELETION_REASON_UNFINISHED: DeletionReason
ABUSE_KIND_UNSPECIFIED: AbuseKind
ABUSE_KIND_BAD_SECRET: AbuseKind
ABUSE_KIND_UNKNOWN_CREDENTIAL: AbuseKind
ABUSE_KIND_LIMIT_EXCEEDED: AbuseKind
ABUSE_KIND_BANNED: AbuseKind

class FactBatch(_message.Message):
    __slots__ = ("epoch", "first_sequence", "facts")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    first_sequence: int
    facts: _containers.RepeatedCompositeFieldContainer[Fact]
    def __init__(self, epoch: _Optional[str] = ..., first_sequence: _Optional[int] = ..., facts: _Optional[_Iterable[_Union[Fact, _Mapping]]] = ...) -> None: ...

class Fact(_message.Message):
    __slots__ = ("id", "sequence", "fact_class", "node_time_ms", "outcome", "delivery_change", "deletion_receipt", "abuse", "rollup", "credential_miss")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FACT_CLASS_FIELD_NUMBER: _ClassVar[int]
    NODE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_CHANGE_FIELD_NUMBER: _ClassVar[int]
    DELETION_RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ABUSE_FIELD_NUMBER: _ClassVar[int]
    ROLLUP_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_MISS_FIELD_NUMBER: _ClassVar[int]
    id: str
    sequence: int
    fact_class: FactClass
    node_time_ms: int
    outcome: Outcome
    delivery_change: DeliveryChange
    deletion_receipt: DeletionReceipt
    abuse: AbuseCount
    rollup: Rollup
    credential_miss: CredentialMiss
    def __init__(self, id: _Optional[str] = ..., sequence: _Optional[int] = ..., fact_class: _Optional[_Union[FactClass, str]] = ..., node_time_ms: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ..., delivery_change: _Optional[_Union[DeliveryChange, _Mapping]] = ..., deletion_receipt: _Optional[_Union[DeletionReceipt, _Mapping]] = ..., abuse: _Optional[_Union[AbuseCount, _Mapping]] = ..., rollup: _Optional[_Union[Rollup, _Mapping]] = ..., credential_miss: _Optional[_Union[CredentialMiss, _Mapping]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("id", "upload_id", "account_id", "credential_id", "state", "error", "size_bytes", "digest", "region", "door", "sealed_name", "workflow_id", "workflow_version", "created_ms", "ended_ms", "announced_bytes", "destroyed_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    SEALED_NAME_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_MS_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESTROYED_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    upload_id: str
    account_id: str
    credential_id: str
    state: OutcomeState
    error: str
    size_bytes: int
    digest: _types_pb2.Digest
    region: _types_pb2.Region
    door: Door
    sealed_name: _types_pb2.Sealed
    workflow_id: str
    workflow_version: int
    created_ms: int
    ended_ms: int
    announced_bytes: int
    destroyed_ms: int
    def __init__(self, id: _Optional[str] = ..., upload_id: _Optional[str] = ..., account_id: _Optional[str] = ..., credential_id: _Optional[str] = ..., state: _Optional[_Union[OutcomeState, str]] = ..., error: _Optional[str] = ..., size_bytes: _Optional[int] = ..., digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., door: _Optional[_Union[Door, str]] = ..., sealed_name: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ..., workflow_id: _Optional[str] = ..., workflow_version: _Optional[int] = ..., created_ms: _Optional[int] = ..., ended_ms: _Optional[int] = ..., announced_bytes: _Optional[int] = ..., destroyed_ms: _Optional[int] = ...) -> None: ...

class DeliveryChange(_message.Message):
    __slots__ = ("delivery_id", "run_id", "upload_id", "account_id", "destination_id", "state", "attempt", "fence", "error", "due_ms", "size_bytes", "digest")
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DUE_MS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    delivery_id: str
    run_id: str
    upload_id: str
    account_id: str
    destination_id: str
    state: DeliveryState
    attempt: int
    fence: int
    error: str
    due_ms: int
    size_bytes: int
    digest: _types_pb2.Digest
    def __init__(self, delivery_id: _Optional[str] = ..., run_id: _Optional[str] = ..., upload_id: _Optional[str] = ..., account_id: _Optional[str] = ..., destination_id: _Optional[str] = ..., state: _Optional[_Union[DeliveryState, str]] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., error: _Optional[str] = ..., due_ms: _Optional[int] = ..., size_bytes: _Optional[int] = ..., digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ...) -> None: ...

class DeletionReceipt(_message.Message):
    __slots__ = ("upload_id", "account_id", "run_id", "reason", "region", "size_bytes", "keys_destroyed_ms", "removed_ms", "undelivered_destination_ids", "audit_sequence", "audit_hash", "signature", "root_key")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEYS_DESTROYED_MS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_MS_FIELD_NUMBER: _ClassVar[int]
    UNDELIVERED_DESTINATION_IDS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_HASH_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ROOT_KEY_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    account_id: str
    run_id: str
    reason: DeletionReason
    region: _types_pb2.Region
    size_bytes: int
    keys_destroyed_ms: int
    removed_ms: int
    undelivered_destination_ids: _containers.RepeatedScalarFieldContainer[str]
    audit_sequence: int
    audit_hash: bytes
    signature: bytes
    root_key: bytes
    def __init__(self, upload_id: _Optional[str] = ..., account_id: _Optional[str] = ..., run_id: _Optional[str] = ..., reason: _Optional[_Union[DeletionReason, str]] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., size_bytes: _Optional[int] = ..., keys_destroyed_ms: _Optional[int] = ..., removed_ms: _Optional[int] = ..., undelivered_destination_ids: _Optional[_Iterable[str]] = ..., audit_sequence: _Optional[int] = ..., audit_hash: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., root_key: _Optional[bytes] = ...) -> None: ...

class UnderWay(_message.Message):
    __slots__ = ("uploads",)
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    uploads: _containers.RepeatedCompositeFieldContainer[Receiving]
    def __init__(self, uploads: _Optional[_Iterable[_Union[Receiving, _Mapping]]] = ...) -> None: ...

class Receiving(_message.Message):
    __slots__ = ("upload_id", "account_id", "region", "sealed_name", "created_ms", "received_bytes", "announced_bytes", "durable")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SEALED_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    account_id: str
    region: _types_pb2.Region
    sealed_name: _types_pb2.Sealed
    created_ms: int
    received_bytes: int
    announced_bytes: int
    durable: bool
    def __init__(self, upload_id: _Optional[str] = ..., account_id: _Optional[str] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., sealed_name: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ..., created_ms: _Optional[int] = ..., received_bytes: _Optional[int] = ..., announced_bytes: _Optional[int] = ..., durable: _Optional[bool] = ...) -> None: ...

class AbuseCount(_message.Message):
    __slots__ = ("fingerprint", "key_day", "kind", "count", "start_ms", "length_ms")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    KEY_DAY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    key_day: int
    kind: AbuseKind
    count: int
    start_ms: int
    length_ms: int
    def __init__(self, fingerprint: _Optional[bytes] = ..., key_day: _Optional[int] = ..., kind: _Optional[_Union[AbuseKind, str]] = ..., count: _Optional[int] = ..., start_ms: _Optional[int] = ..., length_ms: _Optional[int] = ...) -> None: ...

class Rollup(_message.Message):
    __slots__ = ("start_ms", "length_ms", "metrics")
    START_MS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    start_ms: int
    length_ms: int
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, start_ms: _Optional[int] = ..., length_ms: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "count", "sum", "buckets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    sum: int
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., sum: _Optional[int] = ..., buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class CredentialMiss(_message.Message):
    __slots__ = ("credential_id", "count")
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    credential_id: str
    count: int
    def __init__(self, credential_id: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
