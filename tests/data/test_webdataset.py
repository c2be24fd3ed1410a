import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aaa.data.file_digests import FileDigests
from aaa.data.fingerprint import records_fingerprint
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


def test_a_shard_that_can_no_longer_be_read_is_named(shards: Path) -> None:
    source = WebDatasetSource(str(shards))
    for file in source.files:
        file.unlink()
    for read in (source[0].load, source[0].digest):
        assert read is not None
        with pytest.raises(UserError, match=r"\.tar: '.*' cannot be read \(No such file or directory\)"):
            read()


def test_captions_that_are_alike_but_for_blanks_are_one(tmp_path: Path) -> None:
    members(tmp_path / "s.tar", ["0.png", '0.json={"caption": ["  d ", "d", " \\n", "e"], "text": " "}'])
    source = WebDatasetSource(str(tmp_path), prompt_column=["caption", "text"])
    assert source[0].prompts == pytest.approx({"d": 2 / 3, "e": 1 / 3})


def test_json_that_is_asked_for_by_its_whole_ending_is_a_text(tmp_path: Path) -> None:
    members(tmp_path / "s.tar", ["0.png", "0.meta.json={}", "1.meta.png", "1.meta.json={}"])
    source = WebDatasetSource(str(tmp_path), prompt_column="meta.json")
    assert source[0].prompt == "{}"


def test_captions_come_from_json_keys_too_and_rows_without_are_named(shards: Path) -> None:
    both = WebDatasetSource(str(shards), prompt_column=["txt", "caption"])
    assert both[0].prompts == {"a red thing": 1.0, "longer": 1.0}
    assert both[1].prompts is None
    one = WebDatasetSource(str(shards), prompt_column="caption")
    with pytest.raises(UserError, match=r"00000\.tar: '0002' has no caption, neither as a file nor as a key of its "):
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
    with pytest.raises(UserError, match=r"^data\.path= is empty"):
        WebDatasetSource("")
    with pytest.raises(UserError, match=r"no \.tar file there \(looked in \S+\)\.$"):
        WebDatasetSource(str(tmp_path))
    for name, kind in (("x.parquet", "huggingface data.path="), ("0.png", "imagefolder data.root=")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=rf"no \.tar file there .* read by data={kind}{tmp_path}$"):
            WebDatasetSource(str(tmp_path))
    shard(tmp_path / "a.tar", {"0001.txt": b"alone"})
    with pytest.raises(UserError, match="hold no pictures"):
        WebDatasetSource(str(tmp_path))
    (tmp_path / "a.tar").write_bytes(b"nonsense" * 200)
    with pytest.raises(UserError, match=r"a\.tar: not a whole tar file"):
        WebDatasetSource(str(tmp_path))


