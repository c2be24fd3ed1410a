import hydra
from hydra.core.global_hydra import GlobalHydra

from aaa.config.checks import CONF
from aaa.config.choices import brought_along, describe


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
