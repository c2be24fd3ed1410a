from typing import Any

from aaa.benchmarks.quality import _notes


def curve(*points: tuple[int, float, float]) -> list[dict[str, Any]]:
    return [{"samples": samples, "seconds": seconds, "val/loss": loss} for samples, seconds, loss in points]


TUTORIAL = curve((100, 10.0, 0.9), (200, 20.0, 0.5), (300, 30.0, 0.6))


def test_the_target_is_the_best_of_the_first_regime() -> None:
    notes = _notes({"tutorial": TUTORIAL, "ours": curve((64, 1.0, 0.8), (128, 2.0, 0.5), (192, 3.0, 0.2))})
    assert notes[0].startswith("tutorial: best validation loss 0.5000 after 200 samples, 20 s")
    assert notes[1] == "ours: as good after 128 samples, 2 s: 10.0 x fewer seconds"


def test_a_regime_that_is_never_as_good_says_so() -> None:
    notes = _notes({"tutorial": TUTORIAL, "ours": curve((64, 1.0, 0.8), (128, 2.0, 0.51))})
    assert notes[1] == "ours: did not reach it; 0.5100 at best"
