"""Object storage as the parts reach it: the variables, signed requests and signed links."""

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from visio_lab.standins.environment import Environment

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing: the body of a GET request."""


@dataclass(frozen=True)
class Storage:
    """Where the bucket is and how to prove who asks."""

    url: str
    bucket: str
    access_key: str
    secret_key: str
    region: str
    secure: bool

    @property
    def authority(self) -> str:
        """Host and port, which signatures cover."""
        return urlsplit(self.url).netloc

    def client(self) -> Minio:
        """A client; without a region it asks the store for the bucket's before its first request."""
        return Minio(
            endpoint=self.authority,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=self.secure,
            region=self.region or None,
        )

    def link(self, key: str, seconds: int) -> str:
        """A presigned URL for reading the object."""
        return self.client().get_presigned_url(
            method="GET", bucket_name=self.bucket, object_name=key, expires=dt.timedelta(seconds=seconds)
        )

    def upload_link(self, key: str, seconds: int) -> str:
        """A presigned URL for a PUT with the header `x-amz-acl: private`, which the signature covers as well.

        The algorithm is AWS's signature version 4; the client library signs no header but the host.
        """
        now, path, headers = dt.datetime.now(dt.UTC), f"/{self.bucket}/{quote(key)}", "host;x-amz-acl"
        scope = f"{now:%Y%m%d}/{self.region}/s3/aws4_request"
        query = urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": f"{self.access_key}/{scope}",
                "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
                "X-Amz-Expires": seconds,
                "X-Amz-SignedHeaders": headers,
            }
        )
        request = f"PUT\n{path}\n{query}\nhost:{self.authority}\nx-amz-acl:private\n\n{headers}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key_of_day = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key_of_day = hmac.digest(key_of_day, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{now:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}"
        signature = hmac.digest(key_of_day, text.encode(), "sha256").hex()
        return f"{self.url.rstrip('/')}{path}?{query}&X-Amz-Signature={signature}"

    def headers(self, key: str) -> Mapping[str, str]:
        """What makes a plain GET of the object a signed one; the request has to name the same host."""
        url = urlsplit(f"{self.url.rstrip('/')}/{self.bucket}/{quote(key)}")
        now = dt.datetime.now(dt.UTC)
        signed = sign_v4_s3(
            method="GET",
            url=url,
            region=self.region,
            headers={
                "Host": self.authority,
                "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ"),
                "X-Amz-Content-SHA256": EMPTY_SHA256,
            },
            credentials=Credentials(access_key=self.access_key, secret_key=self.secret_key),
            content_sha256=EMPTY_SHA256,
            date=now,
        )
        return {name: str(signed[name]) for name in ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256")}


def from_url(environment: Environment) -> Storage:
    """`AWS_*` as the API and the summary service read them, with a URL as endpoint."""
    url = environment.url("AWS_S3_ENDPOINT_URL")
    return Storage(
        url=url.rstrip("/"),
        bucket=environment.text("AWS_STORAGE_BUCKET_NAME"),
        access_key=environment.secret("AWS_S3_ACCESS_KEY_ID"),
        secret_key=environment.secret("AWS_S3_SECRET_ACCESS_KEY"),
        region=environment.text("AWS_S3_REGION_NAME"),
        secure=url.startswith("https://"),
    )
