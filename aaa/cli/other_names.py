"""What keys and options of the config are called in other projects, for the hint of an error."""

from collections.abc import Container, Mapping, Sequence

# By our key, names without the groups that they stand in elsewhere, but where ours has another meaning there.
OF_KEYS = {
    "seed": "random_seed manual_seed global_seed",
    "resume": "resume_from resume_from_checkpoint resume_training ckpt_path",
    "init_from": "pretrained pretrained_path load_from finetune_from pretrained_model_name_or_path",
    "model.dim": "width hidden_size hidden_dim embed_dim d_model n_embd",
    "model.depth": "layers num_layers n_layers num_blocks",
    "model.heads": "num_heads n_heads num_attention_heads",
    "data.root": "train_data_dir data_dir dataset_dir image_dir instance_data_dir",
    "data.resolution": "image_size img_size",
    "data.prompt_column": "caption_column text_column caption_key",
    "data.horizontal_flip": "random_flip flip hflip",
    "scheduler.shift": "timestep_shift flow_shift time_shift discrete_flow_shift",
    "optimizer.learning_rate": "lr base_lr max_lr",
    "optimizer.weight_decay": "wd",
    "lr_scheduler.warmup_steps": "warmup lr_warmup_steps num_warmup_steps warmup_iters",
    "trainer.max_steps": "steps epochs num_epochs max_epochs num_train_epochs max_train_steps total_steps max_iters "
    "max_duration",
    "trainer.batch_size": "bs train_batch_size global_batch_size data.batch_size",
    "trainer.gradient_accumulation_steps": "accumulate_grad_batches grad_accum grad_accum_steps",
    "trainer.max_grad_norm": "gradient_clipping grad_clip clip_grad clip_grad_norm gradient_clip_val max_norm",
    "trainer.precision": "mixed_precision dtype weight_dtype amp bf16 fp16",
    "trainer.prompt_dropout": "p_drop_caption caption_dropout caption_dropout_prob caption_dropout_rate cfg_dropout "
    "class_dropout_prob uncond_prob p_uncond proportion_empty_prompts",
    "trainer.ema_decay": "ema use_ema ema_rate ema.decay",
    "trainer.gradient_checkpointing": "grad_checkpointing activation_checkpointing",
    "trainer.compile": "torch_compile use_compile",
    "trainer.save_every_steps": "checkpointing_steps save_steps save_every save_interval ckpt_every checkpoint_every",
    "trainer.validate_every_steps": "validation_steps val_every eval_interval val_check_interval",
    "trainer.sample_every_steps": "sample_every sample_steps",
    "trainer.log_every_steps": "log_every logging_steps log_interval",
    "checkpoint.keep_last": "checkpoints_total_limit save_total_limit num_checkpoints_to_keep",
    "sampling.steps": "num_inference_steps num_sampling_steps sampling_steps",
    "sampling.guidance": "scale cfg cfg_scale guidance_scale",
    "logger.project": "wandb_project project_name tracker_project_name",
}
OF_OPTIONS = {
    "lr_scheduler=warmup_cosine": "cosine cosine_with_warmup cosine_annealing",
    "scheduler=linear": "uniform",
    "scheduler=logit_normal": "lognorm lognormal sd3",
    "objective=clean": "x0 x_prediction x_pred sample_prediction",
    "objective=velocity": "v_prediction flow_matching rectified_flow flow",
    "sampler=dpmpp_2m": "dpm dpm++ dpm_solver dpmsolver",
    "optimizer=adamw": "adam",
}
# By names that are set in several places here, a sentence on where.
SET_ELSEWHERE = {
    "patch_size": "Patches are made where pictures are encoded: encoder.downscale_factor=8 has 8 x 8 pixels in a token "
    "(encoder=patches, pixel), encoder.vae.patch_size=2 has 2 x 2 latents in one (encoder=diffusers).",
}

# Names that mean something else in most groups, and the groups, besides our own, in which they do not.
SHORT = ("steps", "scale", "width", "layers", "dtype", "warmup")
OF_RUNS = ("trainer", "training", "train", "model")


def _by_name(names: Mapping[str, str]) -> dict[str, str]:
    return {name: ours for ours, theirs in names.items() for name in theirs.split()}


KEYS, OPTIONS = _by_name(OF_KEYS), _by_name(OF_OPTIONS)


def key_meant(key: str, keys: Container[str]) -> str | None:
    """Our key for what others call so, wherever they have it.

    Args:
        key: as it was typed, that there is not.
        keys: those of the command.
    """
    group, _, last = key.rpartition(".")
    found = KEYS.get(key) or KEYS.get(last)
    elsewhere = last in SHORT and group not in ("", *OF_RUNS, (found or "").rpartition(".")[0])
    return found if found in keys and not elsewhere else None


def respelt(key: str) -> str:
    """The key with its last part as ours would be called that others call so: `x.lr` is `x.learning_rate`."""
    group, _, last = key.rpartition(".")
    if last in SHORT and group not in OF_RUNS and group != KEYS[last].rpartition(".")[0]:
        return key
    return key.removesuffix(last) + KEYS.get(last, last).rpartition(".")[2]


def option_meant(group: str, option: str, groups: Mapping[str, Sequence[str]]) -> str | None:
    """The `group=option` of ours for what others call so, or that of another group which has an option of this name.

    Args:
        group: as it was typed.
        option: that this group has not.
        groups: options by group.
    """
    for found in (OPTIONS.get(option), *(f"{other}={option}" for other in groups if other != group)):
        of_group, _, name = (found or "").partition("=")
        if name in groups.get(of_group, []) and name not in ("none", "full"):
            return found
    return None
