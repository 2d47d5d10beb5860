"""The file that a plot is written to: named before anything is asked, and there only as a whole."""

import os
import secrets
from pathlib import Path

from ops_workflows.errors import ConfigurationError

FORMATS = {".png": "png", ".svg": "svg"}


def format_of(file: Path) -> str:
    """What a file's ending asks for, in a folder that is there.

    Returns:
        `png` or `svg`.

    Raises:
        ConfigurationError: The ending is another one, the folder is not there, or the name is a folder's.
    """
    found = FORMATS.get(file.suffix.lower())
    if found is None:
        raise ConfigurationError(f"{file} is neither PNG nor SVG: give --plot a name that ends in .png or .svg.")
    if not file.parent.is_dir():
        raise ConfigurationError(f"There is no folder {file.parent} to write {file.name} to: make it, or name another.")
    if file.is_dir():
        raise ConfigurationError(f"{file} is a folder: give --plot the name of a file.")
    return found


def write(file: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads it sees what was there before, or all of this.

    Raises:
        ConfigurationError: It cannot be written.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("xb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}. Name another file.") from error
