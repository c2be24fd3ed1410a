"""What is measured side by side."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aaa.benchmarks import ways
from aaa.benchmarks.subject import Subject
from aaa.benchmarks.ways import Ways
from tests.helpers.composed import compose

SMALL = ("model.dim=16", "model.depth=1", "model.heads=2", "trainer.batch_size=2", "data.resolution=16")


def test_the_two_of_a_way_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for memory that is kept: it is not given up again."""
    seen: list[str] = []
    prompts: dict[int, Any] = {}
    make, step = ways.make_subject, Subject.bare_step

    def made(*args: Any, **kwargs: Any) -> Subject:
        subject = make(*args, **kwargs)
        prompts[id(subject)] = kwargs.get("prompt_tokens")
        return subject

    def taken(subject: Subject, *args: Any, **kwargs: Any) -> Tensor:
        deterministic = torch.are_deterministic_algorithms_enabled()
        seen.append("deterministic" if deterministic else f"{prompts[id(subject)]}")
        return step(subject, *args, **kwargs)

    monkeypatch.setattr(ways, "make_subject", made)
    monkeypatch.setattr(Subject, "bare_step", taken)
    monkeypatch.setattr(ways, "keep_freed_memory", lambda: seen.append("kept"))
    monkeypatch.setattr(ways, "_with_a_term", lambda _: iter(()))
    rows = Ways(repeats=2, prompt_tokens=2)._of_whole_steps(compose(*SMALL, "trainer.precision=float32"), "cpu")
    plain = ["None"] * 2
    kept = [*plain, "kept", "None", *plain]
    assert seen == [*plain * 3, *kept, *["None", "deterministic"] * 3, *["None", "2"] * 3]
    assert [row["way"].split()[0] for row in rows] == ["losses", "memory", "trainer.deterministic=true,", "prompts"]
