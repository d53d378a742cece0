"""Open `s3://bucket/prefix` with endpoint, region and credentials found in the same way as by the AWS SDKs."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workers.contract.errors import StoreError
from workers.contract.user_paths import expanded, home_folder
from workers.store.bucket import BucketStore

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


# Programs escape other characters in different ways, so they are refused.
_PREFIX = re.compile(r"[A-Za-z0-9_.+=@-][A-Za-z0-9_.+=@ -]*(/[A-Za-z0-9_.+=@-][A-Za-z0-9_.+=@ -]*)*")


def open_bucket(url: str) -> BucketStore:
    """Open the store at `s3://bucket/prefix`; endpoint, region and credentials are found as by the AWS SDKs.

    The endpoint comes from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region from AWS_REGION or AWS_DEFAULT_REGION, and
    the credentials from AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, from a profile (with boto3), from a web identity, or
    from the role of a container or an instance.

    Raises:
        StoreError: the name of the bucket or the prefix is not allowed, or the environment names an endpoint or a profile
            that cannot be used.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        found = f"{bucket} is not a valid bucket name" if bucket else "the name of the bucket is missing"
        raise StoreError(f"run.out: {url}: {found}; write s3://bucket/prefix")
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise StoreError(
            f"run.out: {url}: the prefix may contain only letters, digits, spaces and _ . + = @ - between single slashes"
        )
    name = "AWS_ENDPOINT_URL_S3" if os.environ.get("AWS_ENDPOINT_URL_S3") else "AWS_ENDPOINT_URL"
    endpoint = os.environ.get(name) or None
    if endpoint is not None and not _is_address(endpoint):
        shown = endpoint.rpartition("@")[2]
        raise StoreError(f"{name}: got {shown}; write an address like http://127.0.0.1:9000 without user name or password")
    credentials = _profile() if _has_profile() else None
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and credentials is not None:
        region = credentials.config.get("region")
    return BucketStore(bucket, prefix, endpoint=endpoint, region=str(region or "us-east-1"), credentials=credentials)


def _is_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        is_port = parts.port is None or parts.port > 0
        # A password in the address would be printed and passed on to every node.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and is_port and "@" not in parts.netloc
    except ValueError:
        return False


def _has_profile() -> bool:
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return False
    given = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or ("~/.aws/credentials" if home_folder() else "")
    return bool(os.environ.get("AWS_PROFILE")) or (bool(given) and Path(expanded(given)).is_file())


def _profile() -> "Boto3CredentialProvider":
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StoreError(
            'AWS_PROFILE or ~/.aws/credentials: reading a profile needs boto3; run pip install "factorial-iwae[s3]", '
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    try:
        return Boto3CredentialProvider(boto3.Session())
    except (BotoCoreError, ValueError):
        profile = os.environ.get("AWS_PROFILE", "default")
        raise StoreError(f"AWS_PROFILE: profile {profile} has no credentials; name another one, or log in first") from None
