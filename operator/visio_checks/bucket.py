"""The bucket, with the keys that the API hands to every recorder."""

from __future__ import annotations

import asyncio
import io
import ssl
from datetime import timedelta
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from .fault import Fault, unreachable
from .settings import Storage

_ANSWER_S = 10.0
_MISSING = ("NoSuchKey", "NoSuchObject")


class Bucket:
    """A few operations on objects; each raises Fault when the bucket refuses."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._where = urlsplit(storage.url)
        self._client = Minio(
            self._where.netloc,
            access_key=storage.access_key,
            secret_key=storage.secret_key,
            # Without one the client would first ask the server which it has.
            region=storage.region or "us-east-1",
            secure=self._where.scheme == "https",
            http_client=urllib3.PoolManager(
                timeout=_ANSWER_S, retries=False, ssl_context=ssl.create_default_context(), cert_reqs="CERT_REQUIRED"
            ),
        )

    async def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        await asyncio.to_thread(self._guarded, self._put, key, content)

    async def size(self, key: str) -> int | None:
        """Bytes of an object, or None when it is not there."""
        found = await asyncio.to_thread(self._guarded, self._size, key)
        return found if isinstance(found, int) else None

    async def remove(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        await asyncio.to_thread(self._guarded, self._remove, key)

    def link(self, key: str) -> str:
        """A URL that lets whoever has it read the object for an hour."""
        return self._client.presigned_get_object(self._storage.bucket, key, timedelta(hours=1))

    def key_of(self, url: str) -> str:
        """The key of an object of this bucket from a URL of it in path style; empty for any other URL."""
        parts = urlsplit(url)
        prefix = f"/{self._storage.bucket}/"
        return parts.path.removeprefix(prefix) if parts.path.startswith(prefix) else ""

    def _put(self, key: str, content: bytes) -> None:
        self._client.put_object(self._storage.bucket, key, io.BytesIO(content), len(content))

    def _size(self, key: str) -> int | None:
        try:
            return self._client.stat_object(self._storage.bucket, key).size
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise

    def _remove(self, key: str) -> None:
        self._client.remove_object(self._storage.bucket, key)

    def _guarded(self, work: object, *arguments: object) -> object:
        try:
            return work(*arguments)  # type: ignore[operator]
        except S3Error as error:
            raise self._refused(error.code or "an error") from None
        except (MinioException, ValueError) as error:
            raise Fault(
                "spec.objectStorage.endpoint", f"{self._where.netloc} does not answer as S3 does: {error}", "correct it"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable("spec.objectStorage.endpoint", self._where.netloc, error) from None

    def _refused(self, code: str) -> Fault:
        if code == "NoSuchBucket":
            problem = f"there is no bucket {self._storage.bucket} at {self._where.netloc}"
            return Fault("spec.objectStorage.bucket", problem, "create it, or correct the name")
        problem = f"{self._where.netloc} refuses the keys for bucket {self._storage.bucket} ({code})"
        next_step = "put keys that may read, write and delete there into the Secret, or correct the region"
        return Fault("spec.objectStorage.secretRef", problem, next_step)
