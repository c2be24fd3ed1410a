"""From a composed config to the objects of a command. Everything below this layer takes plain arguments."""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from aaa.config.overrides import without_interpolations
from aaa.data.buckets import bucket_sizes, nearest_bucket, square
from aaa.data.build_cache import Fit, open_or_build
from aaa.data.cache import LatentCache, earlier_cache
from aaa.data.fingerprint import FileDigests, code_fingerprint, fingerprint, records_fingerprint
from aaa.data.records import Record, Source
from aaa.diffusion.sampling import Sampling
from aaa.encoders.flux2 import Flux2Encoder
from aaa.encoders.flux2_tiny import Flux2TinyVAE
from aaa.encoders.protocols import VAE, HasWeights, NormalisesLatents, TextEncoder
from aaa.errors import UserError
from aaa.models.factory import InitialisesItself, build_dit, require_init
from aaa.models.parameters import fused_matrices, matrices
from aaa.training.optimizers import KnowsFusedMatrices
from aaa.training.parameter_groups import DECAYED, decay_only, regroup

logger = logging.getLogger(__name__)

STORAGE_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def build(config: DictConfig, key: str, **arguments: Any) -> Any:
    """Make the object that the config describes under this dotted key: `_target_` with its arguments.

    Raises:
        UserError: if the key is empty, or the class will not have these arguments.
    """
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"{key}={node}: must name a class or function with _target_, and its arguments.")
    try:
        return instantiate(_as_it_is(node), **arguments)
    except Exception as error:
        known = next((e for e in (error, error.__cause__) if isinstance(e, UserError)), None)
        if known is not None:
            raise known from None
        raise UserError(f"{key}: {node._target_} cannot be made: {_reason(error)}") from error


def _as_it_is(node: DictConfig) -> DictConfig:
    """The node so that texts with `${` in them, such as a path, reach the class as they are.

    Hydra resolves what it has resolved again: arguments twice, what is within lists and dictionaries thrice.
    """
    resolved = OmegaConf.to_container(node, resolve=True)

    def escaped(value: Any, times: int) -> Any:
        if isinstance(value, dict):
            return {key: escaped(part, times if "_target_" in value else 3) for key, part in value.items()}
        if isinstance(value, list):
            return [escaped(part, 3) for part in value]
        return without_interpolations(escaped(value, times - 1)) if times else value

    return node if without_interpolations(resolved) == resolved else OmegaConf.create(escaped(resolved, 2))


def build_model(config: DictConfig) -> nn.Module:
    """The configured model, with random weights from torch's global generator.

    Numbers make an `AAADiT`, of blocks that `model.block` may name a class for; `model.architecture` may name another
    class, which gets the same numbers and draws its own initial values if it has any.

    Raises:
        UserError: if no model has these numbers, or the class will not have them.
    """
    numbers = model_numbers(config)
    if config.model.get("architecture") is None:
        return build_dit(**numbers, init=config.model.init)
    require_init(config.model.init)
    model = build(config, "model.architecture", **numbers)
    if not isinstance(model, nn.Module):
        raise UserError(f"model.architecture: {config.model.architecture._target_} makes no torch.nn.Module.")
    if isinstance(model, InitialisesItself) and config.model.init == "scaled":
        model.init_weights()
    return model


def model_numbers(config: DictConfig) -> dict[str, Any]:
    """What a model's class is made from: its numbers, and what makes its blocks where the config names that."""
    of_config = ("name", "init", "architecture", "block")
    numbers = {str(key): value for key, value in config.model.items() if key not in of_config}
    if config.model.get("block") is not None:
        numbers["block"] = build(config, "model.block", _partial_=True)
    return numbers


def build_optimizer(config: DictConfig, model: nn.Module) -> Optimizer:
    """The configured optimizer of the model's parameters, which it is given with their names.

    Whichever it is, `optimizer.decayed` says of which parameters it decays the weights.

    Raises:
        UserError: if it will not have its arguments.
    """
    made: partial[Optimizer] = build(config, "optimizer", _partial_=True)
    arguments = {key: value for key, value in made.keywords.items() if key != "decayed"}
    decayed = made.keywords.get("decayed", "all")
    if decayed not in DECAYED:
        raise UserError(f"optimizer.decayed={decayed}: must be one of {', '.join(DECAYED)}.")
    try:
        optimizer = made.func(list(model.named_parameters()), **arguments)
        if isinstance(optimizer, KnowsFusedMatrices):
            optimizer.know_fused_matrices(fused_matrices(model))
        if decayed == "matrices":
            regroup(optimizer, model, decay_only(matrices(model)))
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {config.optimizer._target_} cannot be made: {error}") from error
    return optimizer


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    first, *more = str(cause).splitlines() or [type(cause).__name__]
    # Hydra says on a line of its own why a name leads nowhere.
    return f"{first} {more[0]}" if first.startswith("Error loading") and more else first


