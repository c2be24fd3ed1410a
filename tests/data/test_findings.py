"""What a build says of its records."""

import pytest

from aaa.data.cached_records import CachedRecord
from aaa.data.findings import Findings


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (
            1,
            [
                "1 of 4 records has an empty",
                "1 of 4 records has a prompt such",
                "1 of 4 prompts is longer",
                "1 prompt is",
            ],
        ),
        (2, ["2 of 8 records have an empty", "2 of 8 records have a", "2 of 8 prompts are longer", "2 prompts are"]),
    ],
)
def test_one_is_not_told_as_many(caplog: pytest.LogCaptureFixture, count: int, told: list[str]) -> None:
    findings = Findings(max_length=2, by_words=True)
    prompts = ["", "nan", "a long prompt", "猫がいる"] * count
    findings.add([CachedRecord(f"{n}", [text], None) for n, text in enumerate(prompts)], [0, 1, 3, 1] * count, 0)
    findings.say()
    assert [sentence for sentence in told if sentence not in caplog.text] == []
