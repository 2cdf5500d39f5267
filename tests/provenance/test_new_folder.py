"""A command's folder is there whole or not at all, for every reader, and a full disk is one sentence."""

import errno
import os
from pathlib import Path

import pytest

from segcompass.errors import InputError
from segcompass.provenance.new_folder import new_folder, open_to_readers


def full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_it_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "out", needed=1000) as draft:
        (draft / "file").write_text("whole")
        assert not (tmp_path / "a" / "out").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/out", "a/out/file"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), InputError(None, "", "no"), full(Path("x"))])
def test_whatever_ends_it_early_leaves_nothing(tmp_path: Path, fault: BaseException) -> None:
    with pytest.raises(InputError if isinstance(fault, OSError) else type(fault)), new_folder(tmp_path / "a" / "b" / "out") as draft:
        (draft / "half").write_text("half")
        raise fault
    assert list(tmp_path.iterdir()) == []


def test_faults_of_other_files_keep_their_own_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out"):
        (tmp_path / "missing").read_text()


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("dangling", "."):
        with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / name):
            raise AssertionError("not reached")


def test_files_are_readable_as_others_that_the_user_makes_and_linked_ones_are_left(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_text("given")
    original.chmod(0o600)
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    for name in ("private", "inner/private"):
        (folder / name).write_text("")
        (folder / name).chmod(0o600)
    os.link(original, folder / "linked")
    before = os.umask(0o027)
    try:
        open_to_readers(folder)
    finally:
        os.umask(before)
    modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {"private": 0o640, "inner/private": 0o640, "linked": 0o600}
