"""What a cache hangs on: pictures, as they are when they are read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from aaa.data import imagefolder
from aaa.data.file_digests import FileDigests
from aaa.data.fingerprint import records_fingerprint
from aaa.data.imagefolder import ImageFolderSource
from aaa.data.records import Record
from aaa.errors import UserError
from tests.data.test_cache import build


def test_what_a_record_says_of_its_content_counts_where_no_file_does(tmp_path: Path) -> None:
    class Rows:
        def __init__(self, content: str) -> None:
            self.content = content

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Record:
            return Record(str(index), "a cat", lambda: Image.new("RGB", (8, 8)), digest=lambda: self.content)

    digests = FileDigests(tmp_path / "digests.jsonl")
    of_one, of_other = (records_fingerprint(Rows(content), digests) for content in ("one", "other"))
    assert of_one != of_other


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_picture_that_changes_during_a_build_is_not_kept_under_what_it_was(
    tmp_path: Path, picture_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    source = ImageFolderSource(str(picture_folder()))
    digests = FileDigests(tmp_path / "digests.jsonl")
    records_fingerprint(source, digests)
    changed = source[0].path
    assert changed is not None

    def change() -> None:
        Image.new("RGB", (9, 9), "blue").save(changed)

    if when == "before it is read":
        change()
    else:
        read = imagefolder.read_picture

        def interrupted(path: Path, background_color: str) -> Image.Image:
            picture = read(path, background_color)
            change()
            return picture

        monkeypatch.setattr(imagefolder, "read_picture", interrupted)
    with pytest.raises(UserError, match=rf"{changed.name} was changed while the data was being read"):
        build(tmp_path / "cache", source, identify=lambda record: digests.same_digest(record.path))
    assert not (tmp_path / "cache").exists()
