"""Known data sets as they lie on disks after unpacking: pictures with all of their captions, and what is held out."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.data.imagefolder import ImageFolderSource
from aaa.data.picture_names import PictureNames
from aaa.data.table_content import form_of_table
from aaa.errors import UserError
from tests.data.test_layouts import lay, records

Kept = dict[str, tuple[str | None, list[str]]]  # by key: the split, and the captions


def kept(root: Path, **arguments: Any) -> Kept:
    source = ImageFolderSource(str(root), **arguments)
    found = [source[index] for index in range(len(source))]
    assert all(record.load().size == (4, 4) for record in found)
    return {record.key: (record.split, list(record.prompts or [record.prompt])) for record in found}


def write(root: Path, name: str, content: Any) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def coco(root: Path, part: str, ids: range, prefix: str = "", pictures: bool = True) -> None:
    images = [{"license": 1, "file_name": f"{prefix}{number:012}.jpg", "height": 4, "id": number} for number in ids]
    spoken = [
        {"image_id": number, "id": 2 * number + n, "caption": f"{n} of {number}"} for n in (0, 1) for number in ids
    ]
    boxes = [{"segmentation": [[1.5]], "image_id": number, "bbox": [1, 2, 3, 4], "id": number} for number in ids]
    write(root, f"annotations/captions_{part}.json", {"info": {}, "images": images, "annotations": spoken})
    write(root, f"annotations/instances_{part}.json", {"info": {}, "images": images, "annotations": boxes})
    write(root, f"annotations/image_info_{part}.json", {"info": {}, "images": images, "categories": []})
    if pictures:
        lay(root, *(f"{part}/{image['file_name']}" for image in images))


def karpathy(pictures: dict[str, str], **more: str) -> dict[str, Any]:
    rows = [
        {"filename": name, "split": split, "sentences": [{"tokens": ["a"], "raw": f"{n} of {name}"} for n in (0, 1)]}
        for name, split in pictures.items()
    ]
    return {"images": [row | more for row in rows], "dataset": "coco"}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("year", "prefix"), [("2017", "{}"), ("2014", "COCO_{}_")])
def test_coco_has_a_record_for_each_picture(tmp_path: Path, year: str, prefix: str, flat: bool) -> None:
    expected: Kept = {}
    for part, split, ids in ((f"train{year}", "train", range(2, 5)), (f"val{year}", "validation", range(5, 7))):
        begins = prefix.format(part) if year == "2014" else ""
        coco(tmp_path, part, ids, begins, pictures=not flat)
        where = "images" if flat else part
        lay(tmp_path, *(f"{where}/{begins}{number:012}.jpg" for number in ids if flat))
        key = "" if flat else f"{part}/"
        expected |= {f"{key}{begins}{n:012}.jpg": (split, [f"0 of {n}", f"1 of {n}"]) for n in ids}
    assert kept(tmp_path) == expected


def test_of_copies_of_a_picture_the_one_in_the_folder_that_the_table_is_called_after_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coco(tmp_path, "train2017", range(2))
    lay(tmp_path, *(f"small/{number:012}.jpg" for number in range(2)))
    assert list(kept(tmp_path)) == [f"train2017/{number:012}.jpg" for number in range(2)]
    assert "pictures that no row of annotations/captions_train2017.json names: 2 (small/" in caplog.text
    (tmp_path / "train2017").rename(tmp_path / "large")
    with pytest.raises(UserError, match=r"image '0{12}.jpg' may be any of large/.*small/.*1 .annotations/captions_tr"):
        kept(tmp_path)


def test_a_folder_that_only_a_part_of_a_word_of_the_table_s_name_is_is_not_taken(tmp_path: Path) -> None:
    lay(tmp_path, "train/0.jpg", "test/0.jpg", "captions_latest.csv=image,caption|0.jpg,x")
    with pytest.raises(UserError, match=r"none is found \(image '0.jpg' may be any of test/0.jpg, train/0.jpg"):
        ImageFolderSource(str(tmp_path))


def test_of_a_part_of_coco_the_rest_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    coco(tmp_path, "train2017", range(3), pictures=False)
    coco(tmp_path, "val2017", range(3, 6))
    (tmp_path / "val2017" / f"{4:012}.jpg").unlink()
    assert list(kept(tmp_path)) == [f"val2017/{number:012}.jpg" for number in (3, 5)]
    assert "rows whose picture is not there: 1 (annotations/captions_val2017.json[1])" in caplog.text
    assert "tables of whose pictures none is found: 1 (annotations/captions_train2017.json)" in caplog.text
    assert "other tables: 4 (annotations/image_info_train2017.json, " in caplog.text


def test_captions_of_pictures_that_coco_does_not_list_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coco(tmp_path, "train2017", range(3))
    table = tmp_path / "annotations" / "captions_train2017.json"
    content = json.loads(table.read_text())
    table.write_text(json.dumps(content | {"images": content["images"][1:]}))
    assert len(kept(tmp_path)) == 2
    assert 'not among its "images": 1, e.g. of the id 0' in caplog.text


def test_of_karpathys_splits_and_cocos_own_tables_the_config_names_one(tmp_path: Path) -> None:
    coco(tmp_path, "train2014", range(2), "COCO_train2014_")
    coco(tmp_path, "val2014", range(2, 5), "COCO_val2014_")
    names = [f"COCO_{'train' if number < 2 else 'val'}2014_{number:012}.jpg" for number in range(5)]
    splits = ["train", "train", "restval", "val", "test"]
    write(tmp_path, "dataset_coco.json", karpathy(dict(zip(names, splits, strict=True)), filepath="val2014"))
    with pytest.raises(
        UserError, match=r"several tables .*train2014.json \(pictures: 2\), .* dataset_coco.json .*: 5\)"
    ):
        kept(tmp_path)
    found = kept(tmp_path, table="dataset_coco.json")
    assert [split for split, _ in found.values()] == ["train"] * 3 + ["validation"] * 2
    assert next(iter(found.values()))[1] == [f"0 of {names[0]}", f"1 of {names[0]}"]
    own = [f"annotations/captions_{part}2014.json" for part in ("train", "val")]
    assert [split for split, _ in kept(tmp_path, table=own).values()] == ["train"] * 2 + ["validation"] * 3


CAPTIONS = {"a.jpg": ["0 a", "1 a"], "b.jpg": ["0 b", "1 b"], "c.jpg": ["0 c", "1 c"]}
COMMENTS = "".join(f'{name},{n},"{c}"\n' for name, said in CAPTIONS.items() for n, c in enumerate(said))
NUMBERED = "".join(f"{name}#{n}\t{caption}\n" for name, said in CAPTIONS.items() for n, caption in enumerate(said))


@pytest.mark.parametrize(
    ("table", "content"),
    [
        (
            "captions.txt",
            "image,caption\n" + "".join(f"{name},{c}\n" for name, said in CAPTIONS.items() for c in said),
        ),
        ("Flickr8k.token.txt", NUMBERED),
        ("results_20130124.token", NUMBERED),
        (
            "results.csv",
            "image_name| comment_number| comment\n"
            + "".join(f"{name}| {n}| {c}\n" for name, said in CAPTIONS.items() for n, c in enumerate(said)),
        ),
        (
            "train_anno.jsonl",
            "".join(json.dumps({"img_path": f"./{n}", "prompt": s}) + "\n" for n, s in CAPTIONS.items()),
        ),
        ("part-000001.json", {name: {"p": said, "se": 3} for name, said in CAPTIONS.items()}),
        ("captions.txt", "image_name,comment_number,comment\n" + COMMENTS),
        ("meta_cap.json", {name.removesuffix(".jpg"): {"caption": said} for name, said in CAPTIONS.items()}),
        ("train.json", [{"image": name, "text": said} for name, said in CAPTIONS.items()]),
        ("my table.tsv", "file\tcaption\n" + "".join(f"{n}\t{c}\n" for n, said in CAPTIONS.items() for c in said)),
    ],
)
def test_tables_of_other_names_are_read(tmp_path: Path, table: str, content: Any) -> None:
    lay(tmp_path, *(f"deep/Images/{name}" for name in CAPTIONS))
    write(tmp_path, table, content)
    assert kept(tmp_path) == {f"deep/Images/{name}": (None, said) for name, said in CAPTIONS.items()}
    assert kept(tmp_path, table=table) == kept(tmp_path)
    assert len(kept(tmp_path, image_column="image" if "image,caption" in str(content) else None)) == 3


def test_quotes_of_flickr30k_are_letters_and_its_row_without_the_second_bar_is_read(tmp_path: Path) -> None:
    lay(tmp_path, "pictures/a.jpg")
    rows = ['a.jpg| 0| "Hooters" girls run .', 'a.jpg| 1| a 5" nail', "a.jpg| 4   A dog runs ."]
    for table in ("results.csv", "sub/results.csv"):  # as Kaggle packs it: the same twice
        write(tmp_path, table, "\n".join(["image_name| comment_number| comment", *rows]))
    assert kept(tmp_path) == {"pictures/a.jpg": (None, ['"Hooters" girls run .', 'a 5" nail', "A dog runs ."])}
    write(tmp_path, "results.csv", "image_name| comment_number| comment\na.jpg| 0")
    source = ImageFolderSource(str(tmp_path), table="results.csv")
    with pytest.raises(UserError, match=r"results.csv:2: not a picture's name, a number and a caption \('a.jpg| 0'\)"):
        source[0].load()


def test_quotes_of_flickr30k_with_commas_are_quotes(tmp_path: Path) -> None:
    rows = ["image_name,comment_number,comment", 'a.jpg,0,"Two dogs, running"', 'a.jpg,1,"A cat"']
    lay(tmp_path, "images/a.jpg", "captions.txt=" + "|".join(rows))
    assert kept(tmp_path) == {"a.jpg": (None, ["Two dogs, running", "A cat"])}
    (tmp_path / "captions.txt").rename(tmp_path / "metadata.csv")
    source = ImageFolderSource(str(tmp_path), prompt_column="comment")
    assert [source[index].prompt for index in range(2)] == ["Two dogs, running", "A cat"]


def test_sentences_that_are_texts_are_none_of_karpathys(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.jpg")
    write(tmp_path, "metadata.json", {"images": [{"filename": "a.jpg", "sentences": ["a dog", "a pet"]}]})
    assert kept(tmp_path) == {"a.jpg": (None, ["a dog", "a pet"])}


def test_flickr8ks_lists_say_what_is_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, *(f"Flicker8k_Dataset/{name}" for name in CAPTIONS))
    for table in ("Flickr8k.token.txt", "Flickr8k.lemma.token.txt"):
        write(tmp_path, table, NUMBERED + "a.jpg.1#0\tgone\n\n")
    write(tmp_path, "ExpertAnnotations.txt", "a.jpg\tb.jpg#2\t1\t1\t1\n")
    write(tmp_path, "readme.txt", "please cite")
    for name, listed in {"train": "a.jpg", "dev": "b.jpg", "test": "c.jpg\ngone.jpg"}.items():
        write(tmp_path, f"Flickr_8k.{name}Images.txt", listed + "\n")
    assert [split for split, _ in kept(tmp_path).values()] == ["train", "validation", "validation"]
    assert "rows whose picture is not there: 1 (Flickr8k.token.txt:7)" in caplog.text
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("b.jpg\n")
    assert [split for split, _ in kept(tmp_path).values()] == ["train", "validation", "validation"]


@pytest.mark.parametrize("captions", ["captions.txt=image,caption|a.jpg,x|b.jpg,y|c.jpg,z", "text"])
def test_lists_may_lack_the_endings_and_one_that_lists_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, captions: str
) -> None:
    texts = [f"text/{name}.txt=a dog" for name in "abc"] if captions == "text" else [captions]
    lay(tmp_path, *(f"images/{name}" for name in CAPTIONS), *texts, "train.txt=a|b|c", "test.txt=c", "val.txt=1 0|2 1")
    assert [split for split, _ in kept(tmp_path).values()] == ["train", "train", "validation"]
    assert "texts called after a split that list no pictures that are there: 1 (val.txt)" in caplog.text


def test_names_of_tables_say_what_is_held_out(tmp_path: Path) -> None:
    lay(tmp_path, *(f"pictures/{name}" for name in CAPTIONS))
    write(tmp_path, "train.csv", "image,caption\na.jpg,x\nb.jpg,y\n")
    write(tmp_path, "val.csv", "image,caption\nc.jpg,z\n")
    assert [split for split, _ in kept(tmp_path).values()] == ["train", "train", "validation"]
    write(tmp_path, "val.csv", "image,caption\nc.jpg,z\na.jpg,x\n")  # a picture of both is no reason to read one alone
    source = ImageFolderSource(str(tmp_path))
    assert [source[index].split for index in range(len(source))] == ["train", "train", "validation", "validation"]


def test_a_table_of_what_is_held_out_holds_out_all_that_it_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, *(f"pictures/{name}" for name in CAPTIONS), "val.csv=image,caption|c.jpg,z")
    lay(tmp_path, "captions.csv=image,caption|a.jpg,x|b.jpg,y", "train.csv=image,caption,split|a.jpg,x,A|b.jpg,y,train")
    for table in (["captions.csv", "val.csv"], ["train.csv", "val.csv"]):
        assert [split for split, _ in kept(tmp_path, table=table).values()] == ["train", "train", "validation"]
    assert "tables captions.csv have no name that says whether to train on them" in caplog.text
    lay(tmp_path, "val.csv=image,caption,split|c.jpg,z,train")
    found = kept(tmp_path, table=["train.csv", "val.csv"])
    assert [split for split, _ in found.values()] == ["train", "train", "validation"]


@pytest.mark.parametrize(
    "tables",
    [
        ["train.csv=image,caption|a.jpg,x", "sample_submission.csv=image,caption|b.jpg,a picture"],
        ["train.csv=image,caption|a.jpg,x", "outputs/results.csv=image,prompt,score|b.jpg,a picture,0.3"],
        ["captions_de.csv=image,caption|a.jpg,x", "captions_en.csv=image,caption|a.jpg,y"],
        ["captions.csv=image,caption|a.jpg,x", "captions_val.csv=image,caption|b.jpg,y"],
        ["train.csv=image,caption|a.jpg,x", "train_blip.csv=image,caption|a.jpg,y"],
        ["captions.txt=image,caption|a.jpg,x", "train.csv=image,caption|a.jpg,y"],
    ],
)
def test_several_tables_that_may_not_belong_together_are_refused(tmp_path: Path, tables: list[str]) -> None:
    lay(tmp_path, "images/a.jpg", "images/b.jpg", *tables)
    names = sorted(table.partition("=")[0] for table in tables)
    message = (
        rf"several tables of captions, .*: {names[0]} \(pictures: 1\), {names[1]} .*data.table=FILE or .*FILE,FILE\]"
    )
    with pytest.raises(UserError, match=message):
        ImageFolderSource(str(tmp_path))
    assert len(kept(tmp_path, table=f"./{names[0]}")) == 1


@pytest.mark.parametrize(
    "other",
    [
        'scores.json={"a.jpg": 0.5, "b.jpg": 1.5}',
        'labels.json={"a.jpg": "n01440764", "b.jpg": "n01440765"}',
        'boxes.json={"a.jpg": [[1, 2, 3, 4]]}',
        'some.json={"a.jpg": {"caption": "x"}, "b.jpg": {"size": 3}}',
        "ratings.csv=image,rating,comment|a.jpg,3,blurry|b.jpg,3,sharp",
        'data.json={"train": [{"image": "a.jpg", "caption": "x"}], "val": []}',
        'instances.json={"images": [{"file_name": "a.jpg", "id": 0, "description": ""}], "annotations": []}',
        "eval.csv=image,caption|/home/me/run/a_gen.png,x",
        'images/a.jpg.json={"file": "a.jpg", "caption": "x"}',
    ],
)
def test_what_is_no_table_of_captions_does_not_stand_in_the_way_of_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    caplog.set_level(logging.INFO)
    lay(tmp_path, "images/a.jpg", "images/b.jpg", "captions.csv=image,caption|a.jpg,x", other)
    assert kept(tmp_path) == {"a.jpg": (None, ["x"])}
    assert f": 1 ({other.partition('=')[0]})" in caplog.text


def test_a_table_that_cannot_be_read_is_told_with_the_way_around_it(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg", "captions.csv=image,caption|a.jpg,x", 'more.jsonl={"image": "a.jpg", "caption": "y"}|{')
    with pytest.raises(UserError, match=r"more.jsonl:2: not JSON .* data.table=FILE reads another table alone"):
        ImageFolderSource(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "told"),
    [("/mnt/data/images/a.jpg", "begins with '/mnt/data/"), ("C:\\data\\a.jpg", "begins with 'C:/data/'")],
)
def test_names_of_another_machine_are_told(tmp_path: Path, name: str, told: str) -> None:
    lay(tmp_path, "images/a.jpg", f"captions.csv=image,caption|{name},x")
    with pytest.raises(UserError, match=rf"none is found \(image has a name that {told}"):
        ImageFolderSource(str(tmp_path))


def test_names_in_folders_that_are_not_there_are_no_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, "val/a.jpg", "all.csv=image,caption|train/a.jpg,x|val/a.jpg,y")
    assert kept(tmp_path) == {"val/a.jpg": (None, ["y"])}
    assert "rows whose picture is not there: 1 (all.csv:2)" in caplog.text


def test_a_table_called_metadata_and_texts_beside_pictures_come_first(tmp_path: Path) -> None:
    lay(tmp_path, "x/a.jpg", "x/b.jpg", "captions.csv=image,caption|a.jpg,theirs|b.jpg,theirs", "x/a.txt=own")
    assert records(tmp_path) == {"x/a.jpg": "own"}
    assert records(tmp_path, table="captions.csv") == {"x/a.jpg": "theirs", "x/b.jpg": "theirs"}
    assert records(tmp_path, prompt_column="caption") == {"x/a.jpg": "theirs", "x/b.jpg": "theirs"}
    lay(tmp_path, "x/metadata.csv=image,prompt|a.jpg,row")
    assert records(tmp_path) == {"x/a.jpg": "row"}
    assert records(tmp_path, table="captions.csv") == {"x/a.jpg": "theirs", "x/b.jpg": "theirs"}
    lay(tmp_path / "y", "metadata.csv=image,prompt|a.jpg,row|gone.jpg,row", "part-1/a.jpg")
    source = ImageFolderSource(str(tmp_path / "y"))
    with pytest.raises(UserError, match=r"does not exist .*; there is 'part-1/a.jpg'"):
        source[0].load()
    assert records(tmp_path / "y", table="metadata.csv") == {"part-1/a.jpg": "row"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("caption.csv", r"data.table=caption.csv: there is no such file in .*did you mean 'captions.csv'"),
        ("notes.txt", "data.table=notes.txt: no table of pictures and captions"),
        ("classes.csv", r"classes.csv: no column 'prompt' .*; there is: image, label\. Set data\.prompt_column=NAME"),
        ("a.jpg", "data.table=a.jpg: no table"),
    ],
)
def test_a_table_that_is_named_and_cannot_be_read_is_told(tmp_path: Path, table: str, message: str) -> None:
    lay(tmp_path, "a.jpg", "captions.csv=image,caption|a.jpg,x", "notes.txt=x", "classes.csv=image,label|a.jpg,cat")
    with pytest.raises(UserError, match=message):
        ImageFolderSource(str(tmp_path), table=table)


@pytest.mark.parametrize(
    "table",
    [
        "labels.csv=image,label|a.jpg,cat",
        "urls.csv=url,caption|http://x/a.jpg,cat",
        "empty.csv=image,caption|",
        "broken.json={",
        'broken.json={"a.jpg": ',
        'boxes.json={"images": [{"file_name": "a.jpg", "id": 1}], "annotations": [{"image_id": 1, "bbox": []}]}',
        "lists.json=[[1]]",
        "pointer.json=version https://git-lfs.github.com/spec/v1|oid",
        "notes.txt=image and caption, both|are here",
    ],
)
def test_other_tables_are_none(tmp_path: Path, table: str) -> None:
    lay(tmp_path, "a.jpg", table)
    with pytest.raises(UserError, match=r"no records\. A data set needs .* There is: .*pictures without a caption: 1"):
        ImageFolderSource(str(tmp_path))


@given(content=st.binary(max_size=60) | st.text(st.sampled_from('{}[]":, \\a.jpgcaptionimages01'), max_size=40))
def test_any_content_is_a_table_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    root = tmp_path_factory.getbasetemp()
    names = PictureNames(root, ["a.jpg"])
    for ending in (".json", ".csv", ".txt", ".jsonl", ".token", ".parquet"):
        (root / f"t{ending}").write_bytes(content if isinstance(content, bytes) else content.encode())
        form = form_of_table(f"t{ending}", names, None, [])
        assert form is None or form.kind in ("csv", "json", "jsonl", "numbered")


def test_each_line_of_texts_in_a_folder_of_their_own_is_a_caption(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names = ["images/1.Gull/x", "images/2.Jay/x", "images/2.Jay/y"]
    lay(tmp_path, *(f"{name}.jpg" for name in names), "classes.txt=1 Gull|2 Jay")
    lay(tmp_path, *(f"{name.replace('images', 'text')}.txt=a bird|{name}|" for name in names))
    expected = {f"{name.removeprefix('images/')}.jpg": (None, ["a bird", name]) for name in names}
    assert kept(tmp_path) == expected
    assert "text/1.Gull/x.txt is of images/1.Gull/x.jpg, and each of its lines is a caption" in caplog.text
    assert "captions without a picture: 1 (classes.txt)" in caplog.text


def test_texts_of_other_lengths_are_one_caption_each(tmp_path: Path) -> None:
    lay(tmp_path, "jpg/a.jpg", "jpg/b.jpg", "jpg/c.jpg", "words/1/a.txt=x|y", "words/2/b.txt=z")
    assert kept(tmp_path) == {"jpg/a.jpg": (None, ["x\ny"]), "jpg/b.jpg": (None, ["z"])}


def test_two_folders_of_texts_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.jpg", "ocr/a.txt=STOP", "text/a.txt=a street")
    with pytest.raises(
        UserError, match=r"images/a.jpg has several texts, ocr/a.txt and text/a.txt. Lay those elsewhere"
    ):
        ImageFolderSource(str(tmp_path))


def test_masks_have_no_captions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, "images/1.Gull/x.jpg", "segmentations/1.Gull/x.png", "text/1.Gull/x.txt=a bird")
    assert kept(tmp_path) == {"1.Gull/x.jpg": (None, ["a bird"])}
    assert "pictures without a caption: 1 (segmentations/1.Gull/x.png)" in caplog.text
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(UserError, match=r"pictures without a caption: 2 .*captions without a picture: 1 "):
        ImageFolderSource(str(tmp_path))


def test_boxes_in_a_folder_of_their_own_are_no_captions(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.jpg", "labels/a.txt=0 0.5 0.5 0.1 0.1|3 0.2 0.2 0.1 0.1")
    with pytest.raises(UserError, match="captions without a picture: 1 "):
        ImageFolderSource(str(tmp_path))
    (tmp_path / "labels/a.txt").write_text("Car 0.00 0 -1.58 587.01 173.33 614.12")
    with pytest.raises(UserError, match="captions without a picture: 1 "):
        ImageFolderSource(str(tmp_path))


def test_what_img2dataset_writes_beside_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lay(tmp_path, "00000/0.jpg", "00000/0.txt=a", '00000/0.json={"caption": "a"}', "00000.parquet=x")
    lay(tmp_path, '00000_stats.json={"count": 1}')
    assert records(tmp_path) == {"00000/0.jpg": "a"}
    assert (
        "notes on one picture each: 1 (00000/0.json); img2dataset's notes on a folder: 2 (00000.parquet, "
        in caplog.text
    )
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    lay(tmp_path, "00000.json=[]", "train/0.jpg", "train/0.txt=a", "train.json=[]")
    assert len(records(tmp_path)) == 2
    assert "tables of another name than metadata: 2 (00000.json, train.json)" in caplog.text


@pytest.mark.parametrize(
    ("folders", "told"), [(["10_dogs", "3_cats"], True), (["10_dogs"], False), (["a_1", "b"], False)]
)
def test_repeats_in_names_of_folders_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, folders: list[str], told: bool
) -> None:
    caplog.set_level(logging.INFO)
    assert len(records(lay(tmp_path, *(f"{f}/0{end}" for f in folders for end in (".png", ".caption=x"))))) == len(
        folders
    )
    assert ("folders such as 10_dogs and 3_cats are no repeats" in caplog.text) is told


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (  # val/ is not unpacked
            ["train/0.jpg", "train.csv=image,caption|0.jpg,mine", "val.csv=image,caption|0.jpg,another"],
            {"train/0.jpg": (None, ["mine"])},
        ),
        (  # dogs/0.jpg is not there
            ["cats/0.jpg", "dogs/1.jpg", "dogs/captions.csv=image,caption|0.jpg,a dog|1.jpg,two dogs"],
            {"dogs/1.jpg": (None, ["two dogs"])},
        ),
        (  # one class of the texts has no picture of that name
            ["images/cat/1.jpg", "images/dog/2.jpg", "text/dog/1.txt=a dog", "text/dog/2.txt=two dogs"],
            {"dog/2.jpg": (None, ["two dogs"])},
        ),
        (
            ["images/train/1.jpg", "images/train/2.jpg", "text/train/1.txt=one", "text/val/2.txt=another"],
            {"train/1.jpg": (None, ["one"])},
        ),
        (  # a line of a list that may be either is both
            [
                "images/4.jpg",
                "preview/4.jpg",
                "images/5.jpg",
                "captions.csv=image,caption|4.jpg,x|5.jpg,y",
                "test.txt=4|4.jpg|# done",
            ],
            {"4.jpg": ("validation", ["x"]), "5.jpg": ("train", ["y"])},
        ),
        (  # columns that are not read may differ
            ["a.jpg", "b.jpg", "train.csv=image,caption,score|a.jpg,x,3", "val.csv=image,caption|b.jpg,y"],
            {"a.jpg": ("train", ["x"]), "b.jpg": ("validation", ["y"])},
        ),
    ],
)
def test_captions_go_to_no_other_picture_of_the_same_name(
    tmp_path: Path, files: list[str], expected: dict[str, tuple[str | None, list[str]]]
) -> None:
    lay(tmp_path, *files)
    assert kept(tmp_path) == expected
