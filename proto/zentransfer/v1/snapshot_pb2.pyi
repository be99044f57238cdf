from zentransfer.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccountState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCOUNT_STATE_UNSPECIFIED: _ClassVar[AccountState]
    ACCOUNT_STATE_ACTIVE: _ClassVar[AccountState]
    ACCOUNT_STATE_SUSPENDED: _ClassVar[AccountState]
    ACCOUNT_STATE_CLOSED: _ClassVar[AccountState]

class CredentialKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDENTIAL_KIND_UNSPECIFIED: _ClassVar[CredentialKind]
    CREDENTIAL_KIND_FTP: _ClassVar[CredentialKind]
    CREDENTIAL_KIND_API: _ClassVar[CredentialKind]

class ConditionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_KIND_UNSPECIFIED: _ClassVar[ConditionKind]
    CONDITION_KIND_CREDENTIAL: _ClassVar[ConditionKind]
    CONDITION_KIND_FOLDER: _ClassVar[ConditionKind]
    CONDITION_KIND_NAME: _ClassVar[ConditionKind]
    CONDITION_KIND_MEDIA_TYPE: _ClassVar[ConditionKind]

class DestinationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESTINATION_KIND_UNSPECIFIED: _ClassVar[DestinationKind]
    DESTINATION_KIND_FOLDER: _ClassVar[DestinationKind]
    DESTINATION_KIND_S3: _ClassVar[DestinationKind]
    DESTINATION_KIND_GCS: _ClassVar[DestinationKind]
    DESTINATION_KIND_AZURE: _ClassVar[DestinationKind]
    DESTINATION_KIND_SFTP: _ClassVar[DestinationKind]
    DESTINATION_KIND_FTP: _ClassVar[DestinationKind]
    DESTINATION_KIND_WEBDAV: _ClassVar[DestinationKind]
    DESTINATION_KIND_DROPBOX: _ClassVar[DestinationKind]
    DESTINATION_KIND_GOOGLE_DRIVE: _ClassVar[DestinationKind]
    DESTINATION_KIND_ONEDRIVE: _ClassVar[DestinationKind]
    DESTINATION_KIND_WEBHOOK: _ClassVar[DestinationKind]
    DESTINATION_KIND_EMAIL: _ClassVar[DestinationKind]

