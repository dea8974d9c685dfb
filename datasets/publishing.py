"""Packs a prepared dataset for others.

NAME-CONFIG-VERSION.tar.gz           NAME/CONFIG/VERSION/: the files that TFDS prepared, the data
                                     card README.md, LICENSE, and SHA256SUMS of all of them
NAME-CONFIG-VERSION.tar.gz.sha256    its checksum, as sha256sum writes and checks it
README.md, LICENSE                   once more, to be read before the download
"""

import gzip
import hashlib
import io
import pathlib
import tarfile

from tfunroll.datasets.base import TrajectoryBuilder
from tfunroll.datasets.guards import command, refuse_outdated
from tfunroll.datasets.hosting import SUFFIX, SUMS

from tfunroll.core import InputError
from tfunroll.files import replacing

LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
}


def publish(builder: TrajectoryBuilder, out: str | pathlib.Path, licence: str) -> pathlib.Path:
    """Packs a built dataset with its card and licence into ``out``.

    Args:
      builder: of any config but "hosted".
      out: folder, made if missing.
      licence: a key of LICENCES, or a file with the text of another licence. Data that came from
        others (the config "published") need such a file.
    Returns:
      the path of the archive.
    Raises:
      InputError: not built yet, an unknown licence, others' data without their licence, or a
        folder that cannot be written.
    """
    config = builder.builder_config
    name = f"{builder.name}/{config.name}"
    if config.hosted:
        raise InputError(f"{name} is a published archive already: pass that one on")
    if not builder.data_path.exists():
        refuse_outdated(builder)
        raise InputError(
            f"dataset {name} is missing in {builder.data_path}; make it with {command(builder)}"
        )
    label, text = _licence(licence, name, others=config.manual)
    texts = {"README.md": _card(builder, label), "LICENSE": text}
    try:
        return pack(pathlib.Path(builder.data_path), pathlib.Path(out).expanduser(), texts)
    except OSError as error:
        raise InputError(f"out={str(out)!r} cannot be written: {error.strerror}") from None


def _licence(licence: str, name: str, others: bool) -> tuple[str, str]:
    """Its short name and its text."""
    path = pathlib.Path(licence)
    if licence in LICENCES and not others:
        notice = f"The dataset {name}, made with tfunroll, is licensed under {licence}:"
        return licence, f"{notice}\n{LICENCES[licence]}\n\nSPDX-License-Identifier: {licence}\n"
    if licence not in LICENCES and path.is_file():
        return "other", path.read_text(encoding="utf-8")
    if others:
        raise InputError(
            f"licence={licence!r}: {name} holds others' data; give a file with their licence"
        )
    allowed = ", ".join(LICENCES)
    raise InputError(f"licence={licence!r} is unknown; allowed: {allowed}, or a text file")


def _card(builder: TrajectoryBuilder, licence: str) -> str:
    """The dataset's card, with a head that data repositories read, and how to load."""
    config, version = builder.builder_config.name, builder.version
    title = f"{builder.info.metadata['title']}, config {config}, version {version}"
    return f"""---
license: {licence.lower()}
pretty_name: "{title}"
---
# {title}

Prepared by TensorFlow Datasets; licence: {licence} (LICENSE); checksums: SHA256SUMS.

```python
import tensorflow_datasets as tfds

builder = tfds.builder_from_directory("{builder.name}/{config}/{version}")
train = builder.as_dataset(split="train")
```

{builder.info.description.strip()}

## Citation

```
{builder.info.citation.strip()}
```
"""


def pack(data_path: pathlib.Path, out: pathlib.Path, texts: dict[str, str]) -> pathlib.Path:
    """Writes an archive of a prepared dataset and its checksum file into ``out``.

    The same files give the same bytes, whoever packs them and whenever.

    Args:
      data_path: DATA_DIR/NAME/CONFIG/VERSION.
      texts: files that go with the data, such as {"LICENSE": …}; written beside the archive too.
    Returns:
      the path of the archive.
    """
    place = pathlib.PurePosixPath(*data_path.parts[-3:])
    archive = out / f"{'-'.join(place.parts)}.tar.gz"
    files = sorted(path for path in data_path.iterdir() if path.name not in texts)
    sums = {path.name: _sha256(path) for path in files}
    sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    listed = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    with (
        replacing(archive) as new,
        new.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files:
            with path.open("rb") as file:
                _add(tar, place / path.name, path.stat().st_size, file)
        for name, text in (*texts.items(), (SUMS, listed)):
            content = text.encode()
            _add(tar, place / name, len(content), io.BytesIO(content))
    beside = {**texts, f"{archive.name}{SUFFIX}": f"{_sha256(archive)}  {archive.name}\n"}
    for name, text in beside.items():
        with replacing(out / name) as new:
            new.write_text(text, encoding="utf-8")
    return archive


def _add(tar: tarfile.TarFile, name: pathlib.PurePosixPath, size: int, content) -> None:
    entry = tarfile.TarInfo(str(name))  # time, owner and rights are the defaults: no one's
    entry.size = size
    tar.addfile(entry, content)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
