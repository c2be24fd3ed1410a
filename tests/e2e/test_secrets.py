"""Nothing that a run writes holds the value of a key, a token or a password."""

from pathlib import Path

import pytest

from tests.e2e.conftest import SMALL, fork_in, only_run, run_in

PLANTED = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_PlantedPlantedPlantedPlanted",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret/in/the/environment",
    "MY_PASSWORD": "planted-password-in-the-environment",
}
IN_CONFIG = {
    "logger.api_key": "planted-key-on-the-command-line",
    "logger.auth.token": "planted-token-on-the-command-line",
    "data.license": "see https://me:planted-in-an-address@example.org/license",
}
ARGUMENTS = [
    *[argument for argument in SMALL if "max_steps" not in argument],
    "trainer.max_steps=2",
    "trainer.sample_every_steps=0",
    "logger._target_=tests.helpers.plugged_in.LeakyLogger",
    *(f"{'+' if key.startswith('logger') else ''}{key}='{value}'" for key, value in IN_CONFIG.items()),
]


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True])
def test_nothing_written_holds_a_secret(tmp_path: Path, sweep: bool) -> None:
    environment = PLANTED | {"PYTHONPATH": str(Path(__file__).parents[2]), "WANDB_MODE": "offline"}
    arguments = ["-m", *ARGUMENTS] if sweep else ARGUMENTS
    done = run_in(tmp_path, "aaa.train", *arguments, **environment)
    assert done.code == 0, done.err
    secrets = [value.encode() for value in (*PLANTED.values(), *IN_CONFIG.values(), "planted-in-an-address")]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 15
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        content = path.read_bytes()
        assert [secret for secret in secrets if secret in content] == [], path
    assert [secret for secret in secrets if secret in (done.err + done.out).encode()] == []
    assert "<hidden>" in done.err  # LeakyLogger tried
    if sweep:
        return
    run = only_run(tmp_path)
    assert "<hidden>" in (run / "environment.json").read_text()
    assert "api_key: <hidden>" in (run / ".hydra/config.yaml").read_text()
    more = ["resume=" + str(run), "trainer.max_steps=3", "trust_config=true"]
    assert "logger.api_key is a secret, which no run keeps" in run_in(tmp_path, "aaa.train", *more, **environment).error
    given = [f"{key}='{value}'" for key, value in IN_CONFIG.items() if key.startswith("logger")]
    again = run_in(tmp_path, "aaa.train", *more, *given, **environment)
    assert again.code == 0, again.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not any(secret in path.read_bytes() for secret in secrets), path


def test_a_sweep_of_which_no_run_begins_keeps_no_secret(tmp_path: Path) -> None:
    wrong = ["+logger.api_key=planted-key", "model.depth=2,abc", "logger=none"]
    done = fork_in(tmp_path, "aaa.train", "-m", *wrong, HYDRA_FULL_ERROR="1")
    assert done.code == 1
    (multirun,) = tmp_path.rglob("multirun.yaml")
    assert "planted-key" not in multirun.read_text() + done.out + done.err
    assert "api_key=<hidden>" in multirun.read_text()
    assert "Sweep: 0 of 2 runs are finished" in done.out


def test_a_word_that_is_a_password_too_changes_nothing_of_a_run(tmp_path: Path) -> None:
    small = [part for part in SMALL if not part.startswith(("trainer.max", "trainer.sa", "trainer.val", "evaluation."))]
    few = ["trainer.max_steps=2", "trainer.sample_every_steps=0", "trainer.validate_every_steps=0"]
    run = tmp_path / "run"
    environment = {"POSTGRES_PASSWORD": "postgres"}
    told = [*small, *few, "logger=none", "evaluation=none", "data.cache_dir=at/postgres/cache", "hydra.run.dir=run"]
    done = fork_in(tmp_path, "aaa.train", *told, **environment)
    assert done.code == 0, done.err
    for name in ("config.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml"):
        assert "at/postgres/cache" in (run / name).read_text()
    assert "at/<hidden>/cache" in done.err
    assert "at/<hidden>/cache" in (run / "environment.json").read_text()
    again = fork_in(tmp_path, "aaa.train", "resume=run", "trainer.max_steps=3", **environment)
    assert again.code == 0, again.err
    assert "Encoding" not in again.err
    assert "at/postgres/cache" in (run / "config.yaml").read_text()
