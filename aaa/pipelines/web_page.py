"""The page on which a trained model is tried."""

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from aaa.config.groups import options_of
from aaa.encoders.prompts import normalised
from aaa.errors import UserError
from aaa.pipelines.draw_request import DrawRequest
from aaa.pipelines.offered_models import Drawers
from aaa.tracking.printed import markdown

LARGE = 256  # pixels, which smaller pictures are enlarged to as far as whole factors go
WIDE = 175  # pixels of a control at least: two have room beside each other, but not on a phone
GALLERY = 60  # pictures of this session that are kept
OWN = "the model's own"  # of samplers
EVERY, OLD = 3600, 86400  # seconds: so often pictures that gradio wrote for browsers are deleted, once they are so old

Captioned = list[tuple[str, str]]  # files of pictures


def make_page(drawers: Drawers) -> gr.Blocks:
    """Prompt and settings to the left, what is drawn to the right, and below what was drawn before."""
    first = drawers.get(drawers.names[0])
    # Of a guidance of another kind, the page shows what changes nothing.
    of_guidance = {"scale": first.config.sampling.guidance, "interval": [0.0, 1.0], "rescale": 0.0}
    of_guidance |= {key: value for key, value in first.config.guidance.items() if key in of_guidance}
    with gr.Blocks(title=f"aaa: {drawers.path}", delete_cache=(EVERY, OLD)) as page:
        gr.Markdown(f"## {markdown(str(drawers.path))}")
        with gr.Row():
            with gr.Column(scale=1):
                settings = _settings(drawers, of_guidance)
                button = gr.Button("Draw", variant="primary")
            with gr.Column(scale=2):
                status = gr.Textbox(label="Status", interactive=False)
                results = gr.Gallery(label="Pictures", columns=4, height="auto", format="png")
                gallery = gr.Gallery(label="Drawn before", columns=8, height="auto", format="png")
        before = gr.State([])
        draw = _drawing(drawers, of_guidance, gallery)
        for event in (button.click, settings[0].submit):
            event(draw, [*settings, before], [results, status, gallery, before], concurrency_limit=1)
    return page


def _settings(drawers: Drawers, of_guidance: dict[str, Any]) -> list[Any]:
    """The controls of a draw, in the order in which it takes what they hold: the prompt first.

    Args:
        drawers: the models that may be chosen.
        of_guidance: what the guidance begins with.
    """
    first = drawers.get(drawers.names[0])
    factor, resolution = first.vae.downscale_factor, first.resolution
    own_steps, own_scale = first.config.sampling.steps, of_guidance["scale"]
    prompt = gr.Textbox(label="Prompt", lines=2, autofocus=True, placeholder=drawers.example)
    negative = gr.Textbox(label="Negative prompt")
    models = gr.Dropdown(drawers.names, value=drawers.names[:1], multiselect=True, label="Models, side by side")
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=WIDE)
        num_images = gr.Slider(1, 8, 2, step=1, label="Pictures", min_width=WIDE)
    with gr.Row():
        most, scales = max(100, own_steps), (min(1, own_scale), max(15, own_scale))
        steps = gr.Slider(1, most, own_steps, step=1, label="Steps", min_width=WIDE)
        guidance = gr.Slider(*scales, own_scale, step=0.1, label="Guidance", min_width=WIDE)
    with gr.Accordion("Sampler and guidance", open=False):
        sampler = gr.Dropdown([OWN, *options_of("sampler")], value=OWN, label="Sampler")
        with gr.Row():
            low, high = of_guidance["interval"]
            lowest = gr.Slider(0, 1, low, step=0.05, label="Guide from noise level", min_width=WIDE)
            highest = gr.Slider(0, 1, high, step=0.05, label="Guide up to noise level", min_width=WIDE)
        rescale = gr.Slider(0, 1, of_guidance["rescale"], step=0.05, label="Rescale")
    with gr.Row():
        sides = factor, 4 * resolution, resolution
        height = gr.Slider(*sides, step=factor, label="Height", min_width=WIDE)
        width = gr.Slider(*sides, step=factor, label="Width", min_width=WIDE)
    with gr.Accordion("Start from a picture", open=False):
        # The file itself: gradio would convert it to RGB, which makes what is transparent black.
        input_image = gr.Image(type="filepath", image_mode=None, label="Picture")
        strength = gr.Slider(0.05, 1, 0.7, step=0.05, label="How much of it to redraw")
    drawn = [prompt, negative, models, num_images, seed, steps, sampler, guidance, lowest, highest, rescale]
    return [*drawn, height, width, input_image, strength]


