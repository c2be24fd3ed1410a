"""The tutorial's own loop beside ours: DiffSynth's training task, encoders and all, on the same device."""

import logging
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from aaa.assembly.parts import build_model
from aaa.benchmarks.counts import Count
from aaa.benchmarks.report import Report
from aaa.benchmarks.subject import make_subject
from aaa.models.costs import count_parameters
from aaa.models.dit import AAADiT
from aaa.tracking.tracker import NoLogger
from aaa.training.progress import Progress
from aaa.training.timing import seconds, synchronize

logger = logging.getLogger(__name__)

SIDE, PROMPT_TOKENS, VOCABULARY = 256, 128, 151_936
CHANNELS, REDUCED = 128, 16  # of FLUX.2's latents, and how much smaller their sides are


class Tutorial:
    """Images a second of both, encoding included and from what both have cached.

    The encoders have their true sizes and random weights. DiffSynth encodes picture and prompt in every step; ours
    once, which is spread over the epochs.

    Args:
        steps: measured of DiffSynth's loop, after one to warm up.
        our_steps: of ours.
        batch_size: of ours; DiffSynth's model takes one picture at a time.
        epochs: over which encoding once is spread.
        prompt_tokens: to which ours are trimmed, as `trainer.trim_prompts` does; the tutorial pads to 128. None: 128
            too.
    """

    def __init__(
        self, steps: Count, our_steps: Count, batch_size: Count, epochs: Count, prompt_tokens: int | None = None
    ) -> None:
        self.steps, self.our_steps, self.batch_size, self.epochs = steps, our_steps, batch_size, epochs
        self.prompt_tokens = prompt_tokens

    def run(self, config: DictConfig, device: str) -> Report:
        """Measure."""
        logger.info(
            "Made-up pictures, and encoders of the true sizes with random weights: no data and no weights needed."
        )
        encoders = _Encoders(device)
        theirs = _diffsynth_seconds(device, self.steps, encoders)
        theirs_cached = _diffsynth_seconds(device, self.steps, None)
        batch = 8
        encoding = median([encoders.seconds(batch) for _ in range(3)]) / batch
        del encoders
        ours_cached = self._our_seconds(config, device)
        ours = ours_cached + encoding / self.epochs
        rows: list[dict[str, Any]] = [
            {
                "loop": "DiffSynth, encoding every step",
                "images/s": 1 / theirs,
                "ours over it": _over(ours, theirs),
            },
            {"loop": "ours, encoding once", "images/s": 1 / ours},
            {
                "loop": "DiffSynth, from cached latents",
                "images/s": 1 / theirs_cached,
                "ours over it": _over(ours_cached, theirs_cached),
            },
            {"loop": "ours, from cached latents", "images/s": 1 / ours_cached},
        ]
        notes = [
            f"ours: batches of {self.batch_size}, prompts of {self.prompt_tokens or PROMPT_TOKENS} tokens, "
            f"trainer.precision={config.trainer.precision}, encoding spread over "
            f"{self.epochs} epochs ({1 / encoding:.3g} pictures/s)",
            *_unlike(config),
        ]
        return Report(f"{config.model.name} beside the tutorial's loop, on {device}", rows, ("loop", "images/s"), notes)

    def _our_seconds(self, config: DictConfig, device: str) -> float:
        """Seconds a picture of the trainer's loop, the first step left out."""
        subject = make_subject(
            config,
            device,
            precision=config.trainer.precision,
            compiled=config.trainer.compile,
            prompt_tokens=self.prompt_tokens,
        )
        progress = Progress()

        def train() -> None:
            subject.train(config, progress, 1 + self.our_steps, self.batch_size, NoLogger().log)

        subject.train(config, progress, 1, self.batch_size, NoLogger().log)
        taken = seconds(train, subject.accelerator.device)
        subject.close()
        return taken / self.our_steps / self.batch_size