SAMPLES = [
    pytest.param(["0.png", "1.png", "0.txt=a", "1.txt=b"], {"0": "a", "1": "b"}, "", id="not side by side"),
    pytest.param(["./0.png", "0.txt=a"], {"./0": "a"}, "", id="names that begin with ./"),
    pytest.param(["\u00e9.png", "e\u0301.txt=a"], {"\u00e9": "a"}, "", id="two Unicode forms"),
    pytest.param(
        ["0.png", "0.PNG", "0.txt=a"], {"0": "a"}, "the last of which is read: 1 (s.tar/0)", id="twice but for capitals"
    ),
    pytest.param(["0.JPG", "0.TXT=a"], {"0": "a"}, "", id="capitals"),
    pytest.param(["0.jfif", "0.caption=a", "1.jp2", "1.caption=b"], {"0": "a", "1": "b"}, "", id="other endings"),
    pytest.param(["x.y/0.png", "x.y/0.txt=a"], {"x.y/0": "a"}, "", id="a folder with a dot"),
    pytest.param(
        ["0.png", "0.jpg", "0.txt=a"], {"0": "a"}, "of which .jpg is read: 1 (s.tar/0.png)", id="a second picture"
    ),
    pytest.param(
        ["0.png", "0.mask.png", "0.txt=a"], {"0": "a"}, "of which .png is read: 1 (s.tar/0.mask.png)", id="a mask"
    ),
    pytest.param(["0.image.png", "0.txt=a"], {"0": "a"}, "", id="a picture with two endings"),
    pytest.param(["0.1.png", "0.1.txt=a", "0.2.png", "0.2.txt=b"], {"0.1": "a", "0.2": "b"}, "", id="names with dots"),
    pytest.param(["0.png", "0.txt=a", "1.png"], {"0": "a"}, "pictures without a caption: 1 (s.tar/1)", id="no caption"),
    pytest.param(
        ["0.png", "0.txt=a", "1.txt=b"], {"0": "a"}, "captions without a picture: 1 (s.tar/1)", id="no picture"
    ),
    pytest.param(
        ["0.png", "0.txt=a", "0.cls=3", "0.npy=x"],
        {"0": "a"},
        "endings that are not read: 2 (s.tar/0.cls, s.tar/0.npy)",
        id="endings",
    ),
    pytest.param(
        ["0.png", "0.txt=a", "0.png", "0.txt=b"],
        {"0": "a", "0 (2)": "b"},
        "twice, read as well: 1 (s.tar/0)",
        id="twice",
    ),
    pytest.param(
        ["0.png", "0.txt=a", "0.txt=b"], {"0": "b"}, "the last of which is read: 1 (s.tar/0)", id="a caption mended"
    ),
    pytest.param(
        ["._0.png", "._0.txt=x", "__MACOSX/0.png", "0.png", "0.txt=a"], {"0": "a"}, "by a system: 3", id="hidden"
    ),
    pytest.param(
        ["0.png", "0.txt=a", "0.ocr.txt=" + "x" * 2**20 + "x", "0.boxes.json=[1]"],
        {"0": "a"},
        "further files of a sample that cannot be read: 1 (s.tar/0.ocr.txt); "
        "endings that are not read: 1 (s.tar/0.boxes.json)",
        id="long texts that are not asked for",
    ),
    pytest.param(["0.png", '0.json={"caption": "a"}'], {"0": "a"}, "", id="json"),
    pytest.param(["0.png", '0.json={"caption": "a"}', "0.txt=b"], {"0": "b"}, "", id="json and text"),
    pytest.param(
        ["v1.0_1.png", 'v1.0_1.json={"caption": "a"}', 'v1.0_2.json={"caption": "b"}', "v1.0_2.png"],
        {"v1.0_1": "a", "v1.0_2": "b"},
        "",
        id="json and names with dots",
    ),
    pytest.param(
        ["0.png", '0.meta.json={"caption": "x"}', '0.json={"caption": "a"}'],
        {"0": "a"},
        "endings that are not read: 1 (s.tar/0.meta.json)",
        id="json of something else",
    ),
    pytest.param(
        ["0.mask.png", '0.mask.json={"caption": "x"}', '0.json={"caption": "a"}'],
        {"0": "a"},
        "endings that are not read: 1 (s.tar/0.mask.json)",
        id="json of a mask",
    ),
    pytest.param(
        ["0.png", "0.txt=a", '1.meta.json={"caption": "x"}', "README.en.json={}"],
        {"0": "a"},
        "endings that are not read: 1 (s.tar/1.meta.json)",
        id="json of no picture",
    ),
    pytest.param(["0.png", '0.json={"txt": "x"}', "0.txt=a"], {"0": "a"}, "", id="a key and a file, the file last"),
    pytest.param(["0.png", "0.txt=a", '0.json={"txt": "x"}'], {"0": "a"}, "", id="a key and a file, the file first"),
    pytest.param(
        ["0.png", '0.json={"caption": [" ", " b ", "b"]}', "1.png", '1.json={"caption": " "}'],
        {"0": "b", "1": ""},
        "",
        id="json with blanks",
    ),
]


@pytest.mark.parametrize(("names", "expected", "told"), SAMPLES)
def test_samples_are_put_together_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], expected: dict[str, str], told: str
) -> None:
    caplog.set_level("INFO")
    members(tmp_path / "s.tar", names)
    source = WebDatasetSource(str(tmp_path))
    found = [source[i] for i in range(len(source))]
    assert all(record.load().size == (6, 4) for record in found)
    assert {record.key.removeprefix("s.tar/"): record.prompt for record in found} == expected
    assert told in caplog.text if told else not caplog.text


def members(path: Path, names: list[str]) -> None:
    """A tar with these members in this order: pictures, and texts as `name=text`."""
    with tarfile.open(path, "w") as tar:
        for name, _, text in (entry.partition("=") for entry in names):
            content = text.encode() or png("red")
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_picture_and_the_caption_of_a_sample_can_be_chosen(tmp_path: Path) -> None:
    members(tmp_path / "s.tar", ["0.png", "0.mask.png", "0.txt=a", "0.short.txt=b", "0.cls=7", "1.png", "1.txt=c"])
    source = WebDatasetSource(str(tmp_path), image_column="mask.png", prompt_column="short.txt")
    assert [(source[i].key, source[i].prompt) for i in range(len(source))] == [("s.tar/0", "b")]
    assert WebDatasetSource(str(tmp_path), prompt_column="cls")[0].prompt == "7"
    with pytest.raises(UserError, match=r"hold no pictures called \.gif\. There is: .*further pictures"):
        WebDatasetSource(str(tmp_path), image_column="gif")


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        (["train-0000.tar", "val-0000.tar"], {"val-0000.tar"}),
        (["train/0000.tar", "test/0000.tar"], {"test/0000.tar"}),
        (["my_train_00.tar", "my_dev_00.tar", "my_eval_00.tar"], {"my_dev_00.tar", "my_eval_00.tar"}),
        (["0000.tar", "validation.tar"], {"validation.tar"}),
        (["train-0000.tar", "train-0001.tar"], set()),
        (["my_test_set-0.tar", "my_test_set-1.tar"], set()),
        (["latest-0.tar", "devices-0.tar"], set()),
    ],
)
def test_shards_called_as_splits_are_held_out(tmp_path: Path, names: list[str], held_out: set[str]) -> None:
    for name in names:
        shard(tmp_path / name, {"0.png": png("red"), "0.txt": b"a"})
    source = WebDatasetSource(str(tmp_path))
    assert {source[i].key.removesuffix("/0") for i in range(len(source))} == set(names)
    for record in (source[i] for i in range(len(source))):
        inside = record.key.removesuffix("/0") in held_out
        assert record.split == (("validation" if inside else "train") if held_out else None)


