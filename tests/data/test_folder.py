"""A person's own photos: the first attempt works, and a mistake is named with its line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from rlcap.data.folder import Folder, assign_splits
from rlcap.types import UserError

SPLITS = ("train", "val", "test")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in [*(f"{number}.jpg" for number in range(10)), "sub/a.png"]:
        Image.new("RGB", (8, 6), "green").save(folder / name)
    return folder


def table(folder: Path, text: str, name: str = "captions.csv", encoding: str = "utf-8") -> Path:
    path = folder.parent / name
    path.write_text(text, encoding=encoding)
    return path


def names(dataset: Folder, split: str) -> Sequence[str]:
    return [record.image_id for record in dataset.records(split)]


def test_ten_photos(photos: Path) -> None:
    rows = "".join(f'{number}.jpg,"a photo, number {number}"\n{number}.jpg,another\n' for number in range(10))
    dataset = Folder(photos, table(photos, "image,caption\n" + rows))
    found = [record for split in SPLITS for record in dataset.records(split)]
    assert sorted(record.image_id for record in found) == [f"{number}.jpg" for number in range(10)]
    assert all(dataset.records(split) for split in SPLITS)
    first = next(record for record in found if record.image_id == "3.jpg")
    assert first.references == ("a photo, number 3", "another")
    assert dataset.open_image(first).size == (8, 6)


def test_given_splits(photos: Path) -> None:
    text = "split, image, caption\ntrain,0.jpg,a\n\nval,1.jpg,b\ntrain,0.jpg,c\ntrain,sub/a.png,d\n"
    dataset = Folder(photos, table(photos, text, encoding="utf-8-sig"))  # as a spreadsheet saves it
    assert names(dataset, "train") == ["0.jpg", "sub/a.png"]
    assert dataset.records("train")[0].references == ("a", "c")
    assert names(dataset, "val") == ["1.jpg"]
    with pytest.raises(UserError, match=r"no split 'test' in .*captions\.csv; there are train, val"):
        dataset.records("test")


def test_jsonl(photos: Path) -> None:
    rows = [
        {"image": "0.jpg", "captions": ["a\u2028dog", "b"], "split": "test"},
        {"image": "./0.jpg", "caption": "c", "split": "test"},
        {"image": "1.jpg", "caption": "d", "split": "train"},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    dataset = Folder(photos, table(photos, text, "captions.jsonl"))
    assert dataset.records("test")[0].references == ("a\u2028dog", "b", "c")
    assert names(dataset, "train") == ["1.jpg"]


def test_further_columns_are_kept_when_they_are_named(photos: Path) -> None:
    text = "image,caption,split,place,people,sharp\n0.jpg,a,test,indoors,2,0.5\n1.jpg,b,test,,nan,\n0.jpg,c,test,,2,\n"
    columns = ["place", "people", "sharp"]
    first, second = Folder(photos, table(photos, text), metadata=columns).records("test")
    assert first.metadata == {"place": "indoors", "people": 2, "sharp": 0.5}
    assert second.metadata == {"people": "nan"}
    changed = table(photos, text.replace("c,test,,2", "c,test,,3"))
    with pytest.raises(UserError, match=r"line 4: image '0\.jpg' has people 3 here and 2 before"):
        Folder(photos, changed, metadata=columns)
    with pytest.raises(UserError, match=r"unknown 'sharp'; .* \(metadata names further ones to keep\)"):
        Folder(photos, changed, metadata=["place", "people"])


def test_further_keys_are_kept_when_they_are_named(photos: Path) -> None:
    rows = [
        {"image": "0.jpg", "caption": "a", "split": "test", "tags": ["dog", "ball"], "people": 2},
        {"image": "1.jpg", "caption": "b", "split": "test", "tags": None},
    ]
    path = table(photos, "\n".join(map(json.dumps, rows)), "captions.jsonl")
    first, second = Folder(photos, path, metadata=["tags", "people"]).records("test")
    assert (first.metadata, second.metadata) == ({"tags": ["dog", "ball"], "people": 2}, {})
    path = table(photos, json.dumps({**rows[0], "tags": [1]}), "captions.jsonl")
    with pytest.raises(UserError, match=r"line 1: tags must be a number, a text or a list of texts, got \[1\]"):
        Folder(photos, path, metadata=["tags", "people"])


def test_without_captions(photos: Path) -> None:
    (photos / "notes.txt").write_text("not an image")
    dataset = Folder(photos)
    assert names(dataset, "test") == [f"{number}.jpg" for number in range(10)]
    assert dataset.records("test")[0].references == ()
    with pytest.raises(UserError, match="no images in"):
        Folder(photos.parent)


def test_splits_are_as_large_as_asked_and_stay_when_images_are_added() -> None:
    many = [f"photo {number}.jpg" for number in range(3000)]
    before, after = assign_splits(many[:1000], 0.1, 0.2, 0), assign_splits(many, 0.1, 0.2, 0)
    assert all(after[name] == split for name, split in before.items())
    counts = {split: list(after.values()).count(split) / 3000 for split in SPLITS}
    assert counts == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.03)
    assert assign_splits(many, 0.1, 0.2, 1) != after
    assert assign_splits(many[::-1], 0.1, 0.2, 0) == after


def test_no_split_is_empty_from_three_images_on() -> None:
    for number in range(3, 12):
        for seed in range(30):
            splits = assign_splits([str(name) for name in range(number)], 0.1, 0.1, seed)
            assert set(splits.values()) == set(SPLITS)
    assert set(assign_splits(["a", "b"], 0.1, 0.1, 0).values()) == {"train"}
    assert set(assign_splits(["a", "b"], 0.1, 0.0, 0).values()) == {"train", "val"}
    assert set(assign_splits(["a", "b", "c"], 0.0, 0.0, 0).values()) == {"train"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"captions\.csv is empty: it must begin with the header"),
        ("image,caption\n", r"captions\.csv is empty: it must name at least one image"),
        ("0.jpg,a dog\n", r"line 1: the header: unknown '0\.jpg'; expected image, caption and perhaps split"),
        ("image;caption\n", "line 1: the header: unknown 'image;caption'"),
        ("image,caption,mood\n", "line 1: the header: unknown 'mood'"),
        ("image\n0.jpg\n", "line 1: the header: 'caption' is missing"),
        ("image,caption,image\n", "line 1: the header: 'image' twice"),
        ("image,caption\n0.jpg,a\n1.jpg,a dog, running\n", "line 3: 3 cells under 2 columns .*quotes"),
        ("image,caption\n0.jpg\n", "line 2: 1 cells under 2 columns"),
        ("image,caption\n0.jpg, \n", "line 2: caption is empty"),
        ("image,caption\n,a dog\n", "line 2: image is empty"),
        ('image,caption\n0.jpg,"a dog\n', "line 2: unexpected end of data"),
        ("image,caption\n0.jpg,a\n77.jpg,b\n", r"line 3: no image '77\.jpg' in .*photos"),
        ("image,caption\n0.jpg,a\n1.jpg,a\n0.jpg,a\n", r"line 4: image '0\.jpg' has the same caption in line 2: 'a'"),
        ("image,caption,split\n0.jpg,a,dev\n", "line 2: split must be train, val or test, got 'dev'"),
        ("image,caption,split\n0.jpg,a,\n", "line 2: split is empty"),
        ("image,caption,split\n0.jpg,a,val\n0.jpg,b,train\n", "line 3: .* in split 'train' here and in 'val' before"),
    ],
)
def test_mistakes_in_csv(photos: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Folder(photos, table(photos, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('{"image": "0.jpg"\n', "line 1: not JSON"),
        ("[1]\n", r"line 1: must be \{"),
        ('{"image": "0.jpg", "text": "a"}', "line 1: unknown 'text'"),
        (
            '{"image": "0.jpg", "caption": "a", "captions": ["b"]}',
            "line 1: unknown 'caption'; expected image, captions",
        ),
        ('{"caption": "a"}', "line 1: 'image' is missing"),
        ('\n{"image": "0.jpg", "caption": 3}', "line 2: caption must be text, got 3"),
        ('{"image": "0.jpg", "captions": []}', "line 1: captions must be a list of at least one"),
        ('{"image": "0.jpg", "captions": "a"}', "line 1: captions must be a list"),
        ('{"image": "0.jpg", "caption": "a", "split": 1}', "line 1: split must be text, got 1"),
        (
            '{"image": "0.jpg", "caption": "a"}\n{"image": "1.jpg", "caption": "a", "split": "val"}',
            "line 2: some lines have a split and some have none",
        ),
    ],
)
def test_mistakes_in_jsonl(photos: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Folder(photos, table(photos, text, "captions.jsonl"))


def test_mistakes_around_the_table(photos: Path) -> None:
    with pytest.raises(UserError, match="images: no folder"):
        Folder(photos / "none")
    with pytest.raises(UserError, match="captions: no file"):
        Folder(photos, photos / "none.csv")
    with pytest.raises(UserError, match=r"must be a \.csv or \.jsonl file"):
        Folder(photos, table(photos, "", "captions.txt"))
    with pytest.raises(UserError, match="must be UTF-8"):
        Folder(photos, table(photos, "image,caption\n0.jpg,café\n", encoding="latin-1"))
    with pytest.raises(UserError, match=r"leave some images to train on, got 0\.5 and 0\.5"):
        Folder(photos, table(photos, "image,caption\n0.jpg,a\n"), val_fraction=0.5, test_fraction=0.5)
