from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Region(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGION_UNSPECIFIED: _ClassVar[Region]
    REGION_US: _ClassVar[Region]
    REGION_FR: _ClassVar[Region]
    REGION_SG: _ClassVar[Region]

class ProcessKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROCESS_KIND_UNSPECIFIED: _ClassVar[ProcessKind]
    PROCESS_KIND_INGEST: _ClassVar[ProcessKind]
    PROCESS_KIND_DELIVERY: _ClassVar[ProcessKind]

class DigestAlgorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIGEST_ALGORITHM_UNSPECIFIED: _ClassVar[DigestAlgorithm]
    DIGEST_ALGORITHM_SHA256: _ClassVar[DigestAlgorithm]

class KeySuite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_SUITE_UNSPECIFIED: _ClassVar[KeySuite]
    KEY_SUITE_HPKE_X25519: _ClassVar[KeySuite]
    KEY_SUITE_HPKE_P256: _ClassVar[KeySuite]
    KEY_SUITE_ED25519: _ClassVar[KeySuite]

class Meter(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METER_UNSPECIFIED: _ClassVar[Meter]
    METER_BYTES: _ClassVar[Meter]
    METER_UPLOADS: _ClassVar[Meter]
REGION_UNSPECIFIED: Region
REGION_US: Region
REGION_FR: Region
REGION_SG: Region
PROCESS_KIND_UNSPECIFIED: ProcessKind
PROCESS_KIND_INGEST: ProcessKind
PROCESS_KIND_DELIVERY: ProcessKind
DIGEST_ALGORITHM_UNSPECIFIED: DigestAlgorithm
DIGEST_ALGORITHM_SHA256: DigestAlgorithm
KEY_SUITE_UNSPECIFIED: KeySuite
KEY_SUITE_HPKE_X25519: KeySuite
KEY_SUITE_HPKE_P256: KeySuite
KEY_SUITE_ED25519: KeySuite
METER_UNSPECIFIED: Meter
METER_BYTES: Meter
METER_UPLOADS: Meter

class Identity(_message.Message):
    __slots__ = ("node", "process", "epoch")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    node: str
    process: str
    epoch: str
    def __init__(self, node: _Optional[str] = ..., process: _Optional[str] = ..., epoch: _Optional[str] = ...) -> None: ...

class Digest(_message.Message):
    __slots__ = ("algorithm", "value")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    algorithm: DigestAlgorithm
    value: bytes
    def __init__(self, algorithm: _Optional[_Union[DigestAlgorithm, str]] = ..., value: _Optional[bytes] = ...) -> None: ...

class PublicKey(_message.Message):
    __slots__ = ("kid", "suite", "public_key")
    KID_FIELD_NUMBER: _ClassVar[int]
    SUITE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    kid: str
    suite: KeySuite
    public_key: bytes
    def __init__(self, kid: _Optional[str] = ..., suite: _Optional[_Union[KeySuite, str]] = ..., public_key: _Optional[bytes] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("kid", "ciphertext")
    KID_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    kid: str
    ciphertext: bytes
    def __init__(self, kid: _Optional[str] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...
