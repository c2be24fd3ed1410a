"""What `trainer.cuda_graph` does not go together with: told when it is composed."""

from collections.abc import Iterator

from omegaconf import DictConfig

from aaa.config.compiling import records_graphs
from aaa.config.objective import PERCEPTUAL
from aaa.errors import UserError

ON = "trainer.cuda_graph=true"
RECORDABLE = ("aaa.training.optimizers.MuonWithAdamW", "aaa.training.optimizers.adamw")
CONTRASTIVE = "aaa.objectives.contrastive.Contrastive"
INSTEAD = "trainer.compile=reduce-overhead records the passes of the model alone."


def check_recording(config: DictConfig) -> None:
    """Refuse steps that look at what is on the GPU midway, differ in what Python decides, or are not of one process.

    What no config tells, such as a class of yours, is refused when training begins.

    Raises:
        UserError: naming both keys.
    """
    trainer = config.trainer
    if trainer.cuda_graph is not True:
        return
    if trainer.device == "cpu":
        require_recording_device(trainer, "cpu")
    for objection in _objections(config):
        raise UserError(f"{ON} and {objection}")


def may_record(config: DictConfig) -> bool:
    """Whether nothing in a config speaks against it."""
    return next(_objections(config), None) is None


def require_recording_device(trainer: DictConfig, device: str) -> None:
    """Refuse to record steps for a device that records none.

    Raises:
        UserError: naming the key.
    """
    if trainer.cuda_graph is True and not device.startswith("cuda"):
        raise UserError(f"{ON}: a GPU records CUDA graphs, and trainer.device is {device}. Leave it out here.")


def _objections(config: DictConfig) -> Iterator[str]:
    """What speaks against it: a key with its value, the reason, and what to do."""
    trainer = config.trainer
    if records_graphs(trainer.compile):
        yield (
            f"trainer.compile={trainer.compile}: a graph cannot record others; with trainer.compile=static it records "
            "what is compiled."
        )
    if trainer.on_nonfinite == "skip":
        yield f"trainer.on_nonfinite=skip: whether a step is left out is only known when it is done. {INSTEAD}"
    if trainer.parallel != "ddp":
        yield f"trainer.parallel={trainer.parallel}: steps of one process can be recorded."
    if trainer.precision == "bf16_weights":
        yield f"trainer.precision=bf16_weights: weights must be float32. {INSTEAD}"
    for key in ("gradient_checkpointing", "gradient_checkpointing_offload"):
        if trainer[key]:
            yield f"trainer.{key}=true: no graph holds what it does between the passes. {INSTEAD}"
    if (target := config.optimizer.get("_target_")) not in RECORDABLE:
        yield f"the optimizer {target}: those of optimizer=muon and optimizer=adamw can be recorded. {INSTEAD}"
    if config.routing.kind != "none":
        yield f"routing={config.routing.kind}: which tokens go where is drawn anew. {INSTEAD}"
    yield from _objections_to_objective(config.objective)


def _objections_to_objective(objective: DictConfig) -> Iterator[str]:
    if objective.get("coupling") == "immiscible":
        yield f"objective.coupling=immiscible: the CPU pairs pictures and noise. {INSTEAD}"
    for name, term in (objective.get("terms") or {}).items():
        key = f"objective.terms.{name}"
        if not isinstance(term, DictConfig) or not term.get("weight"):
            continue
        if term.get("_target_") == CONTRASTIVE:
            yield f"{key}: the CPU tells which captions are alike. {INSTEAD}"
        if term.get("_target_") == PERCEPTUAL and term.get("target") == "vision":
            yield f"{key}.target=vision: the model of others may look at the CPU midway. {INSTEAD}"
        if term.get("until_step") is not None:
            yield f"{key}.until_step={term.until_step}: a graph has no term end midway. {INSTEAD}"
