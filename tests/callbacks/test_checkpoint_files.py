from __future__ import annotations

from pathlib import Path

import pytest

from fulmen.callbacks import checkpoint_files as files


def test_absolute_resolves_home_and_keeps_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.absolute("~/a") == str(tmp_path.resolve() / "a")
    assert files.absolute("s3://bucket/a") == "s3://bucket/a"
    assert files.absolute("") == ""


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


def _refuse(*_: object) -> None:
    raise OSError("no links here")


def test_pattern_of() -> None:
    pattern = files.pattern_of("{epoch}-last.", ".ckpt", "-")
    assert pattern.fullmatch("epoch=3-last..ckpt") and pattern.fullmatch("epoch=3-last.-v12.ckpt")
    assert not pattern.fullmatch("epoch=3-lastX.ckpt")
