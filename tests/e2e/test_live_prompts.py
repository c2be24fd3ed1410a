"""Training with prompts embedded on the way is training with cached ones, through an end and a resume."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Command, losses, metrics
from tests.e2e.test_going_on import QUICK

FORKED = True
TRAIN = ["aaa.train", *QUICK, "lr_scheduler=constant", "trainer.sample_every_steps=4", "trainer.save_every_steps=4"]
TRAIN = [argument for argument in TRAIN if not argument.startswith("lr_scheduler.warmup")]
LIVE = "encoder.cache_prompts=false"


def test_a_run_that_embeds_its_prompts_and_is_resumed_has_the_losses_of_one_that_has_them_cached(
    command: Command, tmp_path: Path
) -> None:
    for arguments in (
        [*TRAIN, "trainer.max_steps=4", LIVE, "hydra.run.dir=live"],
        ["aaa.train", "resume=live", "trainer.max_steps=6"],
        ["aaa.train", "resume=live", "trainer.max_steps=8", "encoder.cache_prompts=null"],
        [*TRAIN, "trainer.max_steps=8", "hydra.run.dir=cached"],
    ):
        done = command(*arguments)
        assert done.code == 0, done.err
    live, cached = tmp_path / "live", tmp_path / "cached"
    assert losses(live) == losses(cached)
    assert sorted(losses(live)) == [*range(1, 9)]
    both = [{row["step"]: row["val/loss"] for row in metrics(run) if "val/loss" in row} for run in (live, cached)]
    assert {5, 8} <= both[0].keys()
    assert both[0].items() >= both[1].items()  # where it ended for a while it was judged too
    for step in (4, 8):
        picture = Path("samples") / f"step-{step:08d}.png"
        assert (live / picture).read_bytes() == (cached / picture).read_bytes()
    shares = {row["step"]: row["perf/embedding_share"] for row in metrics(live) if "perf/embedding_share" in row}
    assert sorted(shares) == [*range(1, 7)]
    assert all(0 < share < 1 for share in shares.values())
    assert not any("perf/embedding_share" in row for row in metrics(cached))
    assert len([*tmp_path.glob(".cache/aaa/*/index.json")]) == 2


@pytest.mark.slow
def test_a_run_does_not_go_on_with_a_text_encoder_that_was_changed(command: Command, tmp_path: Path) -> None:
    """No cache holds what its prompts became."""
    code = """from aaa.encoders.words import WordEmbedding

class Louder(WordEmbedding):
    def encode(self, prompts):
        embeds, lengths = super().encode(prompts)
        return 1.0 * embeds, lengths
"""
    own = tmp_path / "own_words.py"
    own.write_text(code)
    here = {"PYTHONPATH": str(tmp_path)}
    encoder = "encoder.text_encoder._target_=own_words.Louder"
    done = command(*TRAIN, "trainer.max_steps=4", LIVE, encoder, "hydra.run.dir=live", **here)
    assert done.code == 0, done.err
    assert len(json.loads((tmp_path / "live" / "environment.json").read_text())["prompt_probe"]) == 16
    own.write_text(f"# said anew\n{code}")  # its code is another, and what it makes is not
    evaluate = ["aaa.evaluate", "model=live", "evaluation=none", "trust_config=true"]
    resume = ["aaa.train", "resume=live", "trust_config=true"]
    done = command(*resume, "trainer.max_steps=6", **here)
    assert done.code == 0, done.err
    assert "so that numbers may differ" not in done.err
    own.write_text(code.replace("1.0", "-3.0"))
    refused = command(*resume, "trainer.max_steps=8", **here).error
    assert "encoder.cache_prompts=false: live was trained on other embeddings than the text encoder makes" in refused
    assert "python -m aaa.train init_from=live ..." in refused
    done = command(*evaluate, **here)
    assert done.code == 0, done.err
    assert "live was trained on other embeddings than its text encoder makes of prompts now" in done.err
