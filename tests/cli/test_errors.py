"""What is said of errors, by the one function that says it."""

import errno
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from aaa.cli.errors import explain
from aaa.config.checks import CONF
from aaa.errors import UserError
from aaa.traces import raised_at


def explained(error: Exception, *arguments: str) -> str:
    return explain(error, "train", CONF, [*arguments])


def error_of(code: str, file: Path) -> Exception:
    """What code in this file raises."""
    file.write_text(code)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind
        exec(compile(code, str(file), "exec"), {})
    return caught.value


def test_of_what_was_not_expected_the_place_in_ones_own_code_is_said(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    error = error_of("import torch\n\ntorch.ones(2) @ torch.ones(3)\n", mine)
    assert f"This was not expected, at {mine}:3. Set" in explained(error)
    assert "train.log" not in explained(error)
    caused = error_of("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError from e\n", mine)
    assert raised_at(caused) == f"{mine}:2"


def test_where_no_other_code_has_a_part_in_it_it_is_ours() -> None:
    with pytest.raises(TypeError) as caught:
        UserError.__init__(None)  # type: ignore[arg-type]
    assert raised_at(caught.value, own=True) == f"{__file__}:{caught.tb.tb_lineno}"  # a test is not of the package
    assert raised_at(ValueError("raised by nobody")) is None


def test_a_full_disk_is_said_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: False)  # another test may have composed a config
    said = explained(OSError(errno.ENOSPC, "No space left on device"))
    assert f"writes in {tmp_path}, cannot be written: No space left on device. Make room there" in said


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_folder_that_cannot_be_made_is_said_with_its_key(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "x"
    said = explained(NotADirectoryError(errno.ENOTDIR, "Not a directory", str(folder)), f"{key}={folder}")
    assert said == f"{key}={folder}: {tmp_path / 'file'} is a file. Give a folder: {key}=FOLDER"
