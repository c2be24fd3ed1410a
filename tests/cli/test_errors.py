"""What is said of errors, by the one function that says it."""

import errno
import math
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.cli.errors import explain
from aaa.errors import UserError, in_plain_words, nearest, require_number, require_one_of
from aaa.traces import raised_at


def explained(error: Exception, *arguments: str) -> str:
    return explain(error, "train", [*arguments])


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


KEYS = ["sampler", "sampling.seed", "sampling.guidance", "trainer.device", "trainer.evaluate_every_steps"]
KEYS += ["encoder.downscale_factor", "encoder.batch_size", "trainer.batch_size", "optimizer.betas", "data.root"]
KEYS += ["trainer.max_steps", "data.source"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("sampling.sampler", "sampler"),
        ("sampling.sed", "sampling.seed"),
        ("trainer.evaluate", "trainer.evaluate_every_steps"),
        ("trainer.downscale_factor", "encoder.downscale_factor"),
        ("optimzer.betas", "optimizer.betas"),
        ("root", "data.root"),
        ("data.size", None),
        ("optimizer.eps", None),
    ],
)
def test_a_key_is_told_by_its_own_part_and_not_by_what_it_stands_under(word: str, meant: str | None) -> None:
    assert nearest(word, KEYS) == (f" (did you mean '{meant}'?)" if meant else "")


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (int | str, 1000.0, "must be a whole number: 1000."),
        (int | str, True, "must be a whole number, or one of its words."),
        (bool | str, 1, "must be true or false, or one of its words."),
        (list[float], "0.2,0.8", "must be a list, such as [0.2,0.8]."),
    ],
)
def test_what_omegaconf_says_of_a_type_is_said_in_plain_words(hint: Any, value: object, said: str) -> None:
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.structured(make_dataclass("Schema", [("key", hint, field(default=MISSING))])).key = value
    assert in_plain_words(str(caught.value), "key") == said


@pytest.mark.parametrize("value", [0, -1, 2.5, math.nan, True, "1", None])
def test_what_is_no_number_within_bounds_is_refused_with_them(value: object) -> None:
    with pytest.raises(UserError, match=rf"^evaluation\.share={value}: must be above 0 and at most 2\.$"):
        require_number("evaluation.share", value, above=0, most=2)


@pytest.mark.parametrize("value", [1, 0.5, 2, np.int64(1), np.float32(0.5)])
def test_numbers_within_bounds_are_fine(value: object) -> None:
    require_number("evaluation.share", value, above=0, most=2)


def test_a_word_that_there_is_not_is_told_with_those_that_there_are() -> None:
    require_one_of("model.init", "torch", {"scaled": 0, "torch": 1})
    for value in ("flat", ["torch"]):
        with pytest.raises(UserError, match=r"^model\.init=.+: must be one of scaled, torch\.$"):
            require_one_of("model.init", value, {"scaled": 0, "torch": 1})
