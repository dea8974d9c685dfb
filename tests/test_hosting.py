"""Published archives: packed, served by a web server on localhost, downloaded, checked, refused."""

import contextlib
import hashlib
import http.server
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfunroll.datasets.hosting import Archive

from tfunroll import data, datasets, systems
from tfunroll.core import InputError

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"
NAME = "kuramoto_sivashinsky-tiny-2.0.0.tar.gz"


@pytest.fixture(scope="module")
def published(tiny_data_dir, tmp_path_factory):
    """A folder with the archive of the tiny dataset."""
    out = tmp_path_factory.mktemp("published")
    path = datasets.publish(datasets.builder_class("ks").of("tiny", tiny_data_dir), out, "CC0-1.0")
    assert path.name == NAME
    return out


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; /cut/X breaks off in the middle of X, /short/X does not even say so."""

    def do_GET(self):
        kind, _, name = self.path[1:].partition("/")
        path = pathlib.Path(self.directory) / name
        if kind not in ("cut", "short") or name.endswith(".sha256"):
            self.path = f"/{name}" if kind in ("cut", "short") else self.path
            return super().do_GET()
        content = path.read_bytes()
        self.send_response(200)
        if kind == "cut":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        return None

    def copyfile(self, source, outputfile):
        with contextlib.suppress(ConnectionError):  # a reader may take the first byte only
            super().copyfile(source, outputfile)

    def log_message(self, *args):
        pass


@pytest.fixture
def served(published, tmp_path):
    """(URL of a web server, the folder it serves), which holds the archive."""
    folder = tmp_path / "served"
    shutil.copytree(published, folder)

    def handler(*args):
        return _Handler(*args, directory=folder)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def hosted(url, data_dir):
    return datasets.build("ks", "hosted", data_dir, data_url=url)


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            same(a[key], b[key])
        else:
            np.testing.assert_array_equal(a[key], b[key])


def test_the_archive_holds_data_card_licence_and_checksums(published, tiny_data_dir, tmp_path):
    subprocess.run(["sha256sum", "--check", f"{NAME}.sha256"], cwd=published, check=True)
    subprocess.run(["tar", "xzf", published / NAME], cwd=tmp_path, check=True)
    folder = tmp_path / "kuramoto_sivashinsky" / "tiny" / "2.0.0"
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=folder, check=True)
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(list(folder.iterdir())) - 1
    for parent in (folder, published):
        card = (parent / "README.md").read_text(encoding="utf-8")
        assert card.startswith("---\nlicense: cc0-1.0\n")
        assert "u_xxxx" in card
        assert "10.1016/j.cma.2024.117441" in card
        assert "SPDX-License-Identifier: CC0-1.0" in (parent / "LICENSE").read_text()
    local = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    unpacked = tfds.builder_from_directory(folder)
    for split in local.info.splits:
        pairs = zip(
            tfds.as_numpy(unpacked.as_dataset(split=split)), local.examples(split), strict=True
        )
        for ours, theirs in pairs:
            same(ours, theirs)


def test_packing_again_gives_the_same_bytes(published, tiny_data_dir, tmp_path):
    builder = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    again = datasets.publish(builder, tmp_path, "CC0-1.0")
    assert again.read_bytes() == (published / NAME).read_bytes()


def test_a_hosted_dataset_has_the_examples_of_the_local_build(
    served, tiny_data_dir, tmp_path, capsys
):
    url, _ = served
    builder = hosted(f"{url}/{NAME}", tmp_path)
    local = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    for split in systems.get("ks").splits:
        ours, theirs = builder.examples(split), local.examples(split)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    assert builder.info.features.get_tensor_info() == local.info.features.get_tensor_info()
    metadata = dict(builder.info.metadata.items())
    for key, value in local.info.metadata.items():
        assert metadata[key] == value
    # read again without its address, and by TFDS alone; nothing of the download is left
    capsys.readouterr()
    loaded = data.load(systems.get("ks"), "hosted", data_dir=tmp_path)
    assert loaded.config == "tiny"  # so that results say what the data are
    assert loaded.on_reference_grid
    assert re.match(r"validation: [12]\.\d changes per frame", capsys.readouterr().out)
    tfds.load("kuramoto_sivashinsky/hosted", data_dir=tmp_path, split="train")
    folder = builder.data_path
    assert tfds.builder_from_directory(folder).info.splits["train"].num_examples == 36
    assert not [p for p in tmp_path.rglob("*.gz*") if "served" not in p.parts]


def test_a_path_and_a_checksum_in_the_address_do_as_well(published, served, tmp_path):
    sha256 = (published / f"{NAME}.sha256").read_text().split()[0]
    assert hosted(str(published / NAME), tmp_path / "a").content == "tiny"
    url, folder = served
    (folder / f"{NAME}.sha256").unlink()
    address = f"{url}/{NAME}#sha256={sha256}"
    hosted(address, tmp_path / "b")
    hosted(address, tmp_path / "b")  # there already
    with pytest.raises(InputError, match="holds the archive .*delete that folder"):
        hosted(f"{url}/{NAME}#sha256={'0' * 64}", tmp_path / "b")


def pack(path, **files):
    """An archive with its checksum file; a name may be anything."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    sign(path)


