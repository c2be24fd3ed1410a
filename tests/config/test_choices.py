import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from aaa.config.checks import check_config
from aaa.config.choices import brought_along, describe
from aaa.config.groups import CONF
from tests.helpers.composed import compose


def choices_of(*overrides: str) -> dict[str, str]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = hydra.compose("train", overrides=list(overrides), return_hydra_config=True)
    return dict(config.hydra.runtime.choices)


def brought(*overrides: str) -> dict[str, str]:
    return brought_along(choices_of(*overrides), overrides)


def test_a_choice_that_brings_nothing_along_is_silent() -> None:
    assert brought("model=dit_10m", "optimizer=adamw") == {}


def test_an_encoder_that_changes_the_recipe_is_told() -> None:
    along = brought("encoder=flux2_qwen3")
    assert along == {
        "scheduler": "flux2",
        "optimizer": "adamw",
        "lr_scheduler": "warmup_constant",
        "text_encoder": "qwen3",
    }
    assert "optimizer=adamw" in describe(along)
    assert "optimizer" not in brought("encoder=flux2_qwen3", "optimizer=muon")


def test_data_may_choose_encoder_and_evaluation() -> None:
    assert brought("data=pokemon")["encoder"] == "flux2_qwen3"
    assert brought("data=openmoji") == {"evaluation": "openmoji"}
    assert brought("data=imagefolder", "data.root=x") == {}, "no evaluation is what there is without one"


@pytest.mark.parametrize(
    ("chosen", "parametrization", "adamw_rate"),
    [
        (["model=dit_tiny"], "standard", 2e-4),
        (["model=dit_0.1b"], "standard", 2e-4),
        (["model=dit_10m"], "mup", 5e-3),
        (["model=dit_1b"], "mup", 5e-3),
        (["model=dit_10m", "model.parametrization=standard"], "standard", 2e-4),
        (["model=dit_10m", "trainer=tutorial"], "standard", 2e-4),
    ],
)
def test_sizes_other_than_the_tutorials_take_their_rate_from_the_base(
    chosen: list[str], parametrization: str, adamw_rate: float
) -> None:
    config = compose(*chosen, "optimizer=adamw", "output_dir=x")
    check_config(config)
    assert (config.model.parametrization, config.optimizer.learning_rate) == (parametrization, adamw_rate)
    assert compose(*chosen, "optimizer=adamw", "optimizer.learning_rate=1e-3").optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(("dim", "heads"), [(64, 1), (512, 8), (96, 1)])
def test_heads_may_be_as_wide_as_those_of_the_base(dim: int, heads: int) -> None:
    assert compose("+experiment=lr_transfer_width", f"model.dim={dim}").model.heads == heads


@pytest.mark.parametrize("experiment", ["lr_transfer_width", "lr_transfer_depth", "lr_transfer_dit_10m"])
def test_the_sweeps_over_sizes_can_be_run_with_either_parametrization(experiment: str) -> None:
    for parametrization in ("mup", "standard"):
        config = compose(f"+experiment={experiment}", f"model.parametrization={parametrization}", "output_dir=x")
        check_config(config)
        assert config.trainer.ema_decay == 0
