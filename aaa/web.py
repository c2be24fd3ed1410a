"""A web page to try a trained model: `python -m aaa.web model=PATH`."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from aaa.cli import SAVED_MODEL, run
from aaa.config.command_schema import WebConfig
from aaa.config.ranges import require_ranges
from aaa.errors import UserError
from aaa.saved.named_model import require_there

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger("aaa.web")  # which is __main__ where it is run as a command


def web(config: "DictConfig") -> None:
    """Serve the page on this machine alone, until Ctrl-C."""
    require_ranges(WebConfig, config)
    require_there(Path(config.saved_model))
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401 - so that what is missing is said before any weights are loaded
    except ImportError:
        raise UserError('gradio is not installed: pip install -e ".[web]"') from None
    from aaa.config.sampling_choice import sampling_choice
    from aaa.pipelines.offered_models import Drawers
    from aaa.pipelines.web_page import make_page

    drawers = Drawers(
        Path(config.saved_model),
        sampling_choice(config),
        device=config.device,
        precision=config.precision,
        preview=config.preview,
        heads=config.heads,
        trust_config=config.trust_config,
    )
    drawers.get(drawers.names[0])  # whatever is wrong with the model is said now
    page = make_page(drawers)
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=config.port or None,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(f"port={config.port}: {error} Another: port=0 takes any that is free.") from None
    logger.info("Open %s   (Ctrl-C ends it)", address)
    page.block_thread()


def main() -> None:
    """Entry point of `aaa-web`."""
    run(web, "web", called=SAVED_MODEL)


if __name__ == "__main__":
    main()
