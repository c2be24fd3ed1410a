"""What does not go with divided weights is refused when the run is composed, with both keys' names."""

import pytest

from aaa.config.checks import check_config
from aaa.errors import UserError
from tests.helpers.composed import compose

REFUSED = [
    ("trainer.parallel=fsdp", "model.value_residual=true", "model.value_residual=true"),
    ("trainer.parallel=hsdp", "trainer.compile=true", "trainer.compile=true"),
    ("trainer.parallel=fsdp", "optimizer=soap", "aaa.training.soap.soap"),
    ("trainer.parallel=fsdp", "trainer.gradient_checkpointing_offload=true", "trainer.gradient_checkpointing_offload"),
    ("trainer.parallel=fsdp", "model.architecture={_target_:torch.nn.Linear}", "model.architecture"),
    ("trainer.parallel=fsdp", "trainer.shard_processes=2", "trainer.shard_processes=2"),
]


@pytest.mark.parametrize(("chosen", "other", "named"), REFUSED)
def test_what_needs_whole_weights_is_refused(chosen: str, other: str, named: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(compose(chosen, other))
    assert chosen in str(refused.value)
    assert named in str(refused.value)
    check_config(compose(chosen))


def test_only_hsdp_has_groups() -> None:
    check_config(compose("trainer.parallel=hsdp", "trainer.shard_processes=4"))
    with pytest.raises(UserError, match=r"trainer\.parallel=zero: must be one of ddp, fsdp, hsdp"):
        check_config(compose("trainer.parallel=zero"))
