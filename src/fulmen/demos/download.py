"""Fetching a file, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from fulmen.utilities.exceptions import MisconfiguredRun


def fetch(url: str, destination: Path, md5: str | None = None, timeout: float = 60) -> None:
    """Fetches a file from ``https://``, ``http://`` or ``file://``.

    Args:
        url: Where it lies.
        destination: Where it goes; folders are made as needed.
        md5: Its checksum; None for a file that is not compared.
        timeout: How many seconds to wait for the server.

    Raises:
        MisconfiguredRun: If it cannot be had, or is another file than was expected.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f".{destination.name}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=timeout) as source, open(part, "wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        if md5 is not None and digest.hexdigest() != md5:
            raise MisconfiguredRun(
                f"What is downloaded must be the file that is meant: one with the checksum {md5}.",
                got=f"{digest.hexdigest()} from {url}",
                fix="Try again, or pass the address of another mirror.",
            )
        os.replace(part, destination)
    except (urllib.error.URLError, OSError) as error:
        raise MisconfiguredRun(
            "Data that are not there are downloaded, and that failed.",
            got=f"{url}: {error}",
            fix=f"Put the file to {destination} yourself, or pass the address of another mirror.",
        ) from error
    finally:
        part.unlink(missing_ok=True)
