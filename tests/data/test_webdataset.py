import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from aaa.data.fingerprint import FileDigests, records_fingerprint
from aaa.data.webdataset import WebDatasetSource
from aaa.errors import UserError


def png(color: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), color).save(content, "PNG")
    return content.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    first = {
        "0001.png": png("red"),
        "0001.txt": b" a red thing\n",
        "0001.json": json.dumps({"caption": "longer", "width": 6}).encode(),
        "0002.txt": b"blue",
        "0002.png": png("blue"),
        "readme.md": b"no picture",
    }
    second = {"sub/0001.png": png("green"), "sub/0001.txt": b"green"}
    shard(tmp_path / "shards" / "00000.tar", first)
    shard(tmp_path / "shards" / "00001.tar", second)
    return tmp_path / "shards"


def test_pictures_and_captions_are_read_in_place(shards: Path) -> None:
    source = WebDatasetSource(str(shards))
    assert [(source[i].key, source[i].prompt) for i in range(len(source))] == [
        ("00000.tar/0001", "a red thing"),
        ("00000.tar/0002", "blue"),
        ("00001.tar/sub/0001", "green"),
    ]
    colors = [source[i].load().getpixel((0, 0)) for i in range(3)]
    assert colors == [(255, 0, 0), (0, 0, 255), (0, 128, 0)]
    assert len(WebDatasetSource(str(shards / "00001.tar"))) == 1


def test_a_change_of_a_shard_is_a_change_of_the_data(shards: Path, tmp_path: Path) -> None:
    before = records_fingerprint(WebDatasetSource(str(shards)), FileDigests(tmp_path / "digests"))
    shard(shards / "00001.tar", {"sub/0001.png": png("yellow"), "sub/0001.txt": b"green"})
    assert records_fingerprint(WebDatasetSource(str(shards)), FileDigests(tmp_path / "digests")) != before


def test_captions_come_from_json_keys_too_and_rows_without_are_named(shards: Path) -> None:
    both = WebDatasetSource(str(shards), prompt_column=["txt", "caption"])
    assert both[0].prompts == {"a red thing": 1.0, "longer": 1.0}
    assert both[1].prompts is None
    one = WebDatasetSource(str(shards), prompt_column="caption")
    with pytest.raises(UserError, match=r"00000\.tar: '0002' no column 'caption' in this row"):
        one[1].load()
    with pytest.raises(UserError, match="no column 'title'; there is: txt, caption, width"):
        WebDatasetSource(str(shards), prompt_column="title")


@pytest.mark.parametrize("cut", [1, 300, 700, 1500])
def test_a_shard_that_is_cut_short_is_named(shards: Path, cut: int) -> None:
    file = shards / "00000.tar"
    with tarfile.open(file) as tar:
        members = tar.getmembers()
    end = members[-1].offset_data + 512
    file.write_bytes(file.read_bytes()[: end - cut])
    with pytest.raises(UserError, match=r"00000\.tar: .*(not a whole tar file|cut short)"):
        WebDatasetSource(str(shards))


def test_a_shard_cut_between_two_files_is_named(shards: Path) -> None:
    file = shards / "00000.tar"
    with tarfile.open(file) as tar:
        offset = tar.getmembers()[3].offset
    file.write_bytes(file.read_bytes()[:offset])
    with pytest.raises(UserError, match=r"00000\.tar: .*cut short"):
        WebDatasetSource(str(shards))


def test_hostile_shards_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "shards" / "evil.tar"
    files = {
        "../../escape.png": png("red"),
        "../../escape.txt": b"outside",
        "/etc/0002.png": b"not a picture",
        "/etc/0002.txt": b"x",
        "huge.png": png("red"),
        "huge.txt": b"x" * (2**20 + 1),
        "bad.png": png("red"),
        "bad.json": b"[1]",
        "bad.txt": b"\xff\xfe",
    }
    shard(path, files)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    source = WebDatasetSource(str(path))
    assert len(source) == 4
    assert source[0].load().size == (6, 4)
    for index, message in ((1, "not a picture"), (2, "more than any caption"), (3, "cannot be read|not an object")):
        with pytest.raises(UserError, match=message):
            source[index].load()
    assert {file.name for file in tmp_path.rglob("*")} == {"shards", "evil.tar"}


def test_folders_without_shards_or_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.tar file there"):
        WebDatasetSource(str(tmp_path))
    shard(tmp_path / "a.tar", {"0001.txt": b"alone"})
    with pytest.raises(UserError, match="hold no pictures"):
        WebDatasetSource(str(tmp_path))
    (tmp_path / "a.tar").write_bytes(b"nonsense" * 200)
    with pytest.raises(UserError, match=r"a\.tar: not a whole tar file"):
        WebDatasetSource(str(tmp_path))
