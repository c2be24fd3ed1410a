"""What there is to say of a request for pictures: what is drawn otherwise than asked for, what training never had."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aaa.diffusion.guidance import Extrapolation
from aaa.encoders.protocols import LearnsWords
from aaa.pipelines.draw_request import DrawRequest
from aaa.saved.words_file import told_unknown

if TYPE_CHECKING:
    from aaa.pipelines.text_to_image import TextToImage


def remarks_on(model: "TextToImage", request: DrawRequest) -> Iterator[str]:
    """A sentence on each such thing."""
    yield from _rounded(model, request)
    yield from _cut(model, request)
    yield from _unread(model, request)
    yield from _new(model, request)


def _rounded(model: "TextToImage", request: DrawRequest) -> Iterator[str]:
    factor = model.vae.downscale_factor
    for name, pixels in (("height", request.height), ("width", request.width)):
        if pixels is not None and pixels % factor:
            rounded = -(-pixels // factor) * factor
            yield f"{name}={pixels} is not a multiple of {factor} and was rounded up to {rounded}."


def _cut(model: "TextToImage", request: DrawRequest) -> Iterator[str]:
    _, lengths = model.encoded(request)
    asked = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    for (name, text), tokens in zip(asked.items(), lengths, strict=True):
        if text and tokens > model.prompt_tokens:
            yield f"{name} has {tokens} tokens; the model sees the first {model.prompt_tokens}."


def _unread(model: "TextToImage", request: DrawRequest) -> Iterator[str]:
    sampling = model.sampling(request)
    sigmas = model.sigmas(sampling, request)
    if request.input_image is not None and sigmas[0] == 1:
        strength = f"denoising_strength={request.denoising_strength:g}"
        yield f"input_image changes nothing: {strength} redraws all of it. denoising_strength=0.7 keeps some."
    guidance = sampling.guidance
    if request.negative_prompt and isinstance(guidance, Extrapolation):  # one of one's own does not say where
        levels = sampling.asked(sigmas)
        if not any(map(guidance.steers, levels)):
            told = f"guidance.scale={guidance.scale:g} and guidance.interval=[{guidance.low:g},{guidance.high:g}]"
            yield f"negative_prompt changes nothing: with {told} no step is steered."


def _new(model: "TextToImage", request: DrawRequest) -> Iterator[str]:
    if model.known_words is not None and isinstance(model.text_encoder, LearnsWords):
        prompts = (request.prompt, request.negative_prompt)
        seen = [model.text_encoder.learned_words(prompt)[: model.prompt_tokens] for prompt in prompts]
        if (told := told_unknown([word for words in seen for word in words], model.known_words)) is not None:
            yield told
    shape, trained = model.shape(request), model.resolution
    if model.config.data.get("buckets") is False and shape != model.shape(replace(request, height=None, width=None)):
        height, width = (model.vae.downscale_factor * side for side in shape[1:])
        yield f"It was last trained on pictures of {trained} x {trained}, not {height} x {width}."
