"""What the API takes and gives, as it stands in the OpenAPI document.

The rule: a field that is not here is refused on the way in and cannot leave on the way out.  Times
are RFC 3339 in UTC, sizes are bytes, ids are opaque.
"""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from control.accounts.destinations import Clash, DestinationKind
from control.accounts.model import CredentialKind
from control.accounts.workflows import ConditionKind
from control.uploads.model import DeletionReason, DeliveryState, OutcomeState, UploadState
from zentransfer.errors import Code
from zentransfer.ids import Region
from zentransfer.limits import (
    DESTINATION_ADDRESS_CHARS_MAX,
    DESTINATION_ENDPOINT_CHARS_MAX,
    DESTINATION_SECRET_CHARS_MAX,
    FOLDER_CHARS_MAX,
    LABEL_CHARS_MAX,
    PATTERN_CHARS_MAX,
    RULE_CONDITIONS_MAX,
    WORKFLOW_DESTINATIONS_MAX,
    WORKFLOW_RULES_MAX,
)


class Body(BaseModel):
    """A JSON object with exactly these fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True
    )


Label = Annotated[str, Field(min_length=1, max_length=LABEL_CHARS_MAX, description="for people")]
Folder = Annotated[
    str, Field(max_length=FOLDER_CHARS_MAX, description="a virtual folder such as a/b")
]
Time = Annotated[str, Field(description="RFC 3339, UTC", json_schema_extra={"format": "date-time"})]
Destinations = Annotated[
    list[str], Field(max_length=WORKFLOW_DESTINATIONS_MAX, description="ids of destinations")
]


KeyText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=DESTINATION_SECRET_CHARS_MAX,
        json_schema_extra={"format": "password", "writeOnly": True},
    ),
]


class NewDestination(Body):
    """A place for files."""

    kind: DestinationKind
    label: Label
    address: Annotated[
        str,
        Field(
            min_length=1,
            max_length=DESTINATION_ADDRESS_CHARS_MAX,
            description="for kind folder: an absolute path on the region's machines; "
            "for kind s3: s3://bucket or s3://bucket/prefix",
        ),
    ]
    clash: Clash = Clash.KEEP_BOTH
    endpoint: Annotated[
        str | None,
        Field(
            max_length=DESTINATION_ENDPOINT_CHARS_MAX,
            description="for kind s3: the server, https://host[:port]; without it, Amazon's",
        ),
    ] = None
    region: Annotated[
        str | None,
        Field(max_length=64, description="for kind s3: the provider's, us-east-1 if none"),
    ] = None
    access_key_id: Annotated[
        KeyText | None,
        Field(
            description="for kind s3; never shown. It needs the rights GetObject, PutObject, "
            "AbortMultipartUpload and ListBucket"
        ),
    ] = None
    secret_access_key: Annotated[KeyText | None, Field(description="for kind s3; never shown")] = (
        None
    )


class NewSecret(Body):
    """Another key for a destination; ``version`` is the one that it was read at."""

    version: int
    access_key_id: KeyText
    secret_access_key: KeyText


class DestinationBody(Body):
    """A place for files, as it is kept."""

    id: str
    version: int
    kind: DestinationKind
    label: str
    address: str
    clash: Clash
    endpoint: Annotated[str | None, Field(description="the server, for kind s3")]
    region: Annotated[str | None, Field(description="the provider's, for kind s3")]
    created_at: Time


class ProbedBody(Body):
    """How a trial of a destination went; code and detail say why it did not go well.

    Without ``tried`` nothing was put there: then ``ok`` is false for what is not well as far as it
    can be seen from here, else null: nobody knows before the first delivery, which tries it.
    """

    ok: bool | None
    tried: bool
    code: Code | None
    detail: str


class ConditionBody(Body):
    """One test of a rule; ``*`` stands for any run of characters."""

    kind: ConditionKind
    pattern: Annotated[str, Field(min_length=1, max_length=PATTERN_CHARS_MAX)]
    negated: bool = False


class RuleBody(Body):
    """Where a file goes that meets all conditions."""

    conditions: Annotated[list[ConditionBody], Field(min_length=1, max_length=RULE_CONDITIONS_MAX)]
    destinations: Destinations
    priority: bool = False


class NewWorkflow(Body):
    """What shall happen to files: the first rule that holds decides, without rules all get them."""

    name: Label
    folder: Folder = ""
    rules: Annotated[list[RuleBody], Field(max_length=WORKFLOW_RULES_MAX)] = []
    destinations: Destinations


class ChangedWorkflow(NewWorkflow):
    """The next version of a workflow; ``version`` is the one that it was read at."""

    version: int


class WorkflowBody(Body):
    """What happens to files, as of a version."""

    id: str
    version: int
    name: str
    folder: str
    rules: list[RuleBody]
    destinations: list[str]
    created_at: Time


class NewCredential(Body):
    """What a program (api) or a camera (ftp) shall sign in with."""

    kind: CredentialKind
    label: Label
    folder: Folder | None = None
    workflow: Annotated[str | None, Field(description="id; without it, the oldest workflow")] = None
    require_tls: bool = False
    expires_at: AwareDatetime | None = None


class CredentialBody(Body):
    """What a program or a camera signs in with; its secret is not kept."""

    id: str
    kind: CredentialKind
    name: Annotated[str, Field(description="what a camera signs in as")]
    label: str
    folder: str
    workflow: str
    require_tls: bool
    created_at: Time
    expires_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="to the hour")]


class IssuedBody(CredentialBody):
    """A new credential with its secret, shown this once.

    A camera signs in with name and secret, a program with the token.
    """

    secret: str
    token: Annotated[str | None, Field(description="the bearer token, for kind api")]


class TraceBody(Body):
    """A live protocol trace that is open, and until when."""

    credential: str
    expires_at: Time


class DeliveryBody(Body):
    """One file on its way to one destination."""

    id: str
    destination: str
    state: DeliveryState
    attempts: int
    error: Code | None
    advice: Annotated[
        str, Field(description="what keeps it back and what to do, in words; empty if nothing does")
    ]
    delivered_at: Time | None


class EventBody(Body):
    """One line of a timeline."""

    at: Time
    type: str
    detail: str


class ReceiptBody(Body):
    """That the content is gone, signed by the region where it lay; docs/contracts.md, section 7.

    The signature and what it needs are empty when an older node destroyed the content, and for an
    upload that never was whole (reason unfinished): no process with a key to sign had part in it.
    """

    upload: str
    account: str
    run: str | None
    reason: DeletionReason
    region: Region
    size: int
    keys_destroyed_at: Time
    removed_at: Time
    undelivered: Annotated[list[str], Field(description="destinations that did not get it")]
    audit_sequence: Annotated[
        int | None, Field(description="lines of the region's audit chain before this destruction")
    ]
    audit_hash: Annotated[
        str | None, Field(description="SHA-256 of the last of those lines, hexadecimal")
    ]
    signature: Annotated[
        str | None,
        Field(description="Ed25519 (RFC 8032) by root_key over all other fields, hexadecimal"),
    ]
    root_key: Annotated[
        str | None, Field(description="public half of the region's root key, hexadecimal")
    ]


class UploadBody(Body):
    """One file that was sent to us; name and folder are empty when they cannot be shown."""

    id: str
    name: str | None
    folder: str | None
    size: Annotated[
        int | None,
        Field(description="bytes: of the content, or as announced before it was whole; else null"),
    ]
    received: Annotated[int, Field(description="bytes that are durable, or were")]
    region: Region
    node: str
    state: UploadState
    outcome: Annotated[
        OutcomeState | None, Field(description="how it ended, whatever came after; null before")
    ]
    error: Annotated[Code | None, Field(description="why it did not become whole")]
    created_at: Time
    committed_at: Time | None
    destroyed_at: Time | None
    digest: Annotated[
        str | None,
        Field(description="sha256: and 64 hexadecimal digits; known at the first delivery"),
    ]
    deliveries: list[DeliveryBody]


class WholeUploadBody(UploadBody):
    """One file with its timeline, the newest events of it; a receipt when its content is gone."""

    receipt: ReceiptBody | None
    events: list[EventBody]


class AskedBody(Body):
    """What was asked for and will be tried; the timeline tells how it went."""

    command: str
    kind: Literal["cancel", "retry"]


class ProblemBody(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    retry_after_s: float | None = None


def rfc3339(at_ms: int) -> str:
    """Return UTC milliseconds as RFC 3339 text."""
    whole = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def maybe_rfc3339(at_ms: int | None) -> str | None:
    """Return UTC milliseconds as RFC 3339 text, or ``None``."""
    return None if at_ms is None else rfc3339(at_ms)
