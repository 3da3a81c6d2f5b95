"""The variables that programs get."""

from __future__ import annotations

import os

_SEARCHED = "LD_LIBRARY_PATH"


def inherited() -> dict[str, str]:
    """Variables of this process, without what importing OpenCV sets.

    That is folders of its own and, by an empty entry of LD_LIBRARY_PATH, the current one: a program that starts after
    the import could find other libraries than one that starts before.
    """
    variables = {name: value for name, value in os.environ.items() if not _is_of_opencv(name, value)}
    searched = os.environ.get(_SEARCHED, "").split(":")
    if any(map(_is_folder_of_opencv, searched)):
        kept = [folder for folder in searched if folder and not _is_folder_of_opencv(folder)]
        variables.pop(_SEARCHED)
        if kept:
            variables[_SEARCHED] = ":".join(kept)
    return variables


def _is_of_opencv(name: str, value: str) -> bool:
    return name.startswith("QT_QPA_") and "/cv2/qt/" in value


def _is_folder_of_opencv(folder: str) -> bool:
    return folder.endswith("/cv2/../../lib64")
