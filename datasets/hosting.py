"""Archives of prepared datasets, as ``publishing`` makes them: their address and download."""

import http.client
import pathlib
import re
import shutil
import tarfile
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from tfunroll.core import InputError
from tfunroll.files import read_json

SUFFIX = ".sha256"
SUMS = "SHA256SUMS"
SECONDS = 60.0  # until a silent server counts as absent
GROWTH, SMALL = (
    50,
    100e6,
)  # unpacked bytes per byte of an archive, and those of any; numbers: 1 to 3
FEATURES = "tensorflow_datasets.core.features."  # TFDS imports whatever module a file names

# What urllib, requests, gfile and TFDS raise for a download that fails
_UNREACHABLE = (
    *(OSError, ValueError, http.client.HTTPException),
    *(tf.errors.OpError, tfds.download.DownloadError),
)
_BROKEN = (OSError, EOFError, tarfile.TarError, zlib.error)


@dataclass(frozen=True)
class Archive:
    """An archive that ``pack`` made: its address and the checksum that it must have."""

    url: str
    sha256: str

    @classmethod
    def at(cls, address: str) -> "Archive":
        """The archive at URL#sha256=HEX, or at URL with its checksum in the file URL.sha256.

        A URL starts with http:// or https://, or is a path. The checksum in the address guards
        against a changed archive too, the file beside it only against a broken download.

        Raises: InputError: neither gives a checksum, or nothing answers there.
        """
        url, _, fragment = address.partition("#")
        if fragment:
            if not (found := re.fullmatch("sha256=([0-9a-fA-F]{64})", fragment)):
                raise InputError(f"data_url={address}: write the checksum as #sha256=64 hex digits")
            _read(url, 1)  # a mistyped host is found now and not after all of TFDS's attempts
            return cls(url, found[1].lower())
        parts = _parts(url)
        beside = urllib.parse.urlunsplit(parts._replace(path=parts.path + SUFFIX))
        found = re.match(rb"([0-9a-fA-F]{64})\b", _read(beside, 4096))
        if not found:
            raise InputError(
                f"data_url={url}: {beside} must start with the archive's SHA-256, 64 hex digits"
            )
        return cls(url, found[1].decode().lower())

    def fetch(self, download_dir: pathlib.Path, folder: pathlib.Path) -> None:
        """Downloads through TFDS, checks the checksum, unpacks into the existing ``folder``.

        Raises: InputError: broken download, wrong checksum, or not such an archive.
        """
        manager = tfds.download.DownloadManager(
            download_dir=download_dir,
            url_infos={self.url: _AnySize(size=0, checksum=self.sha256, filename=None)},
            force_checksums_validation=True,
        )
        try:
            path = manager.download(self.url)
        except NonMatchingChecksumError:
            raise InputError(
                f"data_url={self.url}: the download does not have the SHA-256 {self.sha256}: it is "
                "damaged, or another archive; nothing was kept"
            ) from None
        except _UNREACHABLE as error:
            raise _failed(self.url, error) from None
        try:
            _unpack(pathlib.Path(path), folder)
        except _BROKEN as error:
            raise InputError(f"data_url={self.url} is not a readable .tar.gz ({error})") from None

    def check(self, folder: pathlib.Path, name: str, version: str) -> str:
        """The config of the dataset unpacked in ``folder``; InputError unless it is ``name``."""
        try:
            info = read_json(folder / "dataset_info.json", Info)
            features = read_json(folder / "features.json", dict[str, Any])
        except InputError as error:
            raise InputError(
                f"data_url={self.url} holds no dataset prepared by TFDS ({error})"
            ) from None
        for class_name in _classes(features):
            if not str(class_name).startswith(FEATURES):
                raise InputError(
                    f"data_url={self.url}: its features.json names the class {class_name!r}; "
                    f"allowed: those of {FEATURES}*"
                )
        found = f"{info['name']} {info['version']}"
        if found != f"{name} {version}":
            outdated = ", so it has to be made and published anew" if info["name"] == name else ""
            raise InputError(
                f"data_url={self.url} holds {found}, expected {name} {version}{outdated}"
            )
        return info["configName"]


class Info(TypedDict):
    """dataset_info.json, as far as it is read."""

    name: str
    version: str
    configName: str


def _parts(url: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise InputError(f"data_url={url!r} is no address: {error}") from None


def _classes(features):
    """Every class that a features.json names."""
    values = features.items() if isinstance(features, dict) else enumerate(features)
    for key, value in values:
        if key == "pythonClassName":
            yield value
        elif isinstance(value, dict | list):
            yield from _classes(value)


@dataclass(eq=False)
class _AnySize(UrlInfo):
    """What TFDS compares a download with, by its checksum alone."""

    def __eq__(self, other):
        return self.checksum == other.checksum


def _read(url: str, size: int) -> bytes:
    """The first bytes of a file."""
    try:
        if _parts(url).scheme in ("http", "https"):
            with urllib.request.urlopen(url, timeout=SECONDS) as response:
                return response.read(size)
        with tf.io.gfile.GFile(url, "rb") as file:
            return file.read(size)
    except _UNREACHABLE as error:
        raise _failed(url, error) from None


def _failed(url: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(f"data_url: {url} cannot be downloaded ({type(error).__name__}: {reason})")


def _unpack(path: pathlib.Path, folder: pathlib.Path) -> None:
    """All files of an archive, side by side in ``folder`` whatever their folders in the archive.

    tarfile's own extraction would follow "..", absolute paths and links out of the folder, and
    write as much as an entry says.
    """
    left = SMALL + GROWTH * path.stat().st_size
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            name = pathlib.PurePosixPath(member.name)
            if member.isdir():
                continue
            if not member.isfile() or name.is_absolute() or ".." in name.parts:
                raise tarfile.TarError(f"unsafe entry {member.name!r}")
            left -= member.size
            if left < 0:
                raise tarfile.TarError(f"entry {member.name!r} is too large for such an archive")
            with tar.extractfile(member) as source, (folder / name.name).open("wb") as target:
                shutil.copyfileobj(source, target)
