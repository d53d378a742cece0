"""Open the store at an address: a folder or a bucket."""

from pathlib import Path

from workers.contract.errors import StoreError
from workers.store.folder import FolderStore
from workers.store.protocol import Store


def open_store(url: str) -> Store:
    """Open the store of a study's results, a folder or `s3://bucket/prefix`, without sending a request to the bucket.

    Raises:
        StoreError: the address is neither a folder nor a valid `s3://` address.
    """
    if url.startswith("s3://"):
        from workers.store.bucket_address import open_bucket

        return open_bucket(url)
    if "://" in url or url.startswith("s3:"):
        raise StoreError(f"run.out: got {url}; write a folder or s3://bucket/prefix")
    for folder in (Path(url), *Path(url).parents):
        if folder.exists() and not folder.is_dir():
            where = "is a file" if folder == Path(url) else f"cannot be created, because {folder} is a file"
            raise StoreError(f"run.out: {url} {where}; name a folder")
    return FolderStore(url)
