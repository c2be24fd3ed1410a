"""Commands that are printed do what they say when they are pasted, whatever others have named things."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from aaa.cli import SAVED_MODEL, keys_of
from aaa.cli.arguments import read_arguments
from aaa.config.commands import compare_command, sample_command, train_command
from aaa.config.overrides import value_of
from aaa.tracking.printed import command, harmless, markdown, one_line, plot_label, print_anything

ODD = [
    "a $5 bill, `touch PWNED`",
    "$(touch PWNED)",
    'she said "hi"',
    '"Hello"',
    "'quoted'",
    "it's",
    "wow! !!",
    "-m",
    "--help",
    "~/pics",
    "~",
    "null",
    "${oc.env:HOME}",
    "a, b",
    "x=y #1; 50% & more | less > out",
    "back\\slash\\",
    "[red]{a: 1}(b)",
    "ünï 图片 👩\u200d🎨",
    "*?",
    "",
]
RECEIVER = f"python() {{ shift 2; {sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"; }}\n"


def received(*lines: str, folder: Path) -> list[list[str]]:
    """What a shell gives the commands for arguments, each of its lines pasted."""
    script = RECEIVER + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert not (folder / "PWNED").exists()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_sample_command_draws_the_caption_with_the_model(tmp_path: Path) -> None:
    lines = [sample_command(Path("runs", text or "x"), text) for text in ODD]
    for text, arguments in zip(ODD, received(*lines, folder=tmp_path), strict=True):
        read = read_arguments(arguments, keys_of("sample"), SAVED_MODEL)
        assert value_of(read, "prompt") == text
        assert value_of(read, "saved_model") == f"runs/{text or 'x'}"


def test_a_command_to_go_on_names_the_folder(tmp_path: Path) -> None:
    names = [*(text for text in ODD if text and "${" not in text), "line\nbreak", "esc\x1b[31m", "\u202egnp"]
    lines = [train_command("trainer.max_steps=4", "trust_config=true", resume=Path(name)) for name in names]
    assert all(line.isprintable() or "\u200d" in line for line in lines)
    for name, arguments in zip(names, received(*lines, folder=tmp_path), strict=True):
        assert arguments[1:] == ["trainer.max_steps=4", "trust_config=true"]
        assert value_of(read_arguments(arguments, keys_of("train"), {}), "resume") == name
    compared = [compare_command([Path(name), Path("b c")]) for name in names]
    for name, arguments in zip(names, received(*compared, folder=tmp_path), strict=True):
        assert arguments == [f"./{name}" if name.startswith("-") else name, "b c"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\n\tand a tab", "two lines and a tab"),
        ("red \x1b[31malert\x07", "red [31malert"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("a\u2028b\x85c", "a b c"),
        ("👩\u200d🎨 क\u200cक", "👩\u200d🎨 क\u200cक"),
        ("\udcff", ""),
    ],
)
def test_what_others_wrote_stays_on_its_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert one_line(text) in sample_command(Path("m"), text)


def test_messages_keep_their_lines_and_nothing_else() -> None:
    assert harmless("a\n\tb\x1b[2Jc") == "a\n\tb[2Jc"


def test_words_are_quoted_for_the_shells_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    words = [r"model=outputs\x\2026", "prompt=a red square", r"data.root=C:\my pics\\", 'notes=a "b" c', "name=a&b"]
    assert command(*words) == (
        r'model=outputs\x\2026 "prompt=a red square" "data.root=C:\my pics\\\\" "notes=a \"b\" c" "name=a&b"'
    )


def test_words_are_quoted_for_the_shell(tmp_path: Path) -> None:
    assert command("wandb", "sync", "a b/c") == "wandb sync 'a b/c'"


def test_markdown_and_plots_show_names_as_they_are() -> None:
    assert markdown("a|b <script> [x](y) `c` *d* _e_ f_g") == r"a\|b \<script\> \[x\](y) \`c\` \*d\* \_e\_ f_g"
    assert plot_label("$5 and $6") == r"\$5 and \$6"
    assert not plot_label("_hidden").startswith("_")


def test_a_terminal_without_a_letter_gets_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii"))
    print_anything()
    print("R²", flush=True)
    assert shown.getvalue() == b"R\\xb2\n"


def test_a_stream_that_is_closed_takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    print_anything()
    assert not sys.stdout.isatty()
    print("R²")
