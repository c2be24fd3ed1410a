"""The typed schema of the config groups: which keys there are, and of which type.

Only hydra and omegaconf are imported here, so that `--help`, `--cfg job` and a mistyped override answer at
once, before torch is loaded.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.errors import UserError
from aaa.resolvers import register_resolvers

PACKAGE = Path(__file__).resolve().parent
# A wheel carries conf/ inside the package; a checkout has it beside the package.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


@dataclass
class ModelConfig:
    """conf/model: the numbers that make a DiT."""

    name: str = MISSING
    dim: int = MISSING
    depth: int = MISSING
    heads: int = MISSING
    mlp_ratio: float = 3.0
    position_grid: int = 16
    init: str = "scaled"
    in_channels: int = MISSING
    text_dim: int = MISSING


@dataclass
class DataConfig:
    """conf/data: where pictures and prompts come from, and how they are prepared."""

    name: str = MISSING
    resolution: int = MISSING
    validation_fraction: float = 0.05
    horizontal_flip: bool = False
    buckets: bool = False
    max_aspect_ratio: float = 2.0
    skip_unreadable: bool = False
    cache_dir: str = ".cache/aaa"
    license: str | None = None
    attribution: str | None = None
    source: Any = MISSING


@dataclass
class ImageFolderConfig(DataConfig):
    """conf/data/imagefolder and pokemon: a folder of pictures with a table or text files of prompts."""

    root: str = MISSING
    image_column: str = "image"
    prompt_column: Any = "prompt"
    background_color: str = "white"


@dataclass
class LocatedConfig(DataConfig):
    """conf/data/huggingface and webdataset: files at a path."""

    path: str = MISSING
    image_column: str = "image"
    prompt_column: Any = MISSING
    background_color: str = "white"


@dataclass
class EncoderConfig:
    """conf/encoder: a VAE (pictures <-> latents) and a text encoder (prompts -> prompt_embeds)."""

    name: str = MISSING
    downscale_factor: int = MISSING
    latent_channels: int = MISSING
    prompt_dim: int = MISSING
    max_prompt_tokens: int = MISSING
    storage_dtype: str = MISSING
    batch_size: int = MISSING
    vae: Any = MISSING
    text_encoder: Any = MISSING


@dataclass
class TrainerConfig:
    """conf/trainer: how long, how much at once, how precisely, and how often to look."""

    max_steps: int = MISSING
    batch_size: int | str = MISSING
    gradient_accumulation_steps: int = 1
    precision: str = "float32"
    compile: bool = False
    gradient_checkpointing: bool = False
    gradient_checkpointing_offload: bool = False
    trim_prompts: bool = True
    device: str = "auto"
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    prompt_dropout: float = 0.1
    log_every_steps: int = 10
    validate_every_steps: int = MISSING
    sample_every_steps: int = MISSING
    save_every_steps: int = MISSING
    evaluate_every_steps: int = 0  # 0: only at the end
    on_nonfinite: str = "stop"
    max_skipped_steps: int = 20
    deterministic: bool = False


@dataclass
class CheckpointConfig:
    """Which checkpoints are kept, and how they are written; how often is `trainer.save_every_steps`."""

    keep_last: int | None = 3
    keep_best: int = 1
    metric: str = "val/loss"
    higher_is_better: bool = False
    keep_every_steps: int = 0
    in_background: bool | None = None  # None: where a GPU trains; a CPU has no time to spare


@dataclass
class SamplingConfig:
    """How pictures are drawn while training and, unless told otherwise, by `aaa.sample`."""

    steps: int = 30
    guidance: float = 2.0
    num_images: int = 16
    seed: int = 0
    preview: str | None = None


@dataclass
class ValidationConfig:
    """The fixed table of records, timesteps and noise on which runs are compared."""

    num_records: int = 64
    timesteps_per_record: int = 5


@dataclass
class BudgetConfig:
    """What runs have in common where something else is to differ; each sets one number of the run."""

    parameters: float | None = None  # sets model.dim
    flops: float | None = None  # of training, forward and backward; sets trainer.max_steps
    seconds: float | None = None  # of training, as measured before it starts; sets trainer.max_steps


@dataclass
class SweepConfig:
    """What the runs of a sweep have to do with each other."""

    resume: bool = False
    prune_after_steps: int | None = None  # None: every run goes on to its end
    prune_min_runs: int = 4
    show_plan: bool = True  # what each run will take, before the first starts


@dataclass
class TrainConfig:
    """Everything a training run can be told."""

    name: str = MISSING
    seed: int = 0
    resume: str | None = None
    repeat: str | None = None
    init_from: str | None = None
    trust_config: bool = False
    output_dir: str = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    scheduler: Any = MISSING
    optimizer: Any = MISSING
    lr_scheduler: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    evaluation: Any = None
    logger: Any = None


@dataclass
class BenchConfig(TrainConfig):
    """Everything a benchmark can be told: what a training run can, and which benchmark."""

    bench: Any = MISSING


@dataclass
class SampleConfig:
    """Everything sampling can be told; an empty value means the model's own default."""

    model: str = MISSING
    prompt: str = MISSING
    negative_prompt: str = ""
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    num_images: int = 4
    height: int | None = None
    width: int | None = None
    input_image: str | None = None
    denoising_strength: float = 1.0
    preview: str | None = None
    weights: str = "ema"
    heads: int | None = None
    device: str = "auto"
    trust_config: bool = False
    out: str = MISSING


