"""Values of the command line are taken as they were typed, and what is printed is read back as what was meant."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aaa.config.command_schema import SampleConfig
from aaa.config.groups import group_options
from aaa.config.overrides import Keys, as_read, as_typed, parsed, set_to, value_of, without_interpolations
from aaa.config.schema import TrainConfig
from aaa.errors import UserError
from tests.helpers.composed import compose

SAMPLE = Keys(SampleConfig)
TRAIN = Keys(TrainConfig, frozenset(group_options()))
PARSER = OverridesParser.create()

# Half of what is tried is made of what Hydra's grammar means something by.
TEXT = st.one_of(
    st.text(st.sampled_from(list("\\'\"${}[](),=:;~ab10 .-@!&#%\n")), max_size=12), st.text(max_size=15)
).filter(lambda text: text != "???")
KEYS = ["prompt", "out", "name", "data.root", "data.attribution", "logger.notes", "encoder.vae.path", "hydra.run.dir"]


def read(argument: str) -> Any:
    """What comes to stand in the config."""
    value = PARSER.parse_override(argument).value()
    return OmegaConf.create({"value": value}).value if isinstance(value, str) else value


def is_quoted(text: str) -> bool:
    try:
        return isinstance(parsed(text), QuotedString)
    except HydraException:
        return False


@settings(max_examples=150)
@given(TEXT)
@example("${oops} \\")
@example('"Hello" painted on a wall')
def test_a_prompt_is_taken_as_it_is_typed(text: str) -> None:
    if text != "null" and not is_quoted(text):
        assert read(as_typed(f"prompt={text}", SAMPLE, sweep=False)) == text
        assert read(as_typed(f"prompt={text}", SAMPLE, sweep=True)) == text or text.startswith("choice(")


@settings(max_examples=150)
@given(TEXT, st.sampled_from(KEYS))
def test_what_is_printed_is_read_back_as_it_is(text: str, key: str) -> None:
    keys = SAMPLE if key in ("prompt", "out") else TRAIN
    assert read(as_typed(set_to(key, text, keys), keys, sweep=False)) == text


@settings(max_examples=150)
@given(TEXT, st.sampled_from(["${x}", "\\${x}", "${", ""]))
def test_a_resolved_config_is_read_back_as_it_is(text: str, more: str) -> None:
    assume(not set(text) & set("\x85\u2028\u2029"))  # OmegaConf writes them as they are, and YAML reads line breaks
    config = {"root": text + more, "parts": [{"template": more + text}, 3, None]}
    written = OmegaConf.to_yaml(OmegaConf.create(without_interpolations(config)))
    assert OmegaConf.to_container(OmegaConf.create(written), resolve=True) == config
    unresolved: Any = OmegaConf.to_container(OmegaConf.create(written))
    assert as_read(unresolved["root"]) == config["root"]


def test_what_is_an_interpolation_stays_one() -> None:
    assert as_read(["${a.b}", r"\${c}", r"\\${d}", r"\\\${e}", 3]) == ["${a.b}", "${c}", r"\\${d}", r"\${e}", 3]


@settings(max_examples=150)
@given(TEXT, st.sampled_from([*KEYS, "seed", "model", "trainer.batch_size", "data.prompt_column"]), st.booleans())
def test_hydra_can_read_every_value_of_every_key(text: str, key: str, sweep: bool) -> None:
    try:
        argument = as_typed(f"{key}={text}", TRAIN, sweep=sweep)
    except UserError:
        return
    assert sweep or not PARSER.parse_override(argument).is_sweep_override()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("name=ünï", "ünï"),
        ("name=my run (v2)", "my run (v2)"),
        ("name=a=b", "a=b"),
        ("name=a,b", "a,b"),
        ("name=007", "007"),
        ("name=1_000", "1_000"),
        ("name=1e5", "1e5"),
        ("name=true", "true"),
        ("name=[a]", "[a]"),
        ("name='a, b'", "a, b"),
        ('name="it\'s"', "it's"),
        ("name='tis the season", "'tis the season"),
        ("data.root=/data/50% #1;", "/data/50% #1;"),
        ("data.root= /a ", " /a "),
        ("data.root=C:\\new folder", "C:\\new folder"),
        ("data.root=~nobody-of-that-name/x", "~nobody-of-that-name/x"),
        ("data.root=-x@y!&", "-x@y!&"),
        ("data.root=${not}{}", "${not}{}"),
        ("logger.notes=~ as it is", "~ as it is"),
        ("logger.notes=pay ${amount}, please", "pay ${amount}, please"),
        ("logger.project=2024", "2024"),
        ("encoder.text_encoder.template={prompt}", "{prompt}"),
        ("data.prompt_column=text (en)", "text (en)"),
        ("data.prompt_column=[文, b]", ["文", "b"]),
        ("data.prompt_column={short: 3, long: 1}", {"short": 3, "long": 1}),
        ("data.prompt_column={短: 3, it's: 1}", {"短": 3, "it's": 1}),
        ("resume=null", None),
        ("logger.notes=null", None),
        ("logger.tags=[a,b]", ["a", "b"]),
        ("optimizer.learning_rate=1e-3", 1e-3),
        ("trainer.max_steps=1_000", 1000),
    ],
)
def test_each_kind_of_value(typed: str, meant: Any) -> None:
    assert read(as_typed(typed, TRAIN, sweep=False)) == meant


def test_home_is_what_a_tilde_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for key in ("data.root", "init_from", "encoder.vae.path", "hydra.run.dir"):
        assert read(as_typed(f"{key}=~/my pics", TRAIN, sweep=False)) == "/home/somebody/my pics"
    assert as_typed("data.root=~/a,~/b", TRAIN, sweep=True) == "data.root=/home/somebody/a,/home/somebody/b"
    assert read(as_typed("name=~", TRAIN, sweep=False)) == "~"


def test_interpolations_are_kept_where_there_is_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", "/pictures")
    assert read(as_typed("data.root=${oc.env:PICTURES}/ü (1)", TRAIN, sweep=False)) == "/pictures/ü (1)"
    assert as_typed("name=${data.name}-x", TRAIN, sweep=False) == "name=${data.name}-x"
    assert as_typed("model.dim=${model.heads}", TRAIN, sweep=False) == "model.dim=${model.heads}"
    assert read(as_typed("prompt=${oc.env:PICTURES}", SAMPLE, sweep=False)) == "${oc.env:PICTURES}"


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("name=a,b", ["a", "b"]),
        ("name='a,b',c", ["a,b", "c"]),
        ("data.root=pics (1),ünï", ["pics (1)", "ünï"]),
        ("data.root=/a/Smith, John", None),
        ("name=choice(a,b)", ["a", "b"]),
        ("logger.notes=one, two,three", None),
        ("seed=1,2", [1, 2]),
        ("seed=range(2)", [0, 1]),
        ("model=dit_tiny,dit_10m", ["dit_tiny", "dit_10m"]),
        ("model=glob(dit_*)", Ellipsis),
        ("trainer.precision=bf16,float32", ["bf16", "float32"]),
        ("hydra.sweep.dir=/tmp/a,b", None),
    ],
)
def test_what_a_sweep_goes_over(typed: str, values: Any) -> None:
    override = PARSER.parse_override(as_typed(typed, TRAIN, sweep=True))
    assert override.is_sweep_override() == (values is not None)
    if isinstance(values, list):
        shown = [value.text if isinstance(value, QuotedString) else value for value in override.sweep_iterator()]
        assert shown == values
    elif values is None:
        assert override.value() == typed.partition("=")[2]


@pytest.mark.parametrize("typed", ["seed=1,2", "seed=choice(1,2)", "model.depth=range(3)", "optimizer.x=0,001"])
def test_several_values_without_a_sweep_are_refused(typed: str) -> None:
    with pytest.raises(UserError, match="which needs -m"):
        as_typed(typed, TRAIN, sweep=False)


def test_the_last_of_several_counts() -> None:
    arguments = ["resume=a", "++resume='it\\'s b'", "~resume", "resumed=c"]
    assert value_of(arguments, "resume") == "it's b"
    assert value_of([], "resume") is None


@pytest.mark.parametrize("key", ["prompt", "saved_model", "out"])
def test_hydra_composes_it(key: str) -> None:
    text = "\"Hello\", ${said} {the} [wall] = 'é' 水 \\ ~#;%"
    config = compose(as_typed(f"{key}={text}", SAMPLE, sweep=False), config_name="sample")
    assert config[key] == text
