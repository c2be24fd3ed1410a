"""What no run can have.

Nothing here loads torch, so that `--help`, `--cfg job` and a mistyped override answer at once.
"""

import os
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from aaa.config.as_schema import as_schema
from aaa.config.compiling import check_compiling
from aaa.config.cuda_graph import check_recording
from aaa.config.guidance import check_guidance
from aaa.config.keep import check_keep
from aaa.config.live_prompts import leave_unsaid
from aaa.config.mixture import check_mixture
from aaa.config.objective import check_objective
from aaa.config.parallel import check_parallel
from aaa.config.places import check_places
from aaa.config.prompts import require_prompts
from aaa.config.ranges import require_ranges
from aaa.config.rates import check_rates
from aaa.config.routing import routed_blocks
from aaa.config.schema import TrainConfig
from aaa.config.upgrade import fill_in, schemas_of, upgrade
from aaa.errors import UserError, in_plain_words, nearest
from aaa.models.design import Design, require_possible, require_unused
from aaa.tracking.printed import harmless

WANDB_MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")


def check_config(config: DictConfig) -> None:
    """Refuse keys that nothing reads, and numbers that no run can have.

    Raises:
        UserError: naming the key.
    """
    if is_dataclass(OmegaConf.get_type(config)):
        _refuse_unread(config, "", OmegaConf.get_type(config))
    else:  # a resumed run's, which was read from a file and carries no types
        _check_types(config)
    leave_unsaid(config.encoder)
    check_mixture(config)
    check_places(config.data)
    check_keep(config.data)
    batch_size = config.trainer.batch_size
    if isinstance(batch_size, str) and batch_size != "auto":
        raise UserError(f"trainer.batch_size={batch_size}: must be a whole number, or auto: as many as fit.")
    require_ranges(TrainConfig, config)
    for key, schema in schemas_of(config).items():
        require_ranges(schema, config[key], f"{key}.")
    if config.budget.flops is not None and config.budget.seconds is not None:
        raise UserError("budget.flops and budget.seconds both set trainer.max_steps: only one of them can.")
    if config.get("init_from_parts") == "fitting" and config.init_from is None:
        raise UserError("init_from_parts=fitting: of which weights? init_from=PATH names them.")
    check_rates(config)
    check_compiling(config.trainer)
    check_parallel(config)
    _check_design(config)
    _check_resolution(config.data.resolution, config.encoder.downscale_factor)
    _check_padding(config)
    _check_routing(config)
    check_objective(config)
    check_recording(config)
    check_guidance(config)
    require_prompts(config)
    _check_name(config.name)
    _check_wandb_mode(config.logger)
    if not config.data.cache_dir:
        raise UserError("data.cache_dir='': must be a folder.")


def _check_design(config: DictConfig) -> None:
    """Refuse an architecture that there is not, and switches that the class that is named would not see."""
    model = config.model
    design = Design(**{f.name: model[f.name] for f in fields(Design)})
    for key in ("architecture", "block"):
        if model.get(key) is not None:
            require_unused(design, key)
    if model.get("architecture") is None and config.budget.parameters is None:
        require_possible(design, model.dim, model.depth, model.heads)


def _check_resolution(resolution: int, factor: int) -> None:
    """Refuse pictures that latents do not divide."""
    if resolution < factor or resolution % factor:
        near = max(round(resolution / factor), 1) * factor
        raise UserError(
            f"data.resolution={resolution} is not divisible by encoder.downscale_factor={factor}; "
            f"the nearest that is: {near}."
        )


def _check_padding(config: DictConfig) -> None:
    """Refuse to leave out padding that cannot be told from words."""
    text_encoder = config.encoder.text_encoder
    asked = next((key for key in ("mask_padding", "pooled_prompt") if config.model[key]), None)
    if asked is None or not isinstance(text_encoder, DictConfig):
        return
    padding = "tokens" if str(text_encoder.get("_target_")).endswith(".Qwen3Encoder") else text_encoder.get("padding")
    if padding == "tokens":
        raise UserError(
            f"model.{asked}=true: encoder.text_encoder keeps hidden states for padding, which look like words. "
            "text_encoder=huggingface with encoder.text_encoder.padding=zeros blanks them."
        )