@dataclass
class WebConfig:
    """Everything the web page can be told."""

    model: str = MISSING
    port: int = 7860
    preview: str | None = None
    heads: int | None = None
    device: str = "auto"
    trust_config: bool = False


@dataclass
class EvaluateConfig:
    """Everything judging a saved model can be told; an empty value means the run's own."""

    saved_model: str = MISSING
    evaluation: Any = MISSING
    weights: str = "ema"
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    device: str = "auto"
    trust_config: bool = False
    out: str | None = None


SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "bench": BenchConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
    "web": WebConfig,
    "data": DataConfig,
    "imagefolder": ImageFolderConfig,
    "located": LocatedConfig,
    "encoder": EncoderConfig,
    "trainer": TrainerConfig,
    "model": ModelConfig,
}


def register() -> None:
    """Make the schemas and the resolvers of conf/ known to Hydra."""
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"schema_{name}", node=schema)
    register_resolvers()
    OmegaConf.register_new_resolver("config_groups", _list_groups, replace=True)


def group_options() -> dict[str, list[str]]:
    """The config groups of a training run with their options."""
    folders = (
        path
        for path in sorted(CONF.iterdir())
        if path.is_dir() and path.name not in ("hydra", "sample", "web", "bench")
    )
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _list_groups() -> str:
    groups = {"+experiment" if name == "experiment" else name: options for name, options in group_options().items()}
    return "\n".join(f"  {group + '=':15}{', '.join(options)}" for group, options in groups.items())


