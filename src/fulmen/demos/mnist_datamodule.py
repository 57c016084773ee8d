"""MNIST, read from the files in which it is published; needs no torchvision."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, random_split

from fulmen.core.datamodule import LightningDataModule
from fulmen.demos.download import fetch
from fulmen.utilities.exceptions import MisconfiguredValue

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
CHECKSUMS = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""The MD5 of each compressed file, by its name without ``.gz``."""


def scaled(image: Tensor) -> Tensor:
    """An image of bytes as numbers from 0 to 1, with one channel."""
    return image.unsqueeze(0).float() / 255


class _Normalized:
    """An image scaled to 0 to 1, minus a mean, over a deviation."""

    def __init__(self, mean: float, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    def __call__(self, image: Tensor) -> Tensor:
        return (scaled(image) - self.mean) / self.deviation


class MNISTImages(Dataset[tuple[Tensor, int]]):
    """Images of handwritten digits, from ``root/MNIST/raw``, where torchvision keeps them, too.

    Args:
        root: The folder.
        train: Whether the 60,000 of training; otherwise the 10,000 of testing.
        transform: What to make of an image of bytes; None scales it to 0 to 1.
        download: Whether to fetch files that are not there.
        mirror: The address of the folder to fetch them from, also ``file://``.
        checksums: The MD5 of each compressed file, by its name without ``.gz``; a file without one is not compared.
    """

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Callable[[Tensor], Tensor] | None = None,
        download: bool = False,
        *,
        mirror: str = MIRROR,
        checksums: Mapping[str, str] = CHECKSUMS,
    ) -> None:
        self.root = Path(root)
        self.train = train
        self.transform = scaled if transform is None else transform
        prefix = "train" if train else "t10k"
        files = []
        for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
            file = self.root / "MNIST" / "raw" / name
            compressed = file.with_name(f"{name}.gz")
            if not file.exists() and not compressed.exists() and download:
                fetch(f"{mirror.rstrip('/')}/{name}.gz", compressed, checksums.get(name))
            files.append(file if file.exists() else compressed)
        self.data, self.targets = read_idx(files[0]), read_idx(files[1])
        if len(self.data) != len(self.targets):
            raise _damaged(files[1], f"{len(self.targets)} labels for {len(self.data)} images")

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.data[index]), int(self.targets[index])

    def __len__(self) -> int:
        return len(self.data)


def MNIST(*args: Any, **kwargs: Any) -> Dataset[tuple[Tensor, int]]:
    """Images of handwritten digits; see :class:`MNISTImages` for the arguments."""
    return MNISTImages(*args, **kwargs)


def read_idx(path: Path) -> Tensor:
    """Reads a file in MNIST's format, compressed or not.

    Args:
        path: The file.

    Returns:
        Its bytes, in the shape that it says.

    Raises:
        MisconfiguredValue: If it is not there, or is no such file.
    """
    if not path.exists():
        raise MisconfiguredValue(
            "MNIST is read from files that are there.",
            got=f"no file {path}",
            fix="`MNISTDataModule(...)` downloads it in `prepare_data`; or `MNIST(root, download=True)`.",
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
        zero, kind, dimensions = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    except (OSError, EOFError, struct.error) as error:
        raise _damaged(path, str(error)) from error
    body = content[4 + 4 * dimensions :]
    if zero != 0 or kind != 8 or len(body) != math.prod(shape):
        raise _damaged(path, f"{len(body)} bytes of kind {kind} for the shape {shape}")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).view(shape) if body else torch.zeros(shape)


def _damaged(path: Path, what: str) -> MisconfiguredValue:
    return MisconfiguredValue(
        "MNIST is read from whole files in its own format.",
        got=f"{path}: {what}",
        fix="Remove the file, so that it is downloaded anew.",
    )


class MNISTDataModule(LightningDataModule):
    """MNIST for training, validation and testing.

    Args:
        data_dir: Where the files are, or go.
        val_split: How many of the 60,000 images are kept for validation.
        num_workers: The workers of each loader.
        normalize: Whether images go from -1 to 1; otherwise from 0 to 1.
        seed: Of the draw of the images for validation.
        batch_size: The number of images in a batch.
        mirror: The address of the folder to fetch files from, also ``file://``.
        checksums: The MD5 of each compressed file, by its name without ``.gz``; a file without one is not compared.
    """

    name = "mnist"

    def __init__(
        self,
        data_dir: str = "./data",
        val_split: int = 5000,
        num_workers: int = 16,
        normalize: bool = False,
        seed: int = 42,
        batch_size: int = 32,
        *,
        mirror: str = MIRROR,
        checksums: Mapping[str, str] = CHECKSUMS,
    ) -> None:
        super().__init__()
        self.data_dir = data_dir
        self.val_split = val_split
        self.num_workers = num_workers
        self.normalize = normalize
        self.seed = seed
        self.batch_size = batch_size
        self._source: dict[str, Any] = {"mirror": mirror, "checksums": checksums}

    @property
    def num_classes(self) -> int:
        """How many digits there are."""
        return 10

    @property
    def default_transforms(self) -> Callable[[Tensor], Tensor] | None:
        """What becomes of an image of bytes."""
        return _Normalized(0.5, 0.5) if self.normalize else scaled

    def prepare_data(self) -> None:
        for train in (True, False):
            MNIST(self.data_dir, train=train, download=True, **self._source)

    def setup(self, stage: str) -> None:
        whole: Any = MNIST(self.data_dir, train=True, transform=self.default_transforms)
        if not 0 <= self.val_split < len(whole):
            raise MisconfiguredValue(
                "`val_split` is a number of images that leaves some to train on.",
                got=f"val_split={self.val_split} of {len(whole)}",
                fix="`MNISTDataModule(val_split=5000)`.",
            )
        lengths = [len(whole) - self.val_split, self.val_split]
        generator = torch.Generator().manual_seed(self.seed)
        self.dataset_train, self.dataset_val = random_split(whole, lengths, generator)

    def train_dataloader(self) -> Any:
        return self._loader(self.dataset_train, shuffle=True, drop_last=True)

    def val_dataloader(self) -> Any:
        return self._loader(self.dataset_val)

    def test_dataloader(self) -> Any:
        return self._loader(MNIST(self.data_dir, train=False, transform=self.default_transforms))

    def _loader(self, dataset: Any, shuffle: bool = False, drop_last: bool = False) -> DataLoader[Any]:
        return DataLoader(
            dataset, batch_size=self.batch_size, shuffle=shuffle, num_workers=self.num_workers, drop_last=drop_last
        )
