"""A launch of several processes that train nothing: they find each other, work together and part."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aaa.errors import UserError
from aaa.evaluation.sharing import Alone, Processes
from aaa.run.together import meet
from aaa.tracking.variables import FALSE, TRUE, hidden_from_accelerate, is_launch, require_launch


@contextmanager
def launched(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes of this launch, and the device of this one; one that was started alone stays alone.

    Args:
        device: `auto`, `cpu` or `cuda`; of one process any that torch has.

    Raises:
        UserError: if several processes are to share one GPU, or could not find each other.
    """
    require_launch()
    if not is_launch():
        yield Alone(), device
        return
    if ":" in device:
        raise UserError(
            f"device={device}: each process takes a GPU of its own. To choose which there are: "
            "CUDA_VISIBLE_DEVICES=0,1 accelerate launch -m aaa.evaluate ..."
        )
    from accelerate import PartialState

    with hidden_from_accelerate({"trainer.device": (device, *TRUE, *FALSE)}):
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    processes = meet(state.process_index, state.num_processes)
    yield processes, str(state.device)
    processes.wait()
    state.destroy_process_group()
