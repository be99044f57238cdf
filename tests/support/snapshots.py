"""A snapshot with one account in it, and what signs in to it."""

from dataclasses import dataclass, field
from random import Random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.snapshot import (
    AccountEntry,
    AccountState,
    Clash,
    CredentialEntry,
    CredentialKind,
    DestinationEntry,
    DestinationKind,
    Entry,
    Limits,
    Snapshot,
    WorkflowEntry,
    snapshot_of,
)
from zentransfer import ids
from zentransfer.credential import Pepper, Shown, inner_hash, make_pepper, token, verifier
from zentransfer.ids import (
    AccountID,
    CredentialID,
    DestinationID,
    IdMaker,
    Kind,
    Region,
    WorkflowID,
)


@dataclass
class Customer:
    """One account with one credential, workflow and folder destination, made from a seed."""

    seed: int = 0
    region: Region = Region.FR
    limits: Limits = field(default_factory=Limits)
    state: AccountState = AccountState.ACTIVE
    kind: CredentialKind = CredentialKind.API
    folder: str = ""
    address: str = "/srv/files"
    pepper: Pepper = field(init=False)

    def __post_init__(self) -> None:
        random = Random(self.seed)
        make = IdMaker(random.randbytes).make
        self.pepper = make_pepper(Random(7).randbytes)
        self.account_id = AccountID(make(Kind.ACCOUNT))
        self.credential_id = CredentialID(make(Kind.CREDENTIAL))
        self.workflow_id = WorkflowID(make(Kind.WORKFLOW))
        self.destination_id = DestinationID(make(Kind.DESTINATION))
        self.private_key = X25519PrivateKey.from_private_bytes(random.randbytes(32))
        self.shown = Shown(
            ids.credential_name(random.randbytes), ids.credential_secret(random.randbytes)
        )

    @property
    def token(self) -> str:
        return token(self.shown.name, self.shown.secret)

    def account(self) -> AccountEntry:
        return AccountEntry(
            id=self.account_id,
            state=self.state,
            limits=self.limits,
            pin=None,
            epoch=0,
            name_kid="0123456789abcdef",
            name_key=self.private_key.public_key().public_bytes_raw(),
        )

    def credential(self) -> CredentialEntry:
        return CredentialEntry(
            id=self.credential_id,
            name=self.shown.name,
            account_id=self.account_id,
            kind=self.kind,
            verifier=verifier(self.pepper, inner_hash(self.shown.secret)),
            pepper_kid=self.pepper.kid,
            workflow_id=self.workflow_id,
            folder=self.folder,
            not_after_ms=None,
            require_tls=False,
            epoch=0,
        )

    def workflow(self, version: int = 1) -> WorkflowEntry:
        return WorkflowEntry(self.workflow_id, version, self.account_id, (), (self.destination_id,))

    def destination(self) -> DestinationEntry:
        return DestinationEntry(
            id=self.destination_id,
            version=1,
            account_id=self.account_id,
            kind=DestinationKind.FOLDER,
            address=self.address,
            clash=Clash.KEEP_BOTH,
        )

    def entries(self) -> list[Entry]:
        return [self.account(), self.credential(), self.workflow(), self.destination()]

    def snapshot(self, version: int = 1, *more: Entry) -> Snapshot:
        return snapshot_of(self.region, version, 1_000, [*self.entries(), *more])
