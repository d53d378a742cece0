"""Opens the store of an address: a folder or a bucket."""

from pathlib import Path

from workers.contract.errors import StoreError
from workers.store.folder import FolderStore
from workers.store.protocol import Store


def open_store(url: str) -> Store:
    """The store of a study's results: a folder, or `s3://bucket/prefix`. Nothing is asked of a bucket here.

    Raises:
        StoreError: the url names something that is neither.
    """
    if url.startswith("s3://"):
        from workers.store.bucket_address import open_bucket

        return open_bucket(url)
    if "://" in url:
        raise StoreError(f"run.out: got {url}; allowed is a folder or s3://bucket/prefix")
    for folder in (Path(url), *Path(url).parents):
        if folder.exists() and not folder.is_dir():
            where = "is a file" if folder == Path(url) else f"cannot be made, as {folder} is a file"
            raise StoreError(f"run.out: {url} {where}; name a folder")
    return FolderStore(url)