class Clash(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLASH_UNSPECIFIED: _ClassVar[Clash]
    CLASH_KEEP_BOTH: _ClassVar[Clash]
    CLASH_REPLACE: _ClassVar[Clash]
    CLASH_FAIL: _ClassVar[Clash]

class RegionKeyUse(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGION_KEY_USE_UNSPECIFIED: _ClassVar[RegionKeyUse]
    REGION_KEY_USE_CONTENT: _ClassVar[RegionKeyUse]
    REGION_KEY_USE_DESTINATION_SECRET: _ClassVar[RegionKeyUse]

class DenialKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DENIAL_KIND_UNSPECIFIED: _ClassVar[DenialKind]
    DENIAL_KIND_CREDENTIAL: _ClassVar[DenialKind]
    DENIAL_KIND_ACCOUNT: _ClassVar[DenialKind]
    DENIAL_KIND_TICKET_KEY: _ClassVar[DenialKind]
    DENIAL_KIND_FINGERPRINT: _ClassVar[DenialKind]

class Entity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTITY_UNSPECIFIED: _ClassVar[Entity]
    ENTITY_KNOB: _ClassVar[Entity]
    ENTITY_ACCOUNT: _ClassVar[Entity]
    ENTITY_CREDENTIAL: _ClassVar[Entity]
    ENTITY_WORKFLOW: _ClassVar[Entity]
    ENTITY_DESTINATION: _ClassVar[Entity]
    ENTITY_TICKET_KEY: _ClassVar[Entity]
    ENTITY_REGION_KEY: _ClassVar[Entity]
    ENTITY_DENIAL: _ClassVar[Entity]
ACCOUNT_STATE_UNSPECIFIED: AccountState
ACCOUNT_STATE_ACTIVE: AccountState
ACCOUNT_STATE_SUSPENDED: AccountState
ACCOUNT_STATE_CLOSED: AccountState
CREDENTIAL_KIND_UNSPECIFIED: CredentialKind
CREDENTIAL_KIND_FTP: CredentialKind
CREDENTIAL_KIND_API: CredentialKind
CONDITION_KIND_UNSPECIFIED: ConditionKind
CONDITION_KIND_CREDENTIAL: ConditionKind
CONDITION_KIND_FOLDER: ConditionKind
CONDITION_KIND_NAME: ConditionKind
CONDITION_KIND_MEDIA_TYPE: ConditionKind
DESTINATION_KIND_UNSPECIFIED: DestinationKind
DESTINATION_KIND_FOLDER: DestinationKind
DESTINATION_KIND_S3: DestinationKind
DESTINATION_KIND_GCS: DestinationKind
DESTINATION_KIND_AZURE: DestinationKind
DESTINATION_KIND_SFTP: DestinationKind
DESTINATION_KIND_FTP: DestinationKind
DESTINATION_KIND_WEBDAV: DestinationKind
DESTINATION_KIND_DROPBOX: DestinationKind
DESTINATION_KIND_GOOGLE_DRIVE: DestinationKind
DESTINATION_KIND_ONEDRIVE: DestinationKind
DESTINATION_KIND_WEBHOOK: DestinationKind
DESTINATION_KIND_EMAIL: DestinationKind
CLASH_UNSPECIFIED: Clash
CLASH_KEEP_BOTH: Clash
CLASH_REPLACE: Clash
CLASH_FAIL: Clash
REGION_KEY_USE_UNSPECIFIED: RegionKeyUse
REGION_KEY_USE_CONTENT: RegionKeyUse
REGION_KEY_USE_DESTINATION_SECRET: RegionKeyUse
DENIAL_KIND_UNSPECIFIED: DenialKind
DENIAL_KIND_CREDENTIAL: DenialKind
DENIAL_KIND_ACCOUNT: DenialKind
DENIAL_KIND_TICKET_KEY: DenialKind
DENIAL_KIND_FINGERPRINT: DenialKind
ENTITY_UNSPECIFIED: Entity
ENTITY_KNOB: Entity
ENTITY_ACCOUNT: Entity
ENTITY_CREDENTIAL: Entity
ENTITY_WORKFLOW: Entity
ENTITY_DESTINATION: Entity
ENTITY_TICKET_KEY: Entity
ENTITY_REGION_KEY: Entity
ENTITY_DENIAL: Entity

class Snapshot(_message.Message):
    __slots__ = ("version", "region", "created_ms", "knobs", "accounts", "credentials", "workflows", "destinations", "ticket_keys", "region_keys", "denials", "geo_table")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    KNOBS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    TICKET_KEYS_FIELD_NUMBER: _ClassVar[int]
    REGION_KEYS_FIELD_NUMBER: _ClassVar[int]
    DENIALS_FIELD_NUMBER: _ClassVar[int]
    GEO_TABLE_FIELD_NUMBER: _ClassVar[int]
    version: int
    region: _types_pb2.Region
    created_ms: int
    knobs: _containers.RepeatedCompositeFieldContainer[Knob]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    credentials: _containers.RepeatedCompositeFieldContainer[Credential]
    workflows: _containers.RepeatedCompositeFieldContainer[Workflow]
    destinations: _containers.RepeatedCompositeFieldContainer[Destination]
    ticket_keys: _containers.RepeatedCompositeFieldContainer[TicketKey]
    region_keys: _containers.RepeatedCompositeFieldContainer[RegionKey]
    denials: _containers.RepeatedCompositeFieldContainer[Denial]
    geo_table: GeoTable
    def __init__(self, version: _Optional[int] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ..., created_ms: _Optional[int] = ..., knobs: _Optional[_Iterable[_Union[Knob, _Mapping]]] = ..., accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., credentials: _Optional[_Iterable[_Union[Credential, _Mapping]]] = ..., workflows: _Optional[_Iterable[_Union[Workflow, _Mapping]]] = ..., destinations: _Optional[_Iterable[_Union[Destination, _Mapping]]] = ..., ticket_keys: _Optional[_Iterable[_Union[TicketKey, _Mapping]]] = ..., region_keys: _Optional[_Iterable[_Union[RegionKey, _Mapping]]] = ..., denials: _Optional[_Iterable[_Union[Denial, _Mapping]]] = ..., geo_table: _Optional[_Union[GeoTable, _Mapping]] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("from_version", "to_version", "nonce", "changes", "digest", "created_ms")
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    from_version: int
    to_version: int
    nonce: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    digest: _types_pb2.Digest
    created_ms: int
    def __init__(self, from_version: _Optional[int] = ..., to_version: _Optional[int] = ..., nonce: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ..., created_ms: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("remove", "knob", "account", "credential", "workflow", "destination", "ticket_key", "region_key", "denial", "geo_table")
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    KNOB_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    TICKET_KEY_FIELD_NUMBER: _ClassVar[int]
    REGION_KEY_FIELD_NUMBER: _ClassVar[int]
    DENIAL_FIELD_NUMBER: _ClassVar[int]
    GEO_TABLE_FIELD_NUMBER: _ClassVar[int]
    remove: Removal
    knob: Knob
    account: Account
    credential: Credential
    workflow: Workflow
    destination: Destination
    ticket_key: TicketKey
    region_key: RegionKey
    denial: Denial
    geo_table: GeoTable
    def __init__(self, remove: _Optional[_Union[Removal, _Mapping]] = ..., knob: _Optional[_Union[Knob, _Mapping]] = ..., account: _Optional[_Union[Account, _Mapping]] = ..., credential: _Optional[_Union[Credential, _Mapping]] = ..., workflow: _Optional[_Union[Workflow, _Mapping]] = ..., destination: _Optional[_Union[Destination, _Mapping]] = ..., ticket_key: _Optional[_Union[TicketKey, _Mapping]] = ..., region_key: _Optional[_Union[RegionKey, _Mapping]] = ..., denial: _Optional[_Union[Denial, _Mapping]] = ..., geo_table: _Optional[_Union[GeoTable, _Mapping]] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("entity", "id")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    entity: Entity
    id: str
    def __init__(self, entity: _Optional[_Union[Entity, str]] = ..., id: _Optional[str] = ...) -> None: ...

class Knob(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("id", "state", "limits", "pin", "epoch", "name_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NAME_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: AccountState
    limits: AccountLimits
    pin: _types_pb2.Region
    epoch: int
    name_key: _types_pb2.PublicKey
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[AccountState, str]] = ..., limits: _Optional[_Union[AccountLimits, _Mapping]] = ..., pin: _Optional[_Union[_types_pb2.Region, str]] = ..., epoch: _Optional[int] = ..., name_key: _Optional[_Union[_types_pb2.PublicKey, _Mapping]] = ...) -> None: ...

class AccountLimits(_message.Message):
    __slots__ = ("upload_bytes_max", "uploads_in_flight_max", "connections_max", "uploads_per_minute_max", "first_slice_bytes", "overdraft_bytes", "unfinished_keep_ms", "content_keep_ms")
    UPLOAD_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_IN_FLIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_PER_MINUTE_MAX_FIELD_NUMBER: _ClassVar[int]
    FIRST_SLICE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVERDRAFT_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_KEEP_MS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_KEEP_MS_FIELD_NUMBER: _ClassVar[int]
    upload_bytes_max: int
    uploads_in_flight_max: int
    connections_max: int
    uploads_per_minute_max: int
    first_slice_bytes: int
    overdraft_bytes: int
    unfinished_keep_ms: int
    content_keep_ms: int
    def __init__(self, upload_bytes_max: _Optional[int] = ..., uploads_in_flight_max: _Optional[int] = ..., connections_max: _Optional[int] = ..., uploads_per_minute_max: _Optional[int] = ..., first_slice_bytes: _Optional[int] = ..., overdraft_bytes: _Optional[int] = ..., unfinished_keep_ms: _Optional[int] = ..., content_keep_ms: _Optional[int] = ...) -> None: ...

class Credential(_message.Message):
    __slots__ = ("id", "account_id", "kind", "verifier", "pepper_kid", "workflow_id", "folder", "not_after_ms", "require_tls", "epoch", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_FIELD_NUMBER: _ClassVar[int]
    PEPPER_KID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_TLS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    account_id: str
    kind: CredentialKind
    verifier: bytes
    pepper_kid: str
    workflow_id: str
    folder: str
    not_after_ms: int
    require_tls: bool
    epoch: int
    name: str
    def __init__(self, id: _Optional[str] = ..., account_id: _Optional[str] = ..., kind: _Optional[_Union[CredentialKind, str]] = ..., verifier: _Optional[bytes] = ..., pepper_kid: _Optional[str] = ..., workflow_id: _Optional[str] = ..., folder: _Optional[str] = ..., not_after_ms: _Optional[int] = ..., require_tls: _Optional[bool] = ..., epoch: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Workflow(_message.Message):
    __slots__ = ("id", "version", "account_id", "rules", "destination_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    account_id: str
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    destination_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., version: _Optional[int] = ..., account_id: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., destination_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("conditions", "destination_ids", "priority")
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_IDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    destination_ids: _containers.RepeatedScalarFieldContainer[str]
    priority: bool
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., destination_ids: _Optional[_Iterable[str]] = ..., priority: _Optional[bool] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("kind", "pattern", "negated")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    kind: ConditionKind
    pattern: str
    negated: bool
    def __init__(self, kind: _Optional[_Union[ConditionKind, str]] = ..., pattern: _Optional[str] = ..., negated: _Optional[bool] = ...) -> None: ...

class Destination(_message.Message):
    __slots__ = ("id", "version", "account_id", "kind", "address", "naming", "secret", "endpoint", "store_region")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAMING_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    STORE_REGION_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    account_id: str
    kind: DestinationKind
    address: str
    naming: Naming
    secret: _types_pb2.Sealed
    endpoint: str
    store_region: str
    def __init__(self, id: _Optional[str] = ..., version: _Optional[int] = ..., account_id: _Optional[str] = ..., kind: _Optional[_Union[DestinationKind, str]] = ..., address: _Optional[str] = ..., naming: _Optional[_Union[Naming, _Mapping]] = ..., secret: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ..., endpoint: _Optional[str] = ..., store_region: _Optional[str] = ...) -> None: ...

class Naming(_message.Message):
    __slots__ = ("pattern", "clash", "part_pattern")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    CLASH_FIELD_NUMBER: _ClassVar[int]
    PART_PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    clash: Clash
    part_pattern: str
    def __init__(self, pattern: _Optional[str] = ..., clash: _Optional[_Union[Clash, str]] = ..., part_pattern: _Optional[str] = ...) -> None: ...

class TicketKey(_message.Message):
    __slots__ = ("key", "not_before_ms", "not_after_ms", "region")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.PublicKey
    not_before_ms: int
    not_after_ms: int
    region: _types_pb2.Region
    def __init__(self, key: _Optional[_Union[_types_pb2.PublicKey, _Mapping]] = ..., not_before_ms: _Optional[int] = ..., not_after_ms: _Optional[int] = ..., region: _Optional[_Union[_types_pb2.Region, str]] = ...) -> None: ...

class RegionKey(_message.Message):
    __slots__ = ("key", "use", "not_before_ms", "not_after_ms", "signature")
    KEY_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.PublicKey
    use: RegionKeyUse
    not_before_ms: int
    not_after_ms: int
    signature: bytes
    def __init__(self, key: _Optional[_Union[_types_pb2.PublicKey, _Mapping]] = ..., use: _Optional[_Union[RegionKeyUse, str]] = ..., not_before_ms: _Optional[int] = ..., not_after_ms: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Denial(_message.Message):
    __slots__ = ("id", "kind", "subject", "until_ms", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: DenialKind
    subject: str
    until_ms: int
    reason: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[DenialKind, str]] = ..., subject: _Optional[str] = ..., until_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class GeoTable(_message.Message):
    __slots__ = ("version", "digest", "size_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: int
    digest: _types_pb2.Digest
    size_bytes: int
    def __init__(self, version: _Optional[int] = ..., digest: _Optional[_Union[_types_pb2.Digest, _Mapping]] = ..., size_bytes: _Optional[int] = ...) -> None: ...
