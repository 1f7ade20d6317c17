"""How the user's own images are laid out: what folders and files are called, and what that means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
"""What an image's file name ends in."""
PARTS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders and files may be called that hold one part of the images."""


def splits_by_name(names: Iterable[str]) -> dict[str, str]:
    """Tell which of these names stand for training, validation and test; empty unless there is training and another.

    Without a test part, the validation part is the test set, as in ImageNet.
    """
    found = {PARTS[name.lower()]: name for name in sorted(names) if name.lower() in PARTS}
    if "train" not in found or len(found) == 1:
        return {}
    if "test" not in found:
        found["test"] = found.pop("validation")
    return found


def is_hidden(name: str) -> bool:
    """Tell what file managers leave behind, such as .DS_Store and __MACOSX, from what people put there."""
    return name.startswith((".", "__MACOSX"))
