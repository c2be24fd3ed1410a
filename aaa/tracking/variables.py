"""Environment variables that libraries read by themselves: which of them count, and which the config overrules.

What a run computes is in its config. A variable that would change it behind the config's back is refused, or hidden
from the library with a warning; all that remain are respected and written down in environment.json.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aaa.errors import UserError

logger = logging.getLogger(__name__)

# Families that are written down.
RECORDED = (
    *("ACCELERATE_", "FSDP_", "WANDB_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "ATEN_", "OPENBLAS_", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"),
)
# Those of them with which the same config may give other numbers.
NUMERICAL = (
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "ATEN_CPU_CAPABILITY"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "DNNL_", "ONEDNN_", "TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"),
)
TRUE = ("1", "true", "t", "yes", "y", "on")  # to accelerate
FALSE = ("0", "false", "f", "no", "n", "off")

# Which of several processes this is, and how many there are: torch's launchers' names, then those of MPI's.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")

# Ways to share a model out that the trainer does not have.
SHARED_OUT = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker's data parallelism",
}
# What accelerate would take from the environment, and the key that says it instead.
OVERRULED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "trainer.gradient_accumulation_steps",
    "ACCELERATE_GRADIENT_CLIPPING": "trainer.max_grad_norm",
    "ACCELERATE_MIXED_PRECISION": "trainer.precision",
    "ACCELERATE_DYNAMO_BACKEND": "trainer.compile",
    "ACCELERATE_DOWNCAST_BF16": "trainer.precision",
    "ACCELERATE_TORCH_DEVICE": "trainer.device",
    "ACCELERATE_USE_CPU": "trainer.device",
}


def recorded_variables() -> dict[str, str]:
    """Those that are written down, by name."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(RECORDED)}


def numerical(variables: dict[str, str]) -> dict[str, str]:
    """Of recorded variables those with which the same config may give other numbers."""
    return {name: value for name, value in variables.items() if name.startswith(NUMERICAL)}


def wants_cpu() -> bool:
    """Whether the environment, e.g. `accelerate launch --cpu`, asks for the CPU."""
    return _is_true("ACCELERATE_USE_CPU")


def is_launch() -> bool:
    """Whether this is one of several processes that work together."""
    return _whole_number(*SIZES) > 1


@contextmanager
def hidden_from_accelerate(asked: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """A block in which accelerate cannot take from the environment what the config says.

    Args:
        asked: what the config says, by key: the words that accelerate has for it. A variable that says the same, or
            what accelerate's launcher always says, is hidden without a word.

    Raises:
        UserError: if the environment asks for a way to share the model out that there is not.
    """
    for name, way in SHARED_OUT.items():
        if _is_true(name) and os.environ.get("ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE", "").upper() != "NO":
            raise UserError(
                f"{name}={os.environ[name]}: {way} is not supported; the config says how a model is shared out. "
                "Launch without it, e.g. accelerate launch --multi_gpu --num_processes=8 -m aaa.train "
                "trainer.parallel=fsdp ... For less memory still: trainer.gradient_accumulation_steps=N or "
                "trainer.gradient_checkpointing=true"
            )
    hidden = {name: value for name, value in os.environ.items() if name in OVERRULED or name.startswith(_DYNAMO)}
    for name, value in hidden.items():
        if name in OVERRULED and _says_otherwise(name, value, asked.get(OVERRULED[name], ())):
            logger.log(
                logging.WARNING if os.environ.get("RANK", "0") == "0" else logging.DEBUG,
                "%s=%s has no effect: %s decides.",
                name,
                value,
                OVERRULED[name],
            )
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in hidden.items() if not _is_misread(name, value)})


_DYNAMO = "ACCELERATE_DYNAMO_"
_USUAL = {  # what the launcher sets where nobody has asked for anything, or means nothing without DeepSpeed or a TPU
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "auto"),
    "ACCELERATE_GRADIENT_CLIPPING": ("none", "auto"),
    "ACCELERATE_MIXED_PRECISION": ("no", ""),
    "ACCELERATE_DYNAMO_BACKEND": ("no", ""),
    "ACCELERATE_DOWNCAST_BF16": ("no", "false", ""),
    "ACCELERATE_USE_CPU": ("false", "0", "no", ""),
}


def _is_misread(name: str, value: str) -> bool:
    """Whether accelerate, which asks for it again later, ends at a word that is neither true nor false to it."""
    return name == "ACCELERATE_USE_CPU" and value.strip().lower() not in (*TRUE, *FALSE)


def _says_otherwise(name: str, value: str, asked: tuple[str, ...]) -> bool:
    return value.strip().lower() not in (*_USUAL.get(name, ()), *asked)


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in TRUE


def is_helper() -> bool:
    """Whether this is one of several processes of a run, and not the first: it leaves folder, config and log to that.

    A `RANK` alone is left over from another tool, or is a scheduler's, and makes no helper.
    """
    return _whole_number(*RANKS) > 0 and _whole_number(*SIZES) > 1


def place_in_launch() -> tuple[int, int, int]:
    """Which process of a launch this is, of how many, and which of those on its machine: 0 of 1, and 0, if alone."""
    size = _whole_number(*SIZES)
    return (_whole_number(*RANKS), size, _whole_number("LOCAL_RANK")) if size > 1 else (0, 1, 0)


def require_launch() -> None:
    """Refuse to be one of several processes that could not find each other.

    Raises:
        UserError: naming the variables that say that there are several, and what to do.
    """
    size = _whole_number(*SIZES)
    several = size > 1 or _whole_number("LOCAL_RANK", otherwise=-1) >= 0
    on_this_machine = size > 1 and _whole_number(*LOCAL_SIZES) == size  # then accelerate knows where
    if not several or on_this_machine or os.environ.get("MASTER_ADDR"):
        return
    said = [f"{name}={os.environ[name]}" for name in (*RANKS, *SIZES, "LOCAL_RANK") if os.environ.get(name)]
    raise UserError(
        f"{' '.join(said)}: make this one of several processes, and MASTER_ADDR does not say where they meet. If they "
        f"are left over from another tool: unset {' '.join(word.partition('=')[0] for word in said)}. Several "
        "processes are started by accelerate launch --num_processes=8 -m aaa.train ..., or torchrun."
    )


def _whole_number(*names: str, otherwise: int = 0) -> int:
    """The first of these variables that is set, as accelerate reads them."""
    for name in names:
        if value := os.environ.get(name, "").strip():
            try:
                number = int(value)
            except ValueError:
                raise UserError(f"{name}={value}: must be a whole number. If nothing needs it: unset {name}") from None
            if number >= 0:
                return number
    return otherwise


def processes_of_machine(otherwise: int) -> int:
    """How many processes of this launch run on this machine, where it says so."""
    return _whole_number(*LOCAL_SIZES, otherwise=otherwise)


def agents_run() -> str | None:
    """The W&B run that `wandb agent` has started this process for, or None if it has not."""
    return os.environ.get("WANDB_RUN_ID") or None if os.environ.get("WANDB_SWEEP_ID") else None


def agents_parameters() -> dict[str, Any]:
    """What `wandb agent` wants of this process's run: values of config keys; nothing where there is no agent."""
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not os.environ.get("WANDB_SWEEP_ID") or not path:
        return {}
    try:
        wanted = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return {str(key): entry["value"] for key, entry in wanted.items() if key != "wandb_version"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"WANDB_SWEEP_PARAM_PATH={path}: cannot be read as a W&B agent's ({error}).") from None
