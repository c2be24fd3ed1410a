"""What an objective cannot be is refused when the config is composed, naming the keys."""

from pathlib import Path

import pytest

from aaa.config.checks import check_config
from aaa.config.objective import unread_settings
from aaa.errors import UserError
from tests.helpers.composed import compose

FINE = (
    ("objective=clean",),
    ("objective=clean", "scheduler=flux2", "objective.weighting=none"),
    ("objective.terms.contrastive.weight=0.05",),
    ("objective.terms.dispersive.weight=0.5", "objective.terms.dispersive.after_block=5"),
    ("objective.terms.align.weight=0.5", "objective.terms.align.target=latents", "trainer.batch_size=1"),
    ("objective.terms.align=null",),
    ("routing=tread", "objective.terms.align.weight=0.5"),
    ("objective.coupling=nearest", "objective.coupling_candidates=2", "objective.weighting=min_snr"),
    ("+objective.terms.mine={_target_: my_objective.Size, weight: 0.1, above_sigma: 0.5}",),
    ("scheduler=logit_normal_pixels", "scheduler.base_tokens=64"),
    ("objective.terms.perceptual.weight=1", "objective.terms.perceptual.below=1", "encoder=pixel"),
    ("objective.terms.perceptual.weight=0", "encoder=flux2_tiny"),
)
REFUSED = (
    (("objective=clean", "scheduler=flux2"), r"objective=clean does not go with scheduler=flux2: .*weighting=none"),
    (("objective=clean", "objective.weighting=flux2"), r"objective=clean does not go with objective\.weighting=flux2"),
    (
        ("objective.terms.contrastive.weight=0.05", "trainer.batch_size=1"),
        r"objective\.terms\.contrastive\.weight=0\.05 does not go with trainer\.batch_size=1",
    ),
    (
        ("objective.terms.dispersive.weight=0.5", "trainer.batch_size=4", "trainer.gradient_accumulation_steps=4"),
        r"does not go with trainer\.batch_size=4 and trainer\.gradient_accumulation_steps=4",
    ),
    (
        ("objective.terms.dispersive.weight=0.5", "objective.terms.dispersive.after_block=6"),
        r"objective\.terms\.dispersive\.after_block=6: there is no such block, as model\.depth=5",
    ),
    (
        ("objective.terms.align.after_block=2", "model.depth=1"),
        r"objective\.terms\.align\.after_block=2: there is no such block, as model\.depth=1",
    ),
    (("objective.terms.contrastive.weight=1",), r"objective\.terms\.contrastive\.weight=1.*: must be .* below 1"),
    (
        ("routing=tread", "objective.terms.align.after_block=2", "objective.terms.align.projector=conv"),
        r"objective\.terms\.align\.projector=conv does not go with routing\.kind=tread: after block 2",
    ),
    (("model.internal_head=2",), r"model\.internal_head=2: nothing trains it \(objective\.terms\.internal\.weight=0\)"),
    (
        ("objective.terms.internal.weight=0.25", "objective.terms.internal.after_block=6"),
        r"model\.internal_head=6: .* model\.depth=5.*objective\.terms\.internal\.after_block",
    ),
    (
        ("objective.terms.internal.weight=0.25", "model.internal_head=3"),
        r"model\.internal_head=3: objective\.terms\.internal\.after_block=2",
    ),
    (
        ("objective.terms.internal.weight=0.25", "objective.terms.internal.until_step=9", "model.internal_head=2"),
        r"model\.internal_head=2: objective\.terms\.internal\.until_step=9 ends its training",
    ),
    (("objective.terms.align.target=dino",), r"objective\.terms\.align\.target=dino: must be one of hog, latents"),
    (("objective.terms.align.until_step=0.5",), r"objective\.terms\.align\.until_step=0\.5: must be a whole number"),
    (("+objective.terms.contrastive.lambda=1",), r"objective\.terms\.contrastive\.lambda: nothing reads this key"),
    (("+objective.terms.mine=0.1",), r"objective\.terms\.mine=0\.1: must name a class with _target_"),
    (
        ("objective.terms.perceptual.weight=1", "encoder=flux2_tiny"),
        r"objective\.terms\.perceptual\.weight=1 does not go with encoder\.vae=.*Flux2TinyVAE: .* Use encoder=pixel",
    ),
    (
        ("objective.terms.perceptual.weight=1", "objective.terms.perceptual.cell_pixels=3"),
        r"objective\.terms\.perceptual\.cell_pixels=3: does not divide the 8 pixels of a latent's side",
    ),
    (("objective.terms.perceptual.below=1.5",), r"objective\.terms\.perceptual\.below=1\.5: must be .* at most 1"),
    (("objective.terms.perceptual.target=lpips",), r"perceptual\.target=lpips: must be one of hog, vision"),
    (("+objective.terms.perceptual.layers=3",), r"objective\.terms\.perceptual\.layers: nothing reads this key"),
    (("objective.weighting=snr",), r"objective\.weighting=snr: must be one of scheduler, none, flux2, min_snr"),
    (("+objective.predicts=clean",), r"objective\.predicts: nothing reads this key \(did you mean 'prediction'\?\)"),
)  # fmt: skip


