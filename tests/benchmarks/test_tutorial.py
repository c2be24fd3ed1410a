"""The benchmark beside the tutorial's loop."""

from aaa.benchmarks.tutorial import _unlike
from aaa.config.compose import compose


def test_that_two_models_are_compared_is_said() -> None:
    assert _unlike(compose(["model=dit_0.1b", "data=pokemon"])) == []
    (note,) = _unlike(compose([]))
    assert "ours trains 1,113,664 parameters on latents of 192x4x4, the tutorial's" in note