def _unlike(config: DictConfig) -> list[str]:
    """That two models are compared, if it is so: the tutorial's loop has its own, whatever ours has."""
    shape = [config.model.in_channels] + 2 * [config.data.resolution // config.encoder.downscale_factor]
    with torch.device("meta"):
        ours = count_parameters(build_model(config)), shape
        theirs = count_parameters(AAADiT()), [CHANNELS] + 2 * [SIDE // REDUCED]
    if ours == theirs:
        return []
    own, their = (
        f"{parameters:,} parameters on latents of {'x'.join(map(str, shape))}" for parameters, shape in (ours, theirs)
    )
    return [
        f"not loops alone are compared: ours trains {own}, the tutorial's {their}. Like with like: model=dit_0.1b "
        "data=pokemon"
    ]


def _over(ours: float, theirs: float) -> str:
    return f"{theirs / ours:.1f} x"


class _Encoders:
    """Qwen3-0.6B and FLUX.2's VAE in bf16, of their true sizes, randomly initialised."""

    def __init__(self, device: str) -> None:
        from diffsynth.models.flux2_vae import Flux2VAE
        from diffsynth.models.z_image_text_encoder import ZImageTextEncoder

        self.device = device
        with torch.device(device):
            self.text_encoder = ZImageTextEncoder("0.6B").bfloat16().eval()
            self.vae = Flux2VAE().bfloat16().eval()

    @torch.no_grad()
    def encode(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Images `B 3 H W` and token ids `B L` to latents and prompt_embeds."""
        mask = torch.ones_like(tokens)
        states = self.text_encoder(
            input_ids=tokens, attention_mask=mask, output_hidden_states=True, use_cache=False
        ).hidden_states
        return self.vae.encode(images.to(self.device, torch.bfloat16)), states[-1]

    def seconds(self, batch: int) -> float:
        """Of encoding so many pictures at once."""
        images, tokens = torch.zeros(batch, 3, SIDE, SIDE), _tokens(batch, self.device)
        return seconds(lambda: self.encode(images, tokens), torch.device(self.device))


def _tokens(batch: int, device: str) -> Tensor:
    return torch.randint(VOCABULARY, (batch, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0)).to(device)


def _diffsynth_seconds(device: str, steps: int, encoders: _Encoders | None) -> float:
    """Seconds a picture of DiffSynth's `launch_training_task`, its first step left out."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from diffsynth.diffusion import FlowMatchSFTLoss
    from diffsynth.diffusion.runner import launch_training_task
    from diffsynth.diffusion.training_module import DiffusionTrainingModule

    from aaa.pipelines.diffsynth_pipeline import AAAImagePipeline
    from aaa.tracking.variables import hidden_from_accelerate

    times: list[float] = []

    class Pictures(torch.utils.data.Dataset[Any]):
        load_from_cache = False

        def __len__(self) -> int:
            return steps + 1

        def __getitem__(self, index: int) -> Any:
            return Image.new("RGB", (SIDE, SIDE), (index % 256, 90, 90))

    class Training(DiffusionTrainingModule):
        def __init__(self) -> None:
            super().__init__()
            self.pipe = AAAImagePipeline(device=device, torch_dtype=torch.bfloat16)
            self.pipe.dit = AAADiT().to(device, torch.bfloat16)
            self.pipe.scheduler.set_timesteps(1000, training=True)
            self.cached = None if encoders is not None else _cached(device)

        def trainable_modules(self) -> Iterator[nn.Parameter]:
            return self.pipe.dit.parameters()

        def forward(self, picture: Image.Image) -> Tensor:
            if self.cached is not None:
                latents, prompt_embeds = self.cached
            else:
                assert encoders is not None
                latents, prompt_embeds = encoders.encode(self.pipe.preprocess_image(picture), _tokens(1, device))
            return FlowMatchSFTLoss(self.pipe, input_latents=latents, prompt_embeds=prompt_embeds)

    class Clock:
        def on_step_end(self, *_: Any, loss: Tensor) -> None:  # noqa: ARG002
            synchronize(torch.device(device))
            times.append(time.perf_counter())

        def on_training_end(self, *_: Any) -> None:
            """Nothing to save."""

    with hidden_from_accelerate({}):
        accelerator = Accelerator(cpu=device == "cpu")
    launch_training_task(
        accelerator,
        Pictures(),
        Training(),
        Clock(),
        learning_rate=2e-4,
        num_workers=0,
        save_steps=1,
    )
    AcceleratorState._reset_state(reset_partial_state=True)
    return (times[-1] - times[0]) / steps


def _cached(device: str) -> tuple[Tensor, Tensor]:
    latents = torch.randn(1, CHANNELS, SIDE // REDUCED, SIDE // REDUCED)
    prompt_embeds = torch.randn(1, PROMPT_TOKENS, 1024)
    return latents.to(device, torch.bfloat16), prompt_embeds.to(device, torch.bfloat16)
