"""What a file is, told from its bytes."""

from pathlib import Path

SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)
"""What files of a type begin with."""

BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
"""What the first box of an ISO media file (ISO/IEC 14496-12) calls itself; others are films."""

ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
"""Those a file of the type may have, the usual one first."""

BLOCK = 512
"""Bytes: so many zeros at the end were never written; a picture does not end like that."""


def type_of(content: bytes) -> str | None:
    """``"JPEG"``, ``"PNG"``, ``"HTML"`` and the like; None if the bytes begin like nothing that is known here."""
    for beginning, name in SIGNATURES:
        if content.startswith(beginning):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        return BRANDS.get(content[8:12], "a film")
    text = content[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if text.startswith((b"<?xml", b"<svg", b"<error")):
        return "XML"
    return "Git LFS pointer" if text.startswith(b"version https://git-lfs") else None


def right_ending(path: Path, content: bytes) -> str | None:
    """The ending a file should have instead of its own; None if that is right, or its type is not for training."""
    endings = ENDINGS.get(type_of(content) or "", ())
    return endings[0] if endings and path.suffix.lower() not in endings else None


def cut_off(content: bytes) -> bool:
    """Whether the end of a JPEG, PNG, WebP or BMP file is missing, or was never written and is all zeros."""
    match type_of(content):
        case "JPEG":
            return b"\xff\xd9" not in content[-BLOCK:]
        case "PNG":
            return b"IEND" not in content[-BLOCK:]
        case "WebP":
            return int.from_bytes(content[4:8], "little") + 8 > len(content)
        case "BMP":
            return int.from_bytes(content[2:6], "little") > len(content)
    return False


def unwritten(content: bytes) -> bool:
    """Whether a file ends in zeros as a download that set its place aside and was interrupted leaves it.

    Decoders take zeros for pixels, so that they notice nothing.
    """
    return content[-BLOCK:] == bytes(BLOCK) and type_of(content) in {"JPEG", "PNG"} and cut_off(content.rstrip(b"\0"))
