"""The typed schema of the config groups: which keys there are, of which type, and what each is for.

Only omegaconf and what needs no torch is imported here, so that a mistyped override is answered at once. docs/config.md
is made from it, and the ranges that fields have are checked before anything is built.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING

from aaa.config.command_schema import AverageConfig, EvaluateConfig, SampleConfig, WebConfig
from aaa.config.compiling import ONE_SHAPE
from aaa.config.keys import MAX_GUIDANCE, MAX_IMAGES, MAX_STEPS, path_key, prose_key
from aaa.config.ranges import MAX_SEED, count, number, one_of, share, switch_or
from aaa.models.design import CHOICES


@dataclass
class ModelConfig:
    """conf/model: the numbers that make a DiT.

    Attributes:
        name: of the preset; part of the run's name.
        dim: width of the residual stream, a multiple of 4 and of `heads`.
        depth: transformer blocks.
        heads: attention heads.
        mlp_ratio: width of each MLP over `dim`.
        position_grid: rows and columns of the position embedding; other sizes interpolate it.
        init: `scaled` (gates and output start at nothing) or `torch` (as the tutorial starts).
        in_channels: channels of the latents; follows from the encoder.
        text_dim: width of the prompt embeddings; follows from the encoder.
        parametrization: `standard`, or `mup`: learning rate and weight decay are those at the base's size, found there.
        base_dim: width of the base.
        base_depth: its blocks.
        base_heads: its attention heads, as wide as the model's.
        block: `_target_` of a class to make the blocks of instead of ours, which gets dim, heads and mlp_ratio.
        architecture: `_target_` of a class to make instead of the whole model, which gets the numbers above.
        positions: `learned` vectors added before each norm, or `rope`: queries and keys turned by row and column.
        text_positions: `none`, or `rope`: queries and keys of the prompt's tokens turned by their place in it.
        qk_norm: normalise queries and keys.
        mlp: `silu`, `relu2` or `swiglu`, all with as many parameters.
        modulation: what the timestep does: a `gate` for each branch, `adaln`, `adaln_shared` or `none` (a token).
        value_residual: mix the first block's values into those of the others.
        text_refiner: blocks over the prompt alone, before it meets the latents.
        registers: learned tokens beside those of the picture.
        patch_bottleneck: channels that a latent is squeezed through before it becomes a token; null: none.
        mask_padding: attend to no padding of prompts; their encoder must have zeros there.
        joint: prompt and latents share weights (`single`), have their own (`mmdit`); or it is just attended (`cross`).
        pooled_prompt: tell blocks the mean of the prompt too; its encoder must have zeros for padding; null: no.
        internal_head: block after which a head predicts, for guidance=internal; follows from objective.terms.internal.
    """

    name: str = MISSING
    dim: int = count(least=1)
    depth: int = count(least=1)
    heads: int = count(least=1)
    mlp_ratio: float = number(3.0, above=0)
    position_grid: int = count(16, least=1)
    init: str = "scaled"
    in_channels: int = MISSING
    text_dim: int = MISSING
    parametrization: str = one_of("standard", "mup", default="standard")
    base_dim: int = count(128, least=1)
    base_depth: int = count(5, least=1)
    base_heads: int = count(2, least=1)
    block: Any = None
    architecture: Any = None
    positions: str = one_of(*CHOICES["positions"], default="learned")
    text_positions: str = one_of(*CHOICES["text_positions"], default="none")
    qk_norm: bool = False
    mlp: str = one_of(*CHOICES["mlp"], default="silu")
    modulation: str = one_of(*CHOICES["modulation"], default="gate")
    value_residual: bool = False
    text_refiner: int = count(0)
    registers: int = count(0)
    patch_bottleneck: int | None = count(None, least=1)
    mask_padding: bool = False
    joint: str = one_of(*CHOICES["joint"], default="single")
    pooled_prompt: bool | None = None
    internal_head: int | None = count(None, least=1)


@dataclass
class RoutingConfig:
    """conf/routing: tokens that skip blocks while training, but not when sampling or validating.

    Attributes:
        kind: `none`; `tread`: some latents, drawn in each step, skip blocks; `sprint`: they are dropped, then fused.
        rate: share of a picture's latents that skip.
        first_block: that is skipped, from 1.
        last_block: that is skipped; null: the last but one.
        path_drop: with sprint, share of the samples of which all that these blocks make is left out.
    """

    kind: str = one_of("none", "tread", "sprint", default="none")
    rate: float | None = share(None)
    first_block: int | None = count(None, least=1)
    last_block: int | None = count(None, least=1)
    path_drop: float | None = share(None)


@dataclass
class DataConfig:
    """conf/data: where pictures and prompts come from, and how they are prepared.

    Attributes:
        name: of the data set; part of the names of cache and run.
        resolution: side in pixels that pictures are cut and scaled to; with buckets, of a square of the same area.
        validation_fraction: share of the records that is held out, where the source does not say which.
        horizontal_flip: whether each training picture is there mirrored too.
        buckets: keep pictures near their own aspect ratio instead of cutting squares.
        max_aspect_ratio: of a bucket, the longer side over the shorter.
        skip_unreadable: leave broken pictures out, with a warning, instead of stopping.
        cache_dir: where latent caches are.
        license: of the data, for the model card.
        attribution: whom to name, in the log and on the model card.
        source: `_target_`: a class that gives records, and its arguments.
        weight: of a part of data=mixture: how often it is drawn, relative to the others; 0: it is only validated on.
        max_records: how many are taken, spread evenly over all; of a mixture, of each part; null: all.
        keep: which records to train on are taken, by columns, `width`, `height`, `prompt`: `aesthetic > 5`; null: all.
    """

    name: str = MISSING
    resolution: int = count(least=1)
    validation_fraction: float = share(0.05)
    horizontal_flip: bool = False
    buckets: bool = False
    max_aspect_ratio: float = number(2.0, least=1)
    skip_unreadable: bool = False
    cache_dir: str = path_key(".cache/aaa")
    license: str | None = prose_key(None)
    attribution: str | None = prose_key(None)
    source: Any = MISSING
    weight: float | None = number(None, least=0, below=float("inf"))
    max_records: int | None = count(None, least=1)
    keep: str | None = None


@dataclass
class ImageFolderConfig(DataConfig):
    """conf/data/imagefolder and pokemon: a folder of pictures with a table or text files of prompts.

    Attributes:
        root: the folder.
        table: name of the table, or a list of names, in place of metadata.* or a known data set's.
        image_column: of the table: file names; null for the first usual name (image, file_name, ...).
        prompt_column: of the table: prompts; null for prompt, text or caption; or several, with weights or without.
        background_color: what transparent pictures are laid on.
    """

    root: str = path_key()
    table: Any = None
    image_column: str | None = None
    prompt_column: Any = None
    background_color: str = "white"


@dataclass
class LocatedConfig(DataConfig):
    """conf/data/huggingface and webdataset: files at a path.

    Attributes:
        path: of the data set or the shards.
        image_column: name of the pictures' column or file ending; null for the first usual one.
        prompt_column: the same of the prompts; or several, with weights or without.
        background_color: what transparent pictures are laid on.
    """

    path: str = path_key()
    image_column: str | None = None
    prompt_column: Any = None
    background_color: str = "white"


@dataclass
class CacheConfig(DataConfig):
    """conf/data/cache: a latent cache that is encoded already, anywhere.

    Attributes:
        address: of its folder: a path, read in place, or what fsspec takes (`s3://`, `gs://`, `hf://`, `https://`).
        local_cache_gib: disk space in GiB for copies of what is read from elsewhere, below `cache_dir`.
    """

    address: str = path_key()
    local_cache_gib: float = number(100.0, above=0, below=float("inf"))


@dataclass
class MixtureConfig(DataConfig):
    """conf/data/mixture: several data sets, mixed by weight.

    Attributes:
        parts: of it, by name: each what `data` is where it is alone.
    """

    parts: dict[str, Any] = field(default_factory=dict)


@dataclass
class EncoderConfig:
    """conf/encoder: a VAE (pictures <-> latents) and a text encoder (prompts -> prompt_embeds).

    Attributes:
        name: part of the cache's name.
        downscale_factor: pixels of a latent's side.
        latent_channels: of the latents.
        prompt_dim: width of the prompt embeddings.
        max_prompt_tokens: longer prompts are cut.
        storage_dtype: of the cache: float16, bfloat16 or float32.
        batch_size: pictures encoded at once, at most; of large ones fewer are.
        cache_prompts: false: prompts are embedded while training, and the cache holds latents alone; null: as true.
        vae: `_target_` and its arguments.
        text_encoder: `_target_` and its arguments; conf/text_encoder has some.
    """

    name: str = MISSING
    downscale_factor: int = count(least=1)
    latent_channels: int = count(least=1)
    prompt_dim: int = count(least=1)
    max_prompt_tokens: int = count(least=1)
    storage_dtype: str = one_of("float16", "bfloat16", "float32")
    batch_size: int = count(least=1)
    cache_prompts: bool | None = None
    vae: Any = MISSING
    text_encoder: Any = MISSING


@dataclass
class TrainerConfig:
    """conf/trainer: how long, how much at once, how precisely, and how often to look.

    Attributes:
        max_steps: optimizer steps in all.
        batch_size: samples of a step, over all processes and micro-batches; `auto`: as many as fit.
        gradient_accumulation_steps: micro-batches of a step.
        precision: `float32`, `bf16` (float32 weights, bf16 products), `bf16_weights`; `auto`: bf16 if it is quick here.
        compile: torch.compile; falls back with a warning; see docs/gpu.md for the ways of a fixed shape.
        cuda_graph: record whole steps as CUDA graphs; `auto`: on a GPU, those that it waits for; see docs/gpu.md.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        gradient_checkpointing_offload: keep what is recomputed from in the CPU's memory.
        trim_prompts: drop padding that all prompts share.
        device: `auto`, `cpu` or `cuda`.
        parallel: several processes each hold the model (`ddp`), a share of it (`fsdp`), or groups of them do (`hsdp`).
        shard_processes: of a group, with hsdp; null: those of one machine.
        max_grad_norm: gradients are scaled down to it; 0: never.
        base_batch_size: where the learning rate was found; it is sqrt(batch_size / base) times that; null: as it is.
        ema_decay: share of the old average of the weights that each step keeps; 0: no average; null: see `ema_memory`.
        ema_memory: of that average: up to 0.5 a share of the steps so far, from 1 on samples; null: see `ema_decay`.
        prompt_dropout: share of samples that are trained without their prompt, for guidance.
        log_every_steps: how often a row of metrics is written.
        validate_every_steps: 0: never; else also after the last step, and so below.
        sample_every_steps: how often a grid of pictures is drawn.
        save_every_steps: how often a checkpoint is written; 0: only where something ends the run early.
        evaluate_every_steps: how often the evaluation runs; 0: only at the end.
        on_nonfinite: what a NaN or infinite gradient does: `stop` the run, or `skip` its step.
        max_skipped_steps: after so many the run stops after all.
        deterministic: refuse operations whose result is not the same every time.
        collective_timeout_seconds: how long a step waits for a process that hangs; null: torch's, 600 on GPUs.
    """

    max_steps: int = count(least=1)
    batch_size: int | str = count(least=1)
    gradient_accumulation_steps: int = count(1, least=1)
    precision: str = "float32"
    compile: bool | str = switch_or(*ONE_SHAPE)
    cuda_graph: bool | str = switch_or("auto", default="auto")
    gradient_checkpointing: bool = False
    gradient_checkpointing_offload: bool = False
    trim_prompts: bool = True
    device: str = "auto"
    parallel: str = one_of("ddp", "fsdp", "hsdp", default="ddp")
    shard_processes: int | None = count(None, least=2)
    max_grad_norm: float = number(1.0, least=0)
    base_batch_size: int | None = count(None, least=1)
    ema_decay: float | None = share(0.999)
    ema_memory: float | None = number(None, above=0)
    prompt_dropout: float = share(0.1)
    log_every_steps: int = count(10, least=1)
    validate_every_steps: int = count()
    sample_every_steps: int = count()
    save_every_steps: int = count()
    evaluate_every_steps: int = count(0)
    on_nonfinite: str = one_of("stop", "skip", default="stop")
    max_skipped_steps: int = count(20)
    deterministic: bool = False
    collective_timeout_seconds: float | None = number(None, above=0, below=float("inf"))


@dataclass
class CheckpointConfig:
    """Which checkpoints are kept, and how they are written; how often is `trainer.save_every_steps`.

    Attributes:
        keep_last: how many of the newest; null: all.
        keep_best: how many of the best by `metric`.
        metric: that says which is best.
        higher_is_better: of that metric.
        keep_every_steps: keep those of every so many steps for good; 0: none.
        in_background: write while training goes on; null: where a GPU trains, as a CPU has no time to spare.
    """

    keep_last: int | None = count(3, least=1)
    keep_best: int = count(1)
    metric: str = "val/loss"
    higher_is_better: bool = False
    keep_every_steps: int = count(0)
    in_background: bool | None = None


@dataclass
class SamplingConfig:
    """How pictures are drawn while training and, unless told otherwise, by `aaa.sample`.

    Attributes:
        steps: of the sampler; what that costs is said as evaluations of the model.
        last_sigma: lowest noise level that the model is asked at; null: where it was hardly trained below; 0: any.
        guidance: scale of the guidance; 1: none.
        guidance_interval: noise levels within which it steers, 0 (clean) to 1 (noise).
        num_images: of a sample grid, half of them for prompts that are held out.
        seed: of the first picture.
        preview: folder of TAEF2, to decode the latents of FLUX.2's VAE cheaply.
        prompts: of one's own, drawn beside the sample grid: a list of texts, or a file with one on each line.
    """

    steps: int = number(30, least=1, most=MAX_STEPS)
    last_sigma: float | None = number(None, least=0, below=1)
    guidance: float = number(2.0, least=0, most=MAX_GUIDANCE)
    guidance_interval: list[float] = field(default_factory=lambda: [0.0, 1.0])
    num_images: int = number(16, least=1, most=MAX_IMAGES)
    seed: int = number(0, least=0, most=MAX_SEED)
    preview: str | None = path_key(None)
    prompts: Any = None


@dataclass
class ValidationConfig:
    """The fixed table of records, timesteps and noise on which runs are compared.

    Attributes:
        num_records: held-out records in it, at most, one of each picture.
        timesteps_per_record: noise levels that each is judged at.
    """

    num_records: int = count(64, least=1)
    timesteps_per_record: int = count(5, least=1)


@dataclass
class BudgetConfig:
    """What runs have in common where something else is to differ; each sets one number of the run.

    Attributes:
        parameters: about how many; sets `model.dim`.
        flops: of all training, forward and backward; sets `trainer.max_steps`.
        seconds: of training, by steps timed before it starts; sets `trainer.max_steps`.
    """

    parameters: float | None = number(None, above=0, below=float("inf"))
    flops: float | None = number(None, above=0, below=float("inf"))
    seconds: float | None = number(None, above=0, below=float("inf"))


@dataclass
class SweepConfig:
    """What the runs of a sweep have to do with each other.

    Attributes:
        resume: go on with the sweep that this very command began, skipping runs that are finished.
        prune_after_steps: from which step on runs worse than the median of the others are given up; null: none is.
        prune_min_runs: how many others must have come as far.
        show_plan: what each run will take, before the first starts.
    """

    resume: bool = False
    prune_after_steps: int | None = count(None)
    prune_min_runs: int = count(4, least=1)
    show_plan: bool = True


@dataclass
class TrainConfig:
    """Everything a training run can be told.

    Attributes:
        name: the folder of the run under outputs/.
        seed: of weights, data order, noise and prompt dropout.
        resume: a run folder to go on with; `auto`: the run that this very command began before.
        repeat: a run folder to do again, in a new folder.
        init_from: weights to start from: a .safetensors file, a run, checkpoint or model/ folder.
        init_from_parts: `fitting`: of these what is here too, the rest starts as ever; null: they must be this model's.
        trust_config: let the config of a run that is resumed or repeated name classes that conf/ does not.
        output_dir: of the run; set by `hydra.run.dir`.
        model: see below, as all groups.
        scheduler: `_target_`: which noise levels are trained on, and which the sampler visits.
        objective: `_target_`: what the model predicts, and how far off it is.
        sampler: `_target_`: the way from one noise level to the next.
        guidance: `_target_`: how pictures are steered towards the prompt.
        optimizer: `_target_` and its arguments.
        lr_scheduler: `_target_`: factor on the learning rate at each step.
        evaluation: `_target_`: how drawn pictures are judged.
        logger: `_target_`: where numbers and pictures go besides the run folder.
    """

    name: str = MISSING
    seed: int = count(0)
    resume: str | None = path_key(None)
    repeat: str | None = path_key(None)
    init_from: str | None = path_key(None)
    init_from_parts: str | None = one_of("fitting", default=None)
    trust_config: bool = False
    output_dir: str = path_key()
    model: ModelConfig = field(default_factory=ModelConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    scheduler: Any = MISSING
    objective: Any = MISSING
    sampler: Any = MISSING
    guidance: Any = MISSING
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
class PartConfig:
    """`python -m aaa.encode`: what of the data it encodes.

    Attributes:
        parts: that the records are divided into, for as many jobs at once; null: one for each process of a launch.
        part: that this job encodes, from 0; the last to end puts all together. null: whichever nobody is at.
    """

    parts: int | None = count(None, least=1)
    part: int | None = count(None)


@dataclass
class EncodeConfig(TrainConfig):
    """Everything that encoding can be told: what a training run can, and which part of the data it is to encode."""

    encode: PartConfig = field(default_factory=PartConfig)


# The groups of a run whose keys are typed.
GROUPS: dict[str, type] = {
    f.name: f.type for f in fields(TrainConfig) if isinstance(f.type, type) and is_dataclass(f.type)
}
SCHEMAS: dict[str, type] = {
    "train": TrainConfig,
    "bench": BenchConfig,
    "encode": EncodeConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
    "web": WebConfig,
    "average": AverageConfig,
    "data": DataConfig,
    "imagefolder": ImageFolderConfig,
    "located": LocatedConfig,
    "cache": CacheConfig,
    "mixture": MixtureConfig,
    "encoder": EncoderConfig,
    "trainer": TrainerConfig,
    "model": ModelConfig,
}
