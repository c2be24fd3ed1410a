"""The schemas of the commands that take a saved model; as schema.py, docs/config.md is made from them."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from aaa.config.keys import MAX_HEADS, MAX_IMAGES, MAX_SIDE, MAX_STEPS, path_key, prose_key
from aaa.config.ranges import MAX_SEED, number, one_of


@dataclass
class SampleConfig:
    """`python -m aaa.sample`: drawing with a saved model. What is null stays as the model has it.

    Attributes:
        saved_model: run folder, checkpoint, model/ folder or a file of weights; called `model` on the command line.
        prompt: what to draw.
        prompts: in place of `prompt`, a file in UTF-8 with one on each line; each is drawn with the same seeds.
        negative_prompt: what to steer away from.
        steps: of the sampler.
        last_sigma: lowest noise level that the model is asked at.
        sampler: a group: euler, heun, dpmpp_2m, sde.
        guidance: a group: prompt, checkpoint, internal, routing; a number is its scale, others are `guidance.KEY`.
        precision: float32, bf16, bf16_weights, auto; null: as it was trained, where this device is quick at that.
        seed: of the first picture; the next ones take seed + 1 and so on.
        num_images: how many, of each prompt.
        height: in pixels; null: the resolution of the training pictures.
        width: the same.
        input_image: a picture to start from.
        denoising_strength: how much of it to redraw.
        preview: folder of TAEF2, to decode the latents of FLUX.2's VAE cheaply.
        weights: of a checkpoint that has both.
        heads: attention heads, for a file of weights that does not say how many it has.
        device: `auto`, `cpu` or `cuda`.
        trust_config: run whatever classes the model's config names, from wherever.
        out: folder for the pictures, with -m for folders 0, 1, ... in it; null: samples, else samples-2, ..., unused.
    """

    saved_model: str = path_key()
    prompt: str | None = prose_key(None)
    prompts: str | None = path_key(None)
    negative_prompt: str = prose_key("")
    steps: int | None = number(None, least=1, most=MAX_STEPS)
    last_sigma: float | None = number(None, least=0, below=1)
    sampler: Any = None
    guidance: Any = None
    precision: str | None = None
    seed: int = number(0, least=0, most=MAX_SEED)
    num_images: int = number(4, least=1, most=MAX_IMAGES)
    height: int | None = number(None, least=1, most=MAX_SIDE)
    width: int | None = number(None, least=1, most=MAX_SIDE)
    input_image: str | None = path_key(None)
    denoising_strength: float = number(1.0, above=0, most=1)
    preview: str | None = path_key(None)
    weights: str = one_of("ema", "raw", default="ema")
    heads: int | None = number(None, least=1, most=MAX_HEADS)
    device: str = "auto"
    trust_config: bool = False
    out: str | None = path_key(None)


@dataclass
class WebConfig:
    """`python -m aaa.web`: a page to try a model on. What is null stays as the model has it.

    Attributes:
        saved_model: run folder, checkpoint, model/ folder or a file of weights; called `model` on the command line.
        port: of http://127.0.0.1:PORT; 0: any that is free.
        steps: of the sampler, at first.
        last_sigma: lowest noise level that the model is asked at.
        sampler: a group.
        guidance: a group.
        precision: of the model.
        preview: folder of TAEF2, to show latents of FLUX.2's VAE while they are drawn.
        heads: attention heads.
        device: `auto`, `cpu` or `cuda`.
        trust_config: run whatever classes the model's config names, from wherever.
    """

    saved_model: str = path_key()
    port: int = number(7860, least=0, most=65_535)
    steps: int | None = number(None, least=1, most=MAX_STEPS)
    last_sigma: float | None = number(None, least=0, below=1)
    sampler: Any = None
    guidance: Any = None
    precision: str | None = None
    preview: str | None = path_key(None)
    heads: int | None = number(None, least=1, most=MAX_HEADS)
    device: str = "auto"
    trust_config: bool = False


@dataclass
class EvaluateConfig:
    """`python -m aaa.evaluate`: judging a saved model on the data of its run. What is null is the run's own.

    Attributes:
        saved_model: run folder, checkpoint or model/ folder; called `model` on the command line.
        evaluation: a group.
        weights: of a checkpoint that has both.
        seed: of sampling.
        steps: of the sampler.
        last_sigma: lowest noise level that the model is asked at.
        sampler: a group.
        guidance: a group.
        precision: of the model.
        device: `auto`, `cpu` or `cuda`.
        trust_config: run whatever classes the run's config names, from wherever.
        out: folder for numbers and pictures, with -m for folders 0, 1 and so on in it; null: evaluation/ of the run.
    """

    saved_model: str = path_key()
    evaluation: Any = MISSING
    weights: str = one_of("ema", "raw", default="ema")
    seed: int | None = number(None, least=0, most=MAX_SEED)
    steps: int | None = number(None, least=1, most=MAX_STEPS)
    last_sigma: float | None = number(None, least=0, below=1)
    sampler: Any = None
    guidance: Any = None
    precision: str | None = None
    device: str = "auto"
    trust_config: bool = False
    out: str | None = path_key(None)


@dataclass
class AverageConfig:
    """`python -m aaa.average`: averages of a run's weights of other memories than it kept.

    Attributes:
        saved_model: run folder, or one of its checkpoints; called `model` on the command line.
        memory: one or several as [0.05,0.2]: up to 0.5 a share of the run, as `trainer.ema_memory`, else samples.
    """

    saved_model: str = path_key()
    memory: Any = MISSING
