from __future__ import annotations

from pathlib import Path

import pytest

from fulmen.callbacks import checkpoint_files as files
from fulmen.checkpoint.folder import part_name
from fulmen.checkpoint.save_error import CheckpointSaveError


def test_absolute_resolves_home_and_keeps_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.absolute("~/a") == str(tmp_path.resolve() / "a")
    assert files.absolute("s3://bucket/a") == "s3://bucket/a"
    assert files.absolute("") == ""
    assert files.absolute(f"file://{tmp_path}/a") == str(tmp_path.resolve() / "a")


def test_names_and_existence(tmp_path: Path) -> None:
    assert files.names_in(str(tmp_path / "nowhere")) == []
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert files.names_in(str(tmp_path)) == ["a", "b"]
    assert files.exists(str(tmp_path / "a")) and not files.exists(str(tmp_path / "c"))


def test_a_remote_folder_is_asked_through_fsspec() -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    store.pipe("/bucket/run/a.ckpt", b"")
    assert files.exists("memory://bucket/run/a.ckpt") and not files.exists("memory://bucket/run/b.ckpt")
    assert files.names_in("memory://bucket/run") == ["a.ckpt"]
    assert files.names_in("memory://bucket/none") == []


def test_a_local_address_is_asked_as_a_path(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert files.exists(f"file://{tmp_path}/a") and not files.exists(f"file://{tmp_path}/b")
    assert files.names_in(f"file://{tmp_path}") == ["a"]


def test_paths_below(tmp_path: Path) -> None:
    for name in ("a.ckpt", "b.txt", ".c.ckpt", "one/d.ckpt", "one/two/e.ckpt", "f.ckpt/part.ckpt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        pytest.importorskip("fsspec").filesystem("memory").pipe(f"/below/{name}", b"")
    for folder in (str(tmp_path), "memory://below"):
        found = [
            [path.removeprefix(folder + "/") for path in sorted(files.paths_below(folder, depth, ".ckpt"))]
            for depth in range(2)
        ]
        assert found == [["a.ckpt", "f.ckpt"], ["a.ckpt", "f.ckpt", "one/d.ckpt"]], folder


def test_earlier_runs() -> None:
    for name in ("version_0", "version_2", "version_10", "version_x", "named"):
        Path("logs", name).mkdir(parents=True)
    found = sorted(files.earlier_runs("logs/version_10/checkpoints"))
    assert found == ["logs/version_0/checkpoints", "logs/version_2/checkpoints"]
    for folder in ("logs/named/checkpoints", "logs/version_10/mine", "logs/version_10", "logs", ""):
        assert files.earlier_runs(folder) == []


def test_clean_takes_what_killed_runs_left(tmp_path: Path) -> None:
    folders = [tmp_path / f"version_{number}/checkpoints" for number in range(3)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / part_name("a.ckpt")).touch()
        (folder / "a.ckpt").touch()
    files.clean(str(folders[1]), depth=0)
    assert [len(list(folder.iterdir())) for folder in folders] == [1, 1, 2]


def test_lies_below(tmp_path: Path) -> None:
    assert files.lies_below(str(tmp_path / "a" / "b"), str(tmp_path))
    assert not files.lies_below(str(tmp_path), str(tmp_path))
    assert not files.lies_below(str(tmp_path / "ab"), str(tmp_path / "a"))


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("links_work", [True, False])
def test_link_replaces_whatever_was_there(
    tmp_path: Path, kind: str, links_work: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links_work:
        monkeypatch.setattr("os.symlink", _refuse)
    for round_, name in enumerate(("one", "two")):
        target = tmp_path / name
        if kind == "folder":
            target.mkdir()
            (target / "part").write_text(str(round_))
        else:
            target.write_text(str(round_))
        link = tmp_path / "last"
        files.link(str(target), str(link))
        read = (link / "part" if kind == "folder" else link).read_text()
        assert read == str(round_) and link.is_symlink() == links_work
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "one", "two"]


def test_a_link_that_fails_for_another_reason_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").touch()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.symlink", full)
    with pytest.raises(CheckpointSaveError, match="Free space there"):
        files.link(str(tmp_path / "one"), str(tmp_path / "last"))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def _refuse(*_: object) -> None:
    raise OSError("no links here")


def test_pattern_of() -> None:
    pattern = files.pattern_of("{epoch}-last.", ".ckpt", "-")
    assert pattern.fullmatch("epoch=3-last..ckpt") and pattern.fullmatch("epoch=3-last.-v12.ckpt")
    assert not pattern.fullmatch("epoch=3-lastX.ckpt")
