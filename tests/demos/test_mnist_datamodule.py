"""MNIST from small files in its format, fetched from a folder."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.demos.mnist_datamodule import CHECKSUMS, MNIST, MNISTDataModule, read_idx
from fulmen.utilities.exceptions import MisconfigurationException


def idx(data: Tensor) -> bytes:
    """The bytes of a file in MNIST's format."""
    header = struct.pack(f">HBB{data.ndim}I", 0, 8, data.ndim, *data.shape)
    return header + bytes(data.flatten().tolist())


@pytest.fixture
def images() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8) for name, count in (("train", 12), ("t10k", 5))
    }


@pytest.fixture
def source(tmp_path: Path, images: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of a mirror with small files."""
    folder, checksums = tmp_path / "mirror", {}
    folder.mkdir()
    for prefix, data in images.items():
        for name, content in (("images-idx3-ubyte", data), ("labels-idx1-ubyte", torch.arange(len(data)) % 10)):
            packed = gzip.compress(idx(content), mtime=0)
            (folder / f"{prefix}-{name}.gz").write_bytes(packed)
            checksums[f"{prefix}-{name}"] = hashlib.md5(packed).hexdigest()
    return {"mirror": folder.as_uri(), "checksums": checksums}


def test_images_come_from_a_mirror(tmp_path: Path, source: dict[str, Any], images: dict[str, Tensor]) -> None:
    data = MNIST(tmp_path / "data", train=False, download=True, **source)
    assert len(data) == 5  # type: ignore[arg-type]
    image, label = data[3]
    assert label == 3 and image.shape == (1, 28, 28)
    assert torch.equal(image[0], images["t10k"][3].float() / 255)


def test_files_are_fetched_once_and_read_unpacked_too(tmp_path: Path, source: dict[str, Any]) -> None:
    one: Any = MNIST(tmp_path / "data", download=True, **source)
    for file in (tmp_path / "data" / "MNIST" / "raw").iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    other: Any = MNIST(tmp_path / "data", download=True, mirror="file:///nowhere")
    assert torch.equal(one.data, other.data)


def test_another_file_than_was_meant_is_refused(tmp_path: Path, source: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match="pass the address of another mirror"):
        MNIST(tmp_path / "data", download=True, mirror=source["mirror"], checksums=CHECKSUMS)
    assert not list((tmp_path / "data" / "MNIST" / "raw").iterdir())


def test_what_to_do_without_files(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"MNIST\(root, download=True\)"):
        MNIST(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no idx", idx(torch.zeros(2, 3, dtype=torch.uint8))[:-1], b"\0\0\x09\0"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MisconfigurationException, match="Remove the file, so that it is downloaded anew"):
        read_idx(tmp_path / "file")


def test_a_torn_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(idx(torch.zeros(200, dtype=torch.uint8)))[:-9])
    with pytest.raises(MisconfigurationException, match="Remove the file"):
        read_idx(tmp_path / "file.gz")


def test_labels_and_images_belong_together(tmp_path: Path, source: dict[str, Any]) -> None:
    MNIST(tmp_path, download=True, **source)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(MisconfigurationException, match="3 labels for 12 images"):
        MNIST(tmp_path)


def test_the_data_module(tmp_path: Path, source: dict[str, Any]) -> None:
    def made(**changes: Any) -> MNISTDataModule:
        module = MNISTDataModule(str(tmp_path / "data"), val_split=4, num_workers=0, batch_size=3, **changes, **source)
        module.prepare_data()
        module.setup("fit")
        return module

    module = made()
    assert (module.name, module.num_classes) == ("mnist", 10)
    assert [
        len(loader) for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    ] == [
        2,
        2,
        2,
    ]
    seen = [*module.dataset_train.indices, *module.dataset_val.indices]
    assert sorted(seen) == list(range(12))
    assert made().dataset_val.indices == module.dataset_val.indices != made(seed=1).dataset_val.indices
    (plain, _), *_ = module.test_dataloader()
    (normalized, _), *_ = made(normalize=True).test_dataloader()
    assert torch.allclose(normalized, plain * 2 - 1)
    assert made(normalize=True).default_transforms is not None


def test_a_split_leaves_something(tmp_path: Path, source: dict[str, Any]) -> None:
    module = MNISTDataModule(str(tmp_path), val_split=12, **source)
    module.prepare_data()
    with pytest.raises(MisconfigurationException, match=r"MNISTDataModule\(val_split=5000\)"):
        module.setup("fit")