def _drawing(drawers: Drawers, of_guidance: dict[str, Any], gallery: gr.Gallery) -> Callable[..., Iterator[Any]]:
    """What a draw does with what the controls hold: pictures and status as they come, first what was drawn before.

    Args:
        drawers: the models that may be chosen.
        of_guidance: what the guidance began with.
        gallery: of pictures that were drawn before.
    """

    def draw(
        prompt: str,
        negative_prompt: str,
        models: list[str],
        num_images: float,
        seed: float | None,  # a field that is empty has none
        steps: float,
        sampler: str,
        guidance: float,
        low: float,
        high: float,
        rescale: float,
        height: float,
        width: float,
        input_image: str | None,
        denoising_strength: float,
        before: Captioned,
    ) -> Iterator[tuple[list[Any], str, Any, Captioned]]:
        # A browser may send half of a pair of surrogates, which could not be sent back.
        prompt, negative_prompt = normalised(prompt), normalised(negative_prompt)
        finished: Captioned = []
        remarks: dict[str, None] = {}  # that hold for several models are made once
        first_seed = int(seed or 0)
        there = [(picture, caption) for picture, caption in before if Path(picture).is_file()]
        try:
            for name in models or drawers.names[:1]:
                yield finished, f"Loading {name} ...", there, before
                model = drawers.get(name)
                request = DrawRequest(
                    prompt,
                    negative_prompt,
                    num_images=int(num_images),
                    seed=first_seed,
                    steps=int(steps),
                    sampler=None if sampler == OWN else sampler,
                    guidance=_moved(of_guidance, {"scale": guidance, "interval": [low, high], "rescale": rescale}),
                    height=int(height),
                    width=int(width),
                    input_image=None if input_image is None else Path(input_image),
                    denoising_strength=1.0 if input_image is None else float(denoising_strength),
                )
                cost, remarks = model.described(request), remarks | dict.fromkeys(model.remarks(request))
                shown: list[tuple[Image.Image, str]] = []
                for taken, pictures in model.live(request):
                    captions = [f"{name}, seed {first_seed + place}" for place in range(len(pictures))]
                    shown = list(zip([_large(picture) for picture in pictures], captions, strict=True))
                    yield finished + shown, f"{name}: step {taken}", gr.skip(), before
                # Once: gradio would encode pictures that are kept with each draw anew.
                finished += [(_written(picture, gallery), caption) for picture, caption in shown]
        except UserError as error:
            raise gr.Error(html.escape(str(error))) from None
        told = [(picture, f"{caption}: {prompt}") for picture, caption in finished]
        said = "\n".join([f"Drew {len(finished)}, each in {cost}", *remarks])
        yield finished, said, gr.skip(), (told + there)[:GALLERY]  # what was drawn now is shown already

    return draw


def _moved(first: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What of guidance is not as the page began with: a guidance of one's own may have no such keys."""
    return {key: value for key, value in now.items() if value != first[key]}


def _written(picture: Image.Image, gallery: gr.Gallery) -> str:
    """The file that a picture is for browsers, among those that gradio deletes in time."""
    return gr.processing_utils.save_pil_to_cache(picture, gallery.GRADIO_CACHE, format=gallery.format)


def _large(picture: Image.Image) -> Image.Image:
    """Small pictures enlarged by whole factors: browsers would blur them."""
    factor = max(1, LARGE // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