def check_config(config: DictConfig) -> None:
    """Refuse keys that nothing reads, and numbers that no run can have.

    Raises:
        UserError: naming the key.
    """
    if is_dataclass(OmegaConf.get_type(config)):
        _refuse_unread(config, "", OmegaConf.get_type(config))
    else:  # a resumed run's, which was read from a file and carries no types
        _check_types(config)
    trainer, sampling, checkpoint = config.trainer, config.sampling, config.checkpoint
    if isinstance(trainer.batch_size, str) and trainer.batch_size != "auto":
        raise UserError(f"trainer.batch_size={trainer.batch_size}: must be a whole number, or auto: as many as fit.")
    for key, value, least in (
        ("seed", config.seed, 0),
        ("trainer.max_steps", trainer.max_steps, 1),
        ("trainer.batch_size", 1 if trainer.batch_size == "auto" else trainer.batch_size, 1),
        ("trainer.gradient_accumulation_steps", trainer.gradient_accumulation_steps, 1),
        ("trainer.log_every_steps", trainer.log_every_steps, 1),
        ("trainer.validate_every_steps", trainer.validate_every_steps, 0),
        ("trainer.sample_every_steps", trainer.sample_every_steps, 0),
        ("trainer.save_every_steps", trainer.save_every_steps, 0),
        ("trainer.evaluate_every_steps", trainer.evaluate_every_steps, 0),
        ("trainer.max_grad_norm", trainer.max_grad_norm, 0),
        ("trainer.max_skipped_steps", trainer.max_skipped_steps, 0),
        ("checkpoint.keep_last", 1 if checkpoint.keep_last is None else checkpoint.keep_last, 1),
        ("checkpoint.keep_best", checkpoint.keep_best, 0),
        ("checkpoint.keep_every_steps", checkpoint.keep_every_steps, 0),
        ("sampling.steps", sampling.steps, 1),
        ("sampling.num_images", sampling.num_images, 1),
        ("sampling.guidance", sampling.guidance, 0),
        ("sampling.seed", sampling.seed, 0),
        ("validation.num_records", config.validation.num_records, 1),
        ("validation.timesteps_per_record", config.validation.timesteps_per_record, 1),
        ("sweep.prune_after_steps", config.sweep.prune_after_steps or 0, 0),
        ("sweep.prune_min_runs", config.sweep.prune_min_runs, 1),
        ("encoder.batch_size", config.encoder.batch_size, 1),
        ("encoder.downscale_factor", config.encoder.downscale_factor, 1),
        ("encoder.max_prompt_tokens", config.encoder.max_prompt_tokens, 1),
        ("data.resolution", config.data.resolution, 1),
        ("data.max_aspect_ratio", config.data.max_aspect_ratio, 1),
    ):
        if not least <= value < 2**62:
            raise UserError(f"{key}={value}: must be at least {least}" + (" and finite." if value > 0 else "."))
    for key, share in (("trainer.ema_decay", trainer.ema_decay), ("trainer.prompt_dropout", trainer.prompt_dropout)):
        if not 0 <= share < 1:
            raise UserError(f"{key}={share}: must be at least 0 and less than 1.")
    for key, value in config.budget.items():
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"budget.{key}={value}: must be above 0 and finite.")
    if config.budget.flops is not None and config.budget.seconds is not None:
        raise UserError("budget.flops and budget.seconds both set trainer.max_steps: only one of them can.")
    if trainer.on_nonfinite not in ("stop", "skip"):
        raise UserError(f"trainer.on_nonfinite={trainer.on_nonfinite}: must be stop or skip.")
    if not config.name or ".." in Path(config.name).parts or Path(config.name).is_absolute():
        raise UserError(f"name={config.name!r}: must be the name of a folder under outputs/.")
    if not config.data.cache_dir:
        raise UserError("data.cache_dir='': must be a folder.")


def _refuse_unread(node: DictConfig, prefix: str, schema: Any) -> None:
    """`+key=value` adds keys to a config; in our own groups nothing would read them."""
    known = {f.name for f in fields(schema)}
    for key in map(str, node):
        if key not in known:
            raise UserError(f"+{prefix}{key}: nothing reads this key. There is: {', '.join(sorted(known))}.")
        inner = OmegaConf.get_type(node, key)
        if is_dataclass(inner):
            _refuse_unread(node[key], f"{prefix}{key}.", inner)


def _check_types(config: DictConfig) -> None:
    schemas = {"model": ModelConfig, "encoder": EncoderConfig, "trainer": TrainerConfig, "sampling": SamplingConfig}
    located = {"root": ImageFolderConfig, "path": LocatedConfig}
    schemas |= {"validation": ValidationConfig, "checkpoint": CheckpointConfig, "sweep": SweepConfig}
    schemas |= {"budget": BudgetConfig}
    schemas |= {"data": next((schema for key, schema in located.items() if key in config.data), DataConfig)}
    for key, schema in schemas.items():
        try:
            OmegaConf.merge(OmegaConf.structured(schema), config[key])
        except OmegaConfBaseException as error:
            raise UserError(f"{key}.{error.full_key}: {str(error).splitlines()[0]}") from None


register()
