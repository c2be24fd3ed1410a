import json
import logging
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from aaa.run.messages import say_what_next
from aaa.tracking.console import ConsoleHandler, console
from aaa.tracking.redaction import RedactingFormatter
from aaa.training.signals import ENOUGH

OWN = {"_target_": "aaa.encoders.pixel.PixelVAE"}


@pytest.mark.parametrize(
    ("part", "sample", "resume"),
    [
        ({"encoder": {"vae": OWN}, "optimizer": {"_target_": "aaa.training.optimizers.adamw"}}, False, False),
        ({"encoder": {"vae": {"_target_": "my_parts.HaarVAE"}}}, True, True),
        ({"optimizer": {"_target_": "my_parts.adam"}}, False, True),
        ({"model": {"architecture": {"_target_": "aaa.models.dit.AAADiT"}}}, False, False),
    ],
)
def test_runs_of_ones_own_code_are_gone_on_with_as_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, part: dict[str, object], sample: bool, resume: bool
) -> None:
    (tmp_path / ".hydra").mkdir()
    for config in (".hydra/config.yaml", "config.yaml"):
        (tmp_path / config).write_text(yaml.safe_dump(part))
    caplog.set_level(logging.INFO)
    say_what_next(tmp_path, "a `cat`\n", steps=3, signum=None, so_long=["trainer.max_steps=6"])
    say_what_next(tmp_path, "", steps=3, signum=2)
    say_what_next(tmp_path, "", steps=3, signum=None, longer="python ...")
    assert "  longer:  python ...\n" in caplog.messages[2]
    done, *lines, stopped = "\n".join(caplog.messages[:2]).splitlines()
    assert done == f"Done: {tmp_path}"
    expected = f"  sample:  python -m aaa.sample model={tmp_path} 'prompt=a `cat`'"
    assert lines[0] == expected + " trust_config=true" * sample
    assert lines[1].endswith(f"resume={tmp_path} trainer.max_steps=6" + " trust_config=true" * resume)
    assert lines[2] == f"  compare: python -m aaa.compare {tmp_path.parent}"
    assert stopped.endswith(f"python -m aaa.train resume={tmp_path}" + " trust_config=true" * resume)


def test_the_end_says_what_came_of_it_and_where_its_pictures_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "samples").mkdir()
    pictures = [tmp_path / "samples" / f"step-00000003{ending}.png" for ending in ("", "-prompts")]
    for picture in pictures:
        picture.touch()
    rows = ({"step": 3, "seconds": 61.0, "val/loss": 0.64461}, {"step": 3, "train/loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    say_what_next(tmp_path, "", steps=3, signum=None)
    done, *looks, sample, _, _ = caplog.messages[0].splitlines()
    assert done == f"Done in 1 min 01 s of training, validation loss 0.6446: {tmp_path}"
    assert looks == [f"  look:    {picture}" for picture in pictures]
    assert sample.startswith("  sample: ")


def test_a_stopped_run_of_a_sweep_names_the_sweeps_way_to_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    for mode, signum in ((RunMode.RUN, 2), (RunMode.MULTIRUN, 2), (RunMode.MULTIRUN, ENOUGH)):
        monkeypatch.setattr(HydraConfig, "get", lambda mode=mode: OmegaConf.create({"mode": mode}))
        say_what_next(tmp_path, "", steps=3, signum=signum)
    alone, swept, given_up = caplog.messages
    assert f"resume={tmp_path}" in alone
    assert swept == "Stopped at step 3. To go on with the sweep: the same command with sweep.resume=true"
    assert given_up == alone, "the sweep does not take it up again"


def test_what_stands_in_a_message_cannot_move_the_cursor_or_change_colours(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("aaa", logging.INFO, "", 0, "%s", ("[red]100%s\x1b[2J\u202eb\rc",), None)
    assert RedactingFormatter().format(record) == "[red]100%s[2Jb c"
    with console.capture() as shown:
        ConsoleHandler().emit(record)
    assert shown.get() == "[red]100%s[2Jb c\n"
