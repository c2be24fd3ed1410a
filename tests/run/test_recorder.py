"""What is kept of a run, as its config says."""

from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, fork_in


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, {8, 10}), (False, {2, 4})])
def test_the_config_says_which_checkpoints_are_kept(tmp_path: Path, higher_is_better: bool, best: set[int]) -> None:
    small = [part for part in SMALL if not part.startswith(("trainer.max", "trainer.val", "trainer.sa", "evaluation."))]
    done = fork_in(
        tmp_path,
        *("aaa.train", *small, "logger=none", "evaluation=none", "lr_scheduler=constant", "hydra.run.dir=run"),
        *("trainer.max_steps=10", "trainer.save_every_steps=2", "trainer.sample_every_steps=0"),
        *("trainer.validate_every_steps=0", "checkpoint.keep_last=1", "checkpoint.keep_every_steps=6"),
        *("checkpoint.keep_best=2", "checkpoint.metric=samples", f"checkpoint.higher_is_better={higher_is_better}"),
    )
    assert done.code == 0, done.err
    kept = {int(path.name.removeprefix("step-")) for path in (tmp_path / "run" / "checkpoints").glob("step-*")}
    assert kept == {6, 10} | best