@pytest.mark.parametrize("overrides", FINE)
def test_what_goes_together_is_accepted(overrides: tuple[str, ...]) -> None:
    check_config(compose(*overrides, "output_dir=x"))


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_what_does_not_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(compose(*overrides, "output_dir=x"))


def test_a_batch_is_shared_out_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = compose("objective.terms.contrastive.weight=0.05", "trainer.batch_size=4", "output_dir=x")
    with pytest.raises(UserError, match=r"does not go with trainer\.batch_size=4"):
        check_config(config)


def seeing(term: str) -> tuple[str, str]:
    """Turn on a term that looks through a vision model."""
    return f"objective.terms.{term}.weight=0.5", f"objective.terms.{term}.target=vision"


SEEING = pytest.mark.parametrize("term", ["align", "perceptual"])


@SEEING
def test_a_vision_model_is_looked_for_when_the_config_is_composed(tmp_path: Path, term: str) -> None:
    key = f"objective.terms.{term}.vision.path"

    def refused(path: Path | str, *more: str) -> str:
        with pytest.raises(UserError) as error:
            check_config(compose(*seeing(term), f"{key}={path}", "output_dir=x", *more))
        return str(error.value)

    assert refused("null").startswith(f"{key}=null: must be the folder of a vision model")
    assert f"{key}={tmp_path}/none: there is no such folder" in refused(tmp_path / "none")
    assert refused(tmp_path).startswith(
        f"{key}={tmp_path}: has no config.json, preprocessor_config.json, *.safetensors"
    )
    for name in ("preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "config.json").write_text("not JSON")
    assert f"{key}={tmp_path}: its config.json is not JSON" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    assert f"{key}={tmp_path}: bert is no vision transformer" in refused(tmp_path)
    unknown = refused(tmp_path, f"+objective.terms.{term}.vision.layer=3")
    assert f"objective.terms.{term}.vision.layer: nothing reads this key" in unknown
    for config in ('{"model_type": "vit", "patch_size": 8}', '{"model_type": "clip", "vision_config": {}}'):
        (tmp_path / "config.json").write_text(config)
        check_config(compose(*seeing(term), f"{key}={tmp_path}", "output_dir=x"))
    if term == "perceptual":  # its model runs at each step
        with pytest.raises(
            UserError, match=r"trainer\.cuda_graph=true and objective\.terms\.perceptual\.target=vision"
        ):
            check_config(compose(*seeing(term), f"{key}={tmp_path}", "trainer.cuda_graph=true", "output_dir=x"))


@SEEING
def test_a_vision_model_that_is_not_asked_is_told(term: str) -> None:
    path = f"objective.terms.{term}.vision.path"
    said = f"{path}=there is only read with objective.terms.{term}.target=vision and a weight above 0"
    assert unread_settings(compose(f"{path}=there"), {path}) == [said]
    assert unread_settings(compose(f"{path}=there", "objective=velocity"), {path}) == [said]
    assert unread_settings(compose(f"{path}=there", *seeing(term)), {path}) == []


def test_settings_of_what_is_off_are_told() -> None:
    assert unread_settings(compose(), ()) == []
    assert unread_settings(compose("objective=clean", "objective.terms.contrastive.weight=0.05"), ()) == []
    # What the option set that turns the term on is nobody's mistake.
    weight, cells = "objective.terms.align.weight", "objective.terms.align.cells"
    assert unread_settings(compose(f"{weight}=0"), {weight}) == []
    (told,) = unread_settings(compose(f"{weight}=0"), {weight, cells})
    assert told == f"{cells}=2 is not read: the term is off ({weight}=0)"
    config = compose(
        "objective=velocity", "objective.terms.align.target=latents", "objective.min_snr_gamma=3", "model.dim=64"
    )
    assert unread_settings(config, {"objective.terms.align.target"}) == [
        "objective.min_snr_gamma=3 is only read with objective.weighting=min_snr",
        "objective.terms.align.target=latents is not read: the term is off (objective.terms.align.weight=0)",
    ]


@pytest.mark.parametrize(
    ("overrides", "head"),
    [
        ((), None),
        (("objective.terms.internal.weight=0.25",), 2),
        (("objective.terms.internal.weight=0.25", "objective.terms.internal.after_block=3"), 3),
        (("objective.terms.internal.weight=0.25", "objective.terms.internal.until_step=9"), None),
        (("objective.terms.internal.weight=0.25", "model.architecture={_target_:x.Y}"), None),
        (("objective.terms.internal.weight=0.25", "model.internal_head=null"), None),
        (("objective.terms.internal.weight=0.25", "guidance=internal"), 2),
    ],
)
def test_the_model_has_the_head_that_is_trained_to_the_end(overrides: tuple[str, ...], head: int | None) -> None:
    config = compose(*overrides, "output_dir=x")
    check_config(config)
    assert config.model.internal_head == config.objective.terms.internal.model_head == head


@pytest.mark.parametrize(("depth", "block"), [(1, 1), (2, 1), (3, 1), (5, 2), (12, 4), (28, 10)])
def test_what_is_aligned_is_a_third_of_the_depth(depth: int, block: int) -> None:
    config = compose(f"model.depth={depth}", "output_dir=x")
    check_config(config)
    assert config.objective.terms.align.after_block == block
    assert config.objective.terms.align.weight > 0


@pytest.mark.parametrize(
    ("overrides", "block"),
    [
        (("routing=tread",), 1),
        (("routing=sprint", "model.depth=12"), 1),
        (("routing=tread", "model.depth=12", "routing.first_block=5"), 4),
        (("routing=tread", "model.depth=12", "routing.first_block=4"), 3),
        (("routing=tread", "model.depth=12", "routing.last_block=3"), 4),
        (("routing=tread", "routing.first_block=1"), 2),
        (("routing=tread", "objective.terms.align.after_block=3"), 3),
    ],
)
def test_what_is_aligned_by_default_all_tokens_have_gone_through(overrides: tuple[str, ...], block: int) -> None:
    config = compose(*overrides, "output_dir=x")
    check_config(config)
    assert config.objective.terms.align.after_block == block


def test_a_model_of_others_is_aligned_where_the_config_says_so() -> None:
    other = "model.architecture={_target_:x.Y}"
    assert compose(other).objective.terms.align.weight == 0
    assert compose(other, "objective.terms.align.weight=0.3").objective.terms.align.weight == 0.3


@pytest.mark.parametrize(
    ("overrides", "aligned"),
    [
        (("encoder=pixel",), True),
        (("data=openmoji",), True),
        (("data=openmoji", "encoder=patches"), True),
        (("objective=velocity",), False),
        (("encoder=flux2_tiny",), False),  # edges would have to be decoded
        (("data=pokemon",), False),
        (("trainer=tutorial",), False),
        (("+experiment=tutorial",), False),
        (("+experiment=optimizers",), False),  # measured without
    ],
)
def test_hidden_states_are_aligned_where_latents_are_pixels(overrides: tuple[str, ...], aligned: bool) -> None:
    assert (compose(*overrides).objective.terms.align.weight > 0) == aligned


def test_cells_that_do_not_divide_a_latent_are_refused() -> None:
    sevens = ("encoder.downscale_factor=7", "data.resolution=28", "output_dir=x")
    with pytest.raises(UserError, match=r"align\.cells=2: the 7 pixels of a latent's side .* Use .*align\.cells=1"):
        check_config(compose(*sevens))
    check_config(compose(*sevens, "objective.terms.align.cells=1"))
    check_config(compose(*sevens, "objective.terms.align.weight=0"))