@pytest.mark.parametrize(
    "names",
    [
        ["0.png", '0.json={"caption": "a", "split": "train"}', "1.png", '1.json={"caption": "b", "split": "val"}'],
        ["train/0.png", "train/0.txt=a", "test/1.png", "test/1.txt=b"],
    ],
)
def test_samples_of_one_shard_are_held_out_by_a_key_or_their_folder(tmp_path: Path, names: list[str]) -> None:
    members(tmp_path / "s.tar", names)
    source = WebDatasetSource(str(tmp_path))
    assert [source[i].split for i in range(len(source))] == ["train", "validation"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png", "0.cls=3"], r"no column 'txt'.* There is: endings that are not read: 1 \(s\.tar/0\.cls\)"),
        (["0.png", "0.json=[1]"], r"no column 'txt'.* And '0' has a \.json that is not an object"),
    ],
)
def test_a_shard_without_captions_says_what_there_is(tmp_path: Path, names: list[str], message: str) -> None:
    members(tmp_path / "s.tar", names)
    with pytest.raises(UserError, match=message):
        WebDatasetSource(str(tmp_path))


def test_shards_that_cat_put_together_are_read_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        members(tmp_path / f"{number}.tar", [f"{number}.png", f"{number}.txt={number}"])
    parts = [tmp_path / f"{number}.tar" for number in range(3)]
    (tmp_path / "0.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts[1:]:
        part.unlink()
    source = WebDatasetSource(str(tmp_path))
    assert [source[i].prompt for i in range(len(source))] == ["0", "1", "2"]
    assert all(source[i].load().size == (6, 4) for i in range(3))
    assert not caplog.text
    with (tmp_path / "0.tar").open("ab") as shard:
        shard.write(b"something else" * 99)
    assert len(WebDatasetSource(str(tmp_path))) == 3
    assert "shards that go on after their end with something else: 1 (0.tar)" in caplog.text


def test_what_is_no_shard_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "a.tar", {"0.png": png("red"), "0.txt": b"a"})
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    (tmp_path / "a_stats.json").write_text("{}")
    WebDatasetSource(str(tmp_path))
    assert "compressed files, to be unpacked to a plain .tar first: 1 (b.tar.gz)" in caplog.text
    assert "files that are no shards: 1 (a_stats.json)" in caplog.text
    (tmp_path / "a.tar").unlink()
    with pytest.raises(UserError, match=r"no \.tar file there .*compressed files, .*b\.tar\.gz"):
        WebDatasetSource(str(tmp_path))
    (tmp_path / "b.tar.gz").rename(tmp_path / "b.tar")
    with pytest.raises(UserError, match=r"b\.tar: compressed by gzip, but read in place"):
        WebDatasetSource(str(tmp_path))
    (tmp_path / "b.tar").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"b\.tar: is a Git LFS pointer"):
        WebDatasetSource(str(tmp_path))


def test_links_in_a_shard_are_counted_and_never_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "a.tar", {"0.png": png("red"), "0.txt": b"a"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.LNKTYPE), ("d", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "0.png"
            tar.addfile(member)
    assert len(WebDatasetSource(str(tmp_path))) == 1
    assert "links and devices in a shard, which are not followed: 2 (a.tar/1.png, a.tar/2.png)" in caplog.text


@settings(max_examples=60)
@given(order=st.permutations(["0.png", "0.txt=0", "1.png", "1.txt=1", "2.jpg", "2.caption=2", "2.txt=2"]))
def test_the_order_within_a_shard_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    path = tmp_path_factory.mktemp("shards") / "s.tar"
    members(path, order)
    source = WebDatasetSource(str(path))
    assert sorted((source[i].key, source[i].prompt) for i in range(len(source))) == [
        ("s.tar/0", "0"),
        ("s.tar/1", "1"),
        ("s.tar/2", "2"),
    ]