def sign(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(digest)


def change_checksum(path):
    path.with_name(f"{path.name}.sha256").write_text("0" * 64)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_dataset(path):
    info = {"name": "wave", "version": "1.0.0", "configName": "tiny"}
    prepared(path, info)


def outdated(path):
    prepared(path, {"name": "kuramoto_sivashinsky", "version": "1.0.0", "configName": "tiny"})


def other_class(path):
    info = {"name": "kuramoto_sivashinsky", "version": "2.0.0", "configName": "tiny"}
    prepared(path, info, {"a": {"pythonClassName": "os.path.Join"}})


def prepared(path, info, features=None):
    parts = {"dataset_info": info, "features": features or {}}
    pack(path, **{f"x/{name}.json": json.dumps(part).encode() for name, part in parts.items()})


def signed_garbage(path):
    path.write_bytes(b"garbage")
    sign(path)


def signed_half(path):
    path.write_bytes(path.read_bytes()[:100_000])
    sign(path)


@pytest.mark.parametrize(
    ("spoil", "prefix", "message"),
    [
        (change_checksum, "", r"does not have the SHA-256 0{64}"),
        (flip_a_bit, "", "does not have the SHA-256"),
        (lambda path: None, "/cut", "cannot be downloaded"),
        (lambda path: None, "/short", "does not have the SHA-256"),
        (lambda path: path.unlink(), "", r"cannot be downloaded .*404"),
        (lambda path: path.with_name(f"{NAME}.sha256").unlink(), "", r"tar.gz.sha256 cannot .*404"),
        (lambda path: path.with_name(f"{NAME}.sha256").write_text("x"), "", "64 hex digits"),
        (signed_garbage, "", "not a readable .tar.gz"),
        (signed_half, "", "not a readable .tar.gz"),
        (lambda path: pack(path, **{"../../evil": b"x"}), "", "unsafe entry '../../evil'"),
        (lambda path: pack(path, **{"/tmp/evil": b"x"}), "", "unsafe entry '/tmp/evil'"),
        (lambda path: pack(path, **{"passwords": None}), "", "unsafe entry 'passwords'"),
        (lambda path: pack(path, bomb=bytes(150_000_000)), "", "entry 'bomb' is too large"),
        (other_class, "", "names the class 'os.path.Join'; allowed: those of tensorflow_datasets"),
        (lambda path: pack(path, readme=b"x"), "", "no dataset prepared by TFDS"),
        (other_dataset, "", r"holds wave 1\.0\.0, expected kuramoto_sivashinsky 2\.0\.0$"),
        (outdated, "", r"sivashinsky 2\.0\.0, so it has to be made and published anew$"),
    ],
)
def test_what_is_broken_or_wrong_is_refused_in_one_line(served, tmp_path, spoil, prefix, message):
    url, folder = served
    spoil(folder / NAME)
    target = tmp_path / "deep" / "data"
    with pytest.raises(InputError, match=message) as raised:
        hosted(f"{url}{prefix}/{NAME}", target)
    assert "\n" not in str(raised.value)
    assert f"{url}{prefix}/{NAME}" in str(raised.value)
    left = [p for p in target.rglob("*") if p.is_file() and p.name != "metadata.json"]
    assert not left
    assert not list(tmp_path.rglob("*evil*"))


def test_a_download_that_failed_can_be_repeated(served, tmp_path):
    url, folder = served
    good = (folder / NAME).read_bytes()
    flip_a_bit(folder / NAME)
    with pytest.raises(InputError):
        hosted(f"{url}/{NAME}", tmp_path)
    (folder / NAME).write_bytes(good)
    assert len(hosted(f"{url}/{NAME}", tmp_path).examples("validation")) == 6


def test_mistakes_of_address_and_licence(tiny_data_dir, tmp_path):
    with pytest.raises(InputError, match=r"config='tiny' is unknown; allowed: hosted"):
        datasets.build("ks", "tiny", tmp_path, data_url="x")
    with pytest.raises(InputError, match="hosted needs data_url"):
        datasets.build("ks", "hosted", tmp_path)
    with pytest.raises(InputError, match="#sha256=64 hex digits"):
        Archive.at("http://127.0.0.1/x.tar.gz#md5=0")
    with pytest.raises(InputError, match="cannot be downloaded .*refused"):
        Archive.at(f"http://127.0.0.1:9/x.tar.gz#sha256={'0' * 64}")
    with pytest.raises(InputError, match="cannot be downloaded"):
        Archive.at(str(tmp_path / "missing.tar.gz"))
    tiny = datasets.builder_class("ks").of("tiny", tiny_data_dir)
    with pytest.raises(InputError, match=r"licence='GPL' is unknown; allowed: CC-BY-4\.0, CC0"):
        datasets.publish(tiny, tmp_path, "GPL")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="out="):
        datasets.publish(tiny, tmp_path / "file", "CC0-1.0")
    for config, message in (("study", "make it with"), ("hosted", "published archive already")):
        builder = datasets.builder_class("ks").of(config, tmp_path)
        with pytest.raises(InputError, match=message):
            datasets.publish(builder, tmp_path, "CC0-1.0")


@pytest.mark.slow
def test_the_scripts_publish_and_fetch(tiny_data_dir, tmp_path):
    def run(script, *args):
        command = [sys.executable, SCRIPTS / script, *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "licence.txt").write_text("All rights reserved.\n")
    made = run("publish_data.py", f"--data_dir={tiny_data_dir}", "--licence=licence.txt")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "published" / "LICENSE").read_text() == "All rights reserved.\n"
    flags = ("--dataset_config=hosted", f"--data_url=published/{NAME}", "--data_dir=here")
    fetched = run("generate_data.py", *flags)
    assert fetched.returncode == 0, fetched.stderr
    assert "test_extrapolation" in fetched.stdout
    assert (tmp_path / "here" / "kuramoto_sivashinsky" / "hosted").is_dir()