def pick_device(name: str) -> str:
    """`cuda` if there is one, else `cpu`, for `auto`; any other name as it is.

    Raises:
        UserError: if there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        told = str(error).splitlines()[0].split(". ")[0].split(" Please")[0].rstrip(".")
        told = "it knows no such device" if told.startswith("Expected one of") else told
        raise UserError(f"device={name}: torch cannot use it ({told}). There is: auto, cpu, cuda.") from None
    return name


def build_encoders(config: DictConfig) -> tuple[VAE, TextEncoder]:
    """The VAE and the text encoder of a config, neither of which has loaded any weights yet.

    Raises:
        UserError: if what the VAE says of itself is not what the config says.
    """
    vae, text_encoder = (build(config, f"encoder.{part}") for part in ("vae", "text_encoder"))
    encoder = config.encoder
    for key, said, found in (
        ("latent_channels", encoder.latent_channels, vae.latent_channels),
        ("downscale_factor", encoder.downscale_factor, vae.downscale_factor),
        ("prompt_dim", encoder.prompt_dim, text_encoder.prompt_dim),
    ):
        if said != found:
            raise UserError(f"encoder.{key}={said}, but the encoder itself has {found}.")
    return vae, text_encoder


def build_sampling(config: DictConfig, steps: int | None = None, guidance: float | None = None) -> Sampling:
    """How the model of a config is sampled.

    Args:
        config: of a run or a saved model.
        steps, guidance: in place of the config's own.
    """
    scale = {} if guidance is None else {"scale": guidance}
    return Sampling(
        build(config, "scheduler"),
        build(config, "sampler"),
        build(config, "guidance", **scale),
        build(config, "objective.prediction"),
        config.sampling.steps if steps is None else steps,
    )


def missing_weights(parts: Iterable[HasWeights]) -> list[str]:
    """What these encoders still miss after downloading what can be: a message each, with what to do by hand."""
    messages = []
    for part in parts:
        if part.missing_files():
            part.fetch_files()
        if message := part.missing_files():
            messages.append(message)
    return messages


def build_preview(vae: VAE, path: str) -> VAE:
    """TAEF2 in this folder, set up to decode the latents of FLUX.2's VAE cheaply.

    Raises:
        UserError: if it is not FLUX.2's VAE that is to be previewed, or files are missing.
    """
    if not isinstance(vae, Flux2Encoder):
        raise UserError(f"preview={path}: only latents of FLUX.2's VAE (encoder=flux2_qwen3) have previews.")
    preview = Flux2TinyVAE(path)
    if message := preview.missing_files():
        raise UserError(f"Weights are missing:\n  {message}")
    preview.statistics = vae.latent_statistics()
    preview.to(vae.device)
    return preview


class Latents(NamedTuple):
    """A latent cache with what it was made from.

    Attributes:
        cache: of latents and prompt_embeds.
        vae: decodes its latents.
        source: of the pictures and prompts.
        fit: the size a picture is cut to, by its own.
    """

    cache: LatentCache
    vae: VAE
    source: Source
    fit: Fit


def open_latents(config: DictConfig, device: str, trained_on: str | None = None) -> Latents:
    """Open the latent cache of the config's data and encoder, building it first where there is none.

    Args:
        config: of a run.
        device: to encode on.
        trained_on: fingerprint of the cache that the run was trained on so far. It is opened if it is still there and
            differs in nothing but the version of aaa that made it, so that the run goes on with the same latents and
            the same held-out records.

    Raises:
        UserError: naming at once everything that is missing.
    """
    data, encoder = config.data, config.encoder
    _check_resolution(data.resolution, encoder.downscale_factor)
    if encoder.storage_dtype not in STORAGE_DTYPES:
        raise UserError(f"encoder.storage_dtype={encoder.storage_dtype}: must be one of {', '.join(STORAGE_DTYPES)}.")
    vae, text_encoder = build_encoders(config)
    weighty = [part for part in (vae, text_encoder) if isinstance(part, HasWeights)]
    source = _build_source(config, missing_weights(weighty))
    digests = FileDigests(Path(data.cache_dir) / "digests.jsonl")
    source_arguments: dict[str, Any] = {
        key: value
        for key, value in _plain(data.source).items()
        if key not in ("root", "path", "dataset_id")  # where it lies does not matter
    }
    encoder_arguments = {"vae": _plain(encoder.vae), "text_encoder": _plain(encoder.text_encoder)}
    targets = [source_arguments["_target_"], *(part["_target_"] for part in encoder_arguments.values())]
    recipe = {
        "encoder": encoder_arguments,
        "resolution": data.resolution,
        "buckets": data.buckets and data.max_aspect_ratio,
        "storage_dtype": encoder.storage_dtype,
        "weights": [digests.digest(path) for part in weighty for path in part.weight_files],
        "code": code_fingerprint([*targets, "aaa.data.build_cache.open_or_build"]),
    }
    origin = recipe | {
        "source": source_arguments,
        "horizontal_flip": data.horizontal_flip,
        "skip_unreadable": data.skip_unreadable,
        "records": records_fingerprint(source, digests),
    }
    key = fingerprint(origin)
    path = Path(data.cache_dir) / f"{data.name}-{encoder.name}-{data.resolution}-{key[:16]}"
    if trained_on not in (None, key) and (own := earlier_cache(Path(data.cache_dir), trained_on, origin)) is not None:
        logger.info("Going on with the latents of an earlier version of aaa that the run was trained on: %s", own)
        path, key = own, trained_on
    identify = partial(_identity, digests=digests, shared=_shared_by_records(source, source_arguments, digests))

    fit = square(data.resolution)
    if data.buckets:
        fit = nearest_bucket(bucket_sizes(data.resolution, encoder.downscale_factor, data.max_aspect_ratio))

    def on_device() -> tuple[VAE, TextEncoder]:
        logger.info("Encoding %d records into the latent cache %s", len(source), path)
        for part in weighty:
            part.to(device)
        return vae, text_encoder

    cache = open_or_build(
        path,
        source,
        on_device,
        fingerprint=key,
        recipe=fingerprint(recipe),
        identify=identify,
        fit=fit,
        horizontal_flip=data.horizontal_flip,
        skip_unreadable=data.skip_unreadable,
        storage_dtype=STORAGE_DTYPES[encoder.storage_dtype],
        batch_size=encoder.batch_size,
        origin=origin,
    )
    if isinstance(vae, HasWeights):
        vae.to(device)
    if isinstance(vae, NormalisesLatents) and cache.statistics is not None:
        vae.statistics = cache.statistics
    return Latents(cache, vae, source, fit)


def _shared_by_records(source: Source, arguments: dict[str, Any], digests: FileDigests) -> str:
    """What tells the pictures of one source from those of another, whatever their captions are."""
    kept = {key: value for key, value in arguments.items() if not key.endswith("_column")}
    files = [digests.digest(path) for path in getattr(source, "files", ())]
    return fingerprint({"source": kept, "files": files})


def _identity(record: Record, digests: FileDigests, shared: str) -> str:
    # A picture with a file of its own is that file's content, whatever its name.
    return f"{shared} {digests.same_digest(record.path) if record.path else record.key}"


def _check_resolution(resolution: int, factor: int) -> None:
    if resolution < factor or resolution % factor:
        nearest = max(round(resolution / factor), 1) * factor
        raise UserError(
            f"data.resolution={resolution} is not divisible by encoder.downscale_factor={factor}; "
            f"the nearest that is: {nearest}."
        )


def _build_source(config: DictConfig, missing_weights: list[str]) -> Source:
    problems = []
    source = None
    try:
        source = build(config, "data.source")
    except UserError as error:
        problems.append(str(error))
    if missing_weights:
        listed = "\n  ".join(missing_weights)
        problems.append(
            f"The weights of encoder={config.encoder.name} are missing (and no latents are cached):\n  {listed}\n"
            "  Or train without them, on pixels: encoder=pixel data.resolution=64"
        )
    if source is None or problems:
        raise UserError("\n".join(problems))
    return source


def _plain(config: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
