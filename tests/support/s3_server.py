"""A real S3 server (moto) in a process of its own, and what anybody sees there."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from socket import create_connection
from typing import Any, Final

import boto3

from tests.support.ports import free_port
from zentransfer import service

BUCKET: Final = "desk"
KEY_ID: Final = "AKIATESTTESTTESTTEST"
KEY: Final = "secret/of+the/test"  # a stranger to moto unless it is told to look


class S3Server:
    """One moto server, on the same port each time it is started; it forgets when it ends.

    It enforces ``If-None-Match`` on whole objects and the sizes of parts; it checks neither
    signatures, unless :meth:`enforce` is called, nor the checksums of what arrives.
    """

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, is_strict: bool = False) -> None:
        """Start it, with an empty bucket, and wait until it answers.

        A *strict* one checks signatures and rights from its fifth action on; see :meth:`enforce`.
        """
        strict = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"} if is_strict else {}
        program = Path(sys.executable).with_name("moto_server")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**service.inherited(), **strict},
            )
        end = time.perf_counter() + 40
        while True:
            with suppress(OSError):
                create_connection(("127.0.0.1", self.port), 1).close()
                break
            assert self._process.poll() is None, self._log.read_text()
            assert time.perf_counter() < end, "moto does not answer"
            time.sleep(0.05)
        self._client = self.client()
        self._client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        """End it at once; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return every request that it has answered."""
        return self._log.read_text()

    def said(self, words: str) -> bool:
        """Say whether it has answered a request with these *words* in it."""
        return words in self.log()

    def client(self, kind: str = "s3", key_id: str = KEY_ID, key: str = KEY) -> Any:
        """Return a client of one of its services, in Amazon's own library."""
        return boto3.client(
            kind,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key_id,
            aws_secret_access_key=key,
        )

    def enforce(self) -> tuple[str, str]:
        """Make a key that may do everything; only that is let in from now on, if it is strict."""
        iam = self.client("iam")
        iam.create_user(UserName="desk")
        everything = (
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        )
        iam.put_user_policy(UserName="desk", PolicyName="all", PolicyDocument=everything)
        made = iam.create_access_key(UserName="desk")["AccessKey"]
        pair = (made["AccessKeyId"], made["SecretAccessKey"])
        self._client = self.client("s3", *pair)
        return pair

    def objects(self, bucket: str = BUCKET) -> dict[str, bytes]:
        """Return what anybody sees in *bucket*, by key, read back."""
        listed = self._client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            one["Key"]: self._client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            for one in listed
        }

    def parts(self, bucket: str = BUCKET) -> int:
        """Return how many uploads in parts lie there, hidden."""
        found = self._client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return len(found)