def _check_routing(config: DictConfig) -> None:
    """Refuse a way around blocks that there are not, and numbers of a way where there is none."""
    routing, model = config.routing, config.model
    blocks = routed_blocks(config)
    if blocks is None:
        if said := [f"routing.{key}={value}" for key, value in routing.items() if key != "kind" and value is not None]:
            raise UserError(
                f"{said[0]}: routing.kind=none, so that nothing is routed. Choose routing=tread or routing=sprint."
            )
        return
    for key in ("architecture", "block"):
        if model.get(key) is not None:
            raise UserError(f"routing.kind={routing.kind}: the class that model.{key} names knows nothing of routing.")
    of_sprint = ["path_drop"] if routing.kind == "sprint" else []
    if not of_sprint and routing.path_drop is not None:
        raise UserError(f"routing.path_drop={routing.path_drop}: routing.kind={routing.kind} drops none; sprint does.")
    for key in ("rate", "first_block", *of_sprint):
        if routing[key] is None:
            raise UserError(f"routing.{key}=null: routing.kind={routing.kind} needs a number.")
    first, last = blocks
    if not first <= last <= model.depth:
        raise UserError(
            f"routing.first_block={first} routing.last_block={last}: model.depth={model.depth} has no "
            "such range of blocks."
        )
    if first == 1 and model.value_residual:
        raise UserError("routing.first_block=1: model.value_residual=true needs that block's values of all tokens.")


def _check_name(name: str) -> None:
    """Refuse a name that makes no folder under outputs/."""
    if not Path(name).parts or ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError(f"name={name!r}: must be the name of a folder under outputs/.")
    if sys.platform == "win32" and (odd := sorted(set('<>:"|?*').intersection(name))):
        raise UserError(f"name={name!r}: Windows has no folder with {' '.join(odd)} in its name.")
    if harmless(name, keep="") != name:
        raise UserError(f"name={name!r}: has letters that are not shown, such as a line break. A folder has none.")


def _check_wandb_mode(logger: Any) -> None:
    """Refuse a `WANDB_MODE` that W&B does not know: it would say so after the model is made, and in other words."""
    mode = os.environ.get("WANDB_MODE", "")
    uses_it = isinstance(logger, DictConfig) and str(logger.get("_target_")).endswith("WandbLogger")
    if uses_it and mode and mode not in WANDB_MODES:
        raise UserError(f"WANDB_MODE={mode}: W&B knows no such mode. There is: {', '.join(WANDB_MODES)}.")


def _refuse_unread(node: DictConfig, prefix: str, schema: Any) -> None:
    """`+key=value` adds keys to a config; in our own groups nothing would read them."""
    known = {f.name for f in fields(schema)}
    for key in map(str, node):
        if key not in known:
            there = sorted(known)
            raise UserError(
                f"+{prefix}{key}: nothing reads this key{nearest(key, there)}. There is: {', '.join(there)}."
            )
        inner = OmegaConf.get_type(node, key)
        if is_dataclass(inner):
            _refuse_unread(node[key], f"{prefix}{key}.", inner)


def _check_types(config: DictConfig) -> None:
    """Check what was read from a file, and give it the defaults of keys that there were not when it was written."""
    upgrade(config)
    _check_plain_types(config)
    for key, schema in schemas_of(config).items():
        as_schema(schema, config.get(key) or {}, f"{key}.")
    fill_in(config)


def _check_plain_types(config: DictConfig) -> None:
    """The same of the keys that are no groups."""
    structured = OmegaConf.structured(TrainConfig)
    plain = [f.name for f in fields(TrainConfig) if f.name in config and f.type is not Any and not is_dataclass(f.type)]
    for key in plain:
        if OmegaConf.is_interpolation(config, key):
            continue
        try:
            structured[key] = config[key]
        except OmegaConfBaseException as error:
            raise UserError(f"{key}={config[key]}: {in_plain_words(str(error), key)}") from None
        config[key] = structured[key]  # a number that was written as a text is one
