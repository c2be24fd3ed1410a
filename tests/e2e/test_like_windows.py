"""Commands where files are refused that Windows would refuse."""

from pathlib import Path

from tests.e2e.conftest import SMALL, Command, losses, only_run

FORKED = True
LIKE_WINDOWS = "tests.helpers.like_windows"


def test_a_run_trains_goes_on_and_is_drawn_from_and_judged(command: Command, tmp_path: Path) -> None:
    done = command(LIKE_WINDOWS, "aaa.train", *SMALL, "checkpoint.keep_last=1", "logger=none")
    assert done.code == 0, done.err
    run = only_run(tmp_path)
    longer = command(LIKE_WINDOWS, "aaa.train", f"resume={run}", "trainer.max_steps=15")
    assert longer.code == 0, longer.err
    assert sorted(losses(run)) == [*range(1, 16)]
    drawn = command(LIKE_WINDOWS, "aaa.sample", f"model={run}", "prompt=a red square", "steps=2")
    assert drawn.code == 0, drawn.err
    judged = command(LIKE_WINDOWS, "aaa.evaluate", f"model={run}", "evaluation=none")
    assert judged.code == 0, judged.err


def test_nothing_is_left_of_a_start_that_is_refused(command: Command, tmp_path: Path) -> None:
    refused = command(LIKE_WINDOWS, "aaa.train", *SMALL, "trainer.batch_size=0")
    assert "trainer.batch_size=0: must be at least 1" in refused.error
    assert not (tmp_path / "outputs").exists()


def test_parts_of_a_cache_become_one(command: Command) -> None:
    encoded = command(LIKE_WINDOWS, "aaa.encode", "-m", *SMALL[:3], "encode.parts=2", "encode.part=0,1")
    assert encoded.code == 0, encoded.err
