"""Training with prompts embedded on the way is training with cached ones, through an end and a resume."""

from pathlib import Path

from tests.e2e.conftest import Command, losses, metrics
from tests.e2e.test_going_on import QUICK

FORKED = True
TRAIN = ["aaa.train", *QUICK, "lr_scheduler=constant", "trainer.sample_every_steps=4", "trainer.save_every_steps=4"]
TRAIN = [argument for argument in TRAIN if not argument.startswith("lr_scheduler.warmup")]
LIVE = "encoder.cache_prompts=false"


def judged(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k.startswith("val/")} for row in metrics(run)]


def test_a_run_that_embeds_its_prompts_and_is_resumed_has_the_losses_of_one_that_has_them_cached(
    command: Command, tmp_path: Path
) -> None:
    for arguments in (
        [*TRAIN, "trainer.max_steps=4", LIVE, "hydra.run.dir=live"],
        ["aaa.train", "resume=live", "trainer.max_steps=8"],
        [*TRAIN, "trainer.max_steps=8", "hydra.run.dir=cached"],
    ):
        done = command(*arguments)
        assert done.code == 0, done.err
    live, cached = tmp_path / "live", tmp_path / "cached"
    assert losses(live) == losses(cached)
    assert sorted(losses(live)) == [*range(1, 9)]
    assert [row for row in judged(live) if row][-1] == [row for row in judged(cached) if row][-1]
    picture = Path("samples") / "step-00000008.png"
    assert (live / picture).read_bytes() == (cached / picture).read_bytes()
    shares = [row["perf/embedding_share"] for row in metrics(live) if "train/loss" in row]
    assert all(0 < share < 1 for share in shares)
    assert not any("perf/embedding_share" in row for row in metrics(cached))
    assert len([*tmp_path.glob(".cache/aaa/*/index.json")]) == 2
