"""One process and several, which here are threads, find the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aaa.data.cache import LatentCache
from aaa.evaluation.diversity import Diversity
from aaa.evaluation.latent_distance import LatentDistance
from aaa.evaluation.memorisation import nearest_of, search
from aaa.evaluation.nearest_real import NearestReal
from aaa.evaluation.protocol import Evaluation
from aaa.evaluation.shapes import ShapesAgreement
from aaa.evaluation.sharing import Alone, Processes, deal, groups_of, share_out
from aaa.evaluation.validation import row_losses, validation_table
from tests.evaluation.test_evaluations import DRAWN, cache, evaluated
from tests.helpers.side_by_side import side_by_side

__all__ = ["cache"]


@given(
    st.lists(st.integers(0, 3), max_size=300),
    st.integers(1, 64),
    st.integers(1, 9),
)
def test_every_row_is_dealt_once_and_nobody_gets_much_more_than_others(
    kinds: list[int], most: int, processes: int
) -> None:
    groups = groups_of(torch.tensor(kinds, dtype=torch.long))
    hands = deal(groups, most, processes)
    assert len(hands) == processes
    batches = [batch.tolist() for hand in hands for batch in hand]
    assert sorted(row for batch in batches for row in batch) == list(range(len(kinds)))
    assert all(1 <= len(batch) <= most and len({kinds[row] for row in batch}) == 1 for batch in batches)
    even = -(-len(kinds) // processes)
    assert max(sum(map(len, hand)) for hand in hands) <= 1.25 * even


def test_batches_stay_whole_where_they_can_be_shared_out() -> None:
    rows = [torch.arange(320), torch.arange(320, 330)]
    (alone,) = deal(rows, 64, 1)
    assert [batch.tolist() for batch in alone] == [batch.tolist() for group in rows for batch in group.split(64)]
    shared = [batch.tolist() for hand in deal(rows, 64, 2) for batch in hand]
    assert sorted(shared) == sorted(batch.tolist() for batch in alone)
    assert {len(batch) for hand in deal(rows, 64, 8) for batch in hand} == {16, 10}


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_each_process_has_what_all_have_made(processes: int) -> None:
    kinds = torch.tensor([0, 1, 0, 1, 1, 0, 0])
    asked: list[int] = []

    def work(rows: Tensor) -> list[str]:
        asked.extend(rows.tolist())
        return [f"{row} of kind {kinds[row]}" for row in rows]

    def program(together: Processes) -> list[str]:
        return share_out(together, groups_of(kinds), 2, work)

    alone = program(Alone())
    asked.clear()
    assert side_by_side(processes, program) == [alone] * processes
    assert sorted(asked) == list(range(7)), "nothing is done twice"


def test_the_table_is_validated_alike_by_any_number(cache: LatentCache) -> None:
    table = validation_table(cache, torch.arange(400, 448), num_records=48, timesteps_per_record=5)
    assert table is not None
    sampling = evaluated(cache, lambda records: cache.gather(records)[0]).drawer.sampling
    torch.manual_seed(0)
    mixing = torch.nn.Conv2d(cache.shapes[0][0], cache.shapes[0][0], 3, padding=1).requires_grad_(False)

    def model(latents: Tensor, _embeds: Tensor, timestep: Tensor) -> Tensor:
        seen: Tensor = mixing(latents) * (timestep / 1000).view(-1, 1, 1, 1)
        return seen

    def program(processes: Processes) -> Tensor:
        return row_losses(model, sampling, table, torch.device("cpu"), torch.float32, processes)

    alone = program(Alone())
    assert alone.std() > 0
    for losses in side_by_side(3, program):
        torch.testing.assert_close(losses, alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "evaluation",
    [LatentDistance(DRAWN, 100, components=8), ShapesAgreement(DRAWN), Diversity(5, 3)],
    ids=lambda evaluation: type(evaluation).__name__,
)
def test_evaluations_find_the_same_with_any_number(cache: LatentCache, evaluation: Evaluation) -> None:
    def program(processes: Processes) -> tuple[dict[str, float], dict[str, bytes]]:
        # A picture of its own that is a little wrong, so that there is something to find.
        one = evaluated(cache, lambda records: cache.gather((records + 7) % 448)[0] * 0.9)
        one.drawer.processes = processes
        return evaluation.evaluate(one), {name: picture.tobytes() for name, picture in one.kept.items()}

    numbers, pictures = program(Alone())
    for shared_numbers, shared_pictures in side_by_side(2, program):
        assert shared_numbers == pytest.approx(numbers, rel=1e-6)
        assert shared_pictures == pictures


def test_the_right_picture_is_searched_alike_by_any_number(cache: LatentCache) -> None:
    def program(processes: Processes) -> dict[str, float]:
        one = evaluated(cache, lambda records: cache.gather((records + 1) % 448)[0])
        one.drawer.processes = processes
        return NearestReal(12, num_real=100).evaluate(one)

    assert side_by_side(3, program) == [program(Alone())] * 3


def test_the_nearest_of_parts_that_others_search_is_the_nearest_of_all(cache: LatentCache) -> None:
    def program(processes: Processes) -> tuple[Tensor, Tensor]:
        one = evaluated(cache, lambda records: cache.gather(records)[0])
        one.drawer.processes = processes
        return search(one, list(cache.gather(torch.arange(390, 420))[0]), one.real("train", 400))

    train = evaluated(cache, lambda records: cache.gather(records)[0]).real("train", 400)
    distances, nearest = nearest_of(list(cache.gather(torch.arange(390, 420))[0]), train.latents())
    assert train.records[nearest[:10]].tolist() == list(range(390, 400))
    for found, which in [program(Alone()), *side_by_side(2, program)]:
        assert torch.equal(found, distances)
        assert torch.equal(which, nearest)
