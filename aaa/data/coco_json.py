"""Captions in the JSON of COCO, and in Karpathy's of COCO and Flickr: a row for each picture."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from aaa.data.columns import PROMPT_COLUMNS

logger = logging.getLogger(__name__)


def is_coco_caption(annotation: Any) -> bool:
    """Whether this is one of the "annotations" of COCO's captions, and none of its boxes, outlines or key points."""
    return isinstance(annotation, dict) and {"image_id", "caption"} <= annotation.keys()


def is_karpathy_picture(picture: Any) -> bool:
    """Whether this is one of the "images" of Karpathy's splits, whose sentences are objects."""
    if not isinstance(picture, dict) or "filename" not in picture:
        return False
    if picture.keys() & {*PROMPT_COLUMNS} != {"sentences"}:
        return False
    sentences = picture.get("sentences")
    return isinstance(sentences, list) and bool(sentences) and isinstance(sentences[0], dict) and "raw" in sentences[0]


def rows_of_coco(content: Mapping[str, Any], where: str) -> list[dict[str, Any]] | None:
    """The pictures with captions of such an object, or None if it is none.

    Args:
        content: the whole object.
        where: the file, for messages.
    """
    pictures, annotations = _objects(content.get("images")), _objects(content.get("annotations"))
    if pictures and is_karpathy_picture(pictures[0]):
        return [_karpathy_row(picture) for picture in pictures]
    if not (pictures and annotations and is_coco_caption(annotations[0])):
        return None
    captions: dict[str, list[Any]] = {}
    for annotation in annotations:
        captions.setdefault(str(annotation.get("image_id")), []).append(annotation.get("caption"))
    ids = [str(picture.get("id")) for picture in pictures]
    if unlisted := captions.keys() - set(ids):
        logger.warning(
            '%s: pictures with captions that are not among its "images": %d, e.g. of the id %s, and left out.',
            where,
            len(unlisted),
            min(unlisted),
        )
    told = zip(ids, pictures, strict=True)
    return [{"file_name": picture.get("file_name"), "captions": captions[i]} for i, picture in told if i in captions]


def _karpathy_row(picture: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the folder, `filepath`: names tell pictures apart, and people lay all into one folder."""
    sentences = picture.get("sentences")
    told = sentences if isinstance(sentences, list) else []
    captions = [one.get("raw") if isinstance(one, dict) else one for one in told]
    return {"file_name": picture.get("filename"), "captions": captions, "split": picture.get("split")}


def _objects(value: Any) -> Sequence[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
