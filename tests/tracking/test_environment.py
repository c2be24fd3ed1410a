"""What of git is written down: of the checkout that the package runs from, and of nobody else's repository."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from aaa.tracking import environment
from aaa.tracking.environment import git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    return subprocess.check_output(["git", "-C", folder, *identity, *arguments], text=True).strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with `package/module.py`, committed."""
    root = tmp_path / "checkout"
    (root / "package").mkdir(parents=True)
    (root / "package" / "module.py").write_text("x = 1\n")
    (root / "README.md").write_text("One\n")
    (root / ".gitignore").write_text(".venv\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def changes(file: Path) -> str:
    state = git_state(file)
    assert state is not None
    assert state["diff"] is not None
    return state["diff"]


def test_commit_and_changes_of_a_checkout(checkout: Path) -> None:
    module = checkout / "package" / "module.py"
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(module) == {"commit": commit, "diff": "", "new": {}}
    (checkout / "README.md").write_text("One\nTwo\n")
    assert changes(module).endswith("@@ -1 +1,2 @@\n One\n+Two")


def test_somebody_elses_repository_that_it_is_installed_in_is_not_looked_at(checkout: Path) -> None:
    (checkout / "README.md").write_text("the password is on the other page\n")
    for folder in (".venv/lib", "copied"):  # one that the repository ignores, one that it does not know
        installed = checkout / folder / "module.py"
        installed.parent.mkdir(parents=True)
        installed.write_text("x = 1\n")
        assert git_state(installed) is None


def test_changes_in_another_encoding_are_shown_as_far_as_they_can_be_read(checkout: Path) -> None:
    (checkout / "README.md").write_bytes("One\ncafé\n".encode("latin-1"))
    assert changes(checkout / "package" / "module.py").endswith("+caf\N{REPLACEMENT CHARACTER}")


def test_settings_and_hooks_of_the_user_change_nothing_of_it(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = checkout / "package" / "module.py"
    (checkout / "README.md").write_text("Two\n")
    plain = git_state(module)
    git(checkout, "config", "color.ui", "always")
    git(checkout, "config", "diff.external", "echo")
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git_state(module) == plain


def test_changes_that_git_cannot_tell_are_not_taken_for_none(checkout: Path) -> None:
    committed = git(checkout, "rev-parse", "HEAD:README.md")
    (checkout / "README.md").write_text("Two\n")
    (checkout / ".git" / "objects" / committed[:2] / committed[2:]).unlink()
    state = git_state(checkout / "package" / "module.py")
    assert state == {"commit": git(checkout, "rev-parse", "HEAD"), "diff": None, "new": {}}


def test_new_files_of_the_package_and_its_configs_are_told_apart_by_their_content(checkout: Path) -> None:
    (checkout / "conf" / "model").mkdir(parents=True)
    (checkout / "package" / "objectives").mkdir()
    (checkout / ".gitignore").write_text(".venv\n*.pyc\n")
    names = ("package/objectives/mine.py", "conf/model/mine \N{GREEK SMALL LETTER ALPHA}.yaml")
    for name in (*names, "package/mine.pyc", "elsewhere.py"):
        (checkout / name).write_text("x = 2\n")
    state = git_state(checkout / "package" / "module.py")
    assert state is not None
    assert state["new"] == dict.fromkeys(sorted(names), hashlib.sha256(b"x = 2\n").hexdigest())


def test_of_large_changes_the_beginning_is_kept_and_what_tells_them_apart(checkout: Path) -> None:
    module, table = checkout / "package" / "module.py", checkout / "table.jsonl"
    table.write_text("")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "a table")
    rows = [f"{number:07}\n" for number in range(300_000)]
    kept = []
    for last in ("one\n", "another\n"):
        table.write_text("".join([*rows, last]))
        kept.append(changes(module))
    assert all(len(text) < environment.LONGEST + 200 for text in kept)
    assert "+0000001\n+0000002\n" in kept[0]
    assert [text.count(" bytes in all, with SHA-256 ") for text in kept] == [1, 1]
    assert kept[0].rpartition("SHA-256 ")[2] != kept[1].rpartition("SHA-256 ")[2]
    table.write_text(2 * "".join(rows))  # 4.8 MB
    assert changes(module).endswith("Binary files a/table.jsonl and b/table.jsonl differ")
