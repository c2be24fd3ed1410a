"""The data of a run, refused before it is encoded where that would be in vain."""

from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from aaa.assembly.data import open_data
from aaa.assembly.latents import Share
from aaa.assembly.training_data import TrainingData
from aaa.evaluation.sharing import Processes
from aaa.run.going_on import refuse_senseless
from aaa.run.machines import require_same_data, require_same_kept, require_same_rooms, told
from aaa.run.origin import Origin
from aaa.run.resolved import resolve
from aaa.run.same_prompts import require_same_prompts
from aaa.run.search import require_value
from aaa.run.session import Session
from aaa.run.shaping import shaping_settings
from aaa.run.sweep_job import is_of_sweep
from aaa.saved.models import saved_statistics


def open_run_data(config: DictConfig, session: Session, origin: Origin) -> TrainingData:
    """Open what a run is trained on; of one that goes on, what it was trained on so far.

    Raises:
        UserError: if the weights so far do not go with it, or it leaves a search without a value to go by.
    """
    before = origin.before
    if before is not None:
        processes = session.accelerator.num_processes
        refuse_senseless(before, shaping_settings(resolve(config), processes=processes))
    taken_up = config.init_from if before is None else before.run
    data = open_data(
        config,
        str(session.device),
        trained_on=None if before is None else before.state.cache_fingerprint,
        weights=None if taken_up is None else Path(taken_up),
        statistics_of=lambda path: told(session.processes, partial(saved_statistics, path)),
        share=Share(session.accelerator.process_index, session.accelerator.num_processes),
    )
    if before is not None:
        told(session.processes, partial(require_same_prompts, before.run, data))
    require_same(data, session.processes)
    if is_of_sweep():
        require_value(config, HydraConfig.get().sweeper, held_out=len(data.held_out))
    return data


def require_same(data: TrainingData, processes: Processes) -> None:
    """Refuse machines with other data, with other records of them to train on, or that would order these otherwise.

    Raises:
        UserError: naming the machines, and which of the three it is.
    """
    sizes = len(data.train_split), len(data.held_out)  # from before data.keep, which has a refusal of its own
    require_same_data(data.cache.fingerprint, sizes, processes)
    require_same_kept(data.kept_digest, processes)
    require_same_rooms(data.rooms, processes)
