from __future__ import annotations

from pathlib import Path

import torch

from fulmen.utilities.cloud_io import _load, get_filesystem


def test_file_systems(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        assert get_filesystem(path).protocol == ("file", "local")
    assert get_filesystem(tmp_path).exists(str(tmp_path / "file"))
    assert get_filesystem("memory://folder").protocol == "memory"


def test_options_reach_the_file_system(tmp_path: Path) -> None:
    assert get_filesystem(tmp_path, auto_mkdir=True).auto_mkdir


def test_files_are_loaded(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "file.ckpt")
    assert _load(tmp_path / "file.ckpt") == _load((tmp_path / "file.ckpt").as_uri()) == {"a": 1}
