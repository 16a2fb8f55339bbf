"""What can be downloaded: the files, where they are, what they are known by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file of a part.

    Attributes:
        name: its name in the published folder, and behind the part's address.
        size: bytes; where `md5` is None about so many, and the server knows.
        md5: its MD5 in hexadecimal, what corpora publish; against damage, not against malice. None:
            the list `md5sum.txt` beside the file says.
    """

    name: str
    size: int
    md5: str | None = None


@dataclass(frozen=True)
class Part:
    """Files that stand together on each of several mirrors, and make one folder.

    Attributes:
        mirrors: addresses that end in a slash.
        folder: where the files are behind a mirror's address, ending in a slash; or empty.
        files: what is fetched.
        place: the folder that it makes, inside `--out`; empty: that folder itself.
        unpacked: whether its only file is an archive of which the folder `place` is published, and
            beside it the archive's documents.
    """

    mirrors: tuple[str, ...]
    folder: str
    files: tuple[RemoteFile, ...]
    place: str = ""
    unpacked: bool = False


_OPENSLR = (
    "https://www.openslr.org/resources/",
    "https://us.openslr.org/resources/",
    "https://openslr.elda.org/resources/",
    "https://openslr.magicdatatech.com/resources/",
)


def _librispeech(resource: int, part: str, size: int, md5: str | None = None) -> Part:
    file = RemoteFile(f"{part}.tar.gz", size, md5)
    return Part(_OPENSLR, f"{resource}/", (file,), f"LibriSpeech/{part}", unpacked=True)


def _language(place: str, name: str, size: int) -> Part:
    return Part(_OPENSLR, "11/", (RemoteFile(name, size),), place)


_LANGUAGE = {  # OpenSLR 11
    "lexicon": _language("lexicon", "librispeech-lexicon.txt", 5627653),
} | {
    part: _language(f"lm/{part}", f"{part}.arpa.gz", size)
    for part, size in (
        ("3-gram.pruned.3e-7", 13654242),
        ("3-gram.pruned.1e-7", 34094057),
        ("3-gram", 759636181),
        ("4-gram", 1355172078),
    )
}

CATALOGUE: dict[str, dict[str, Part]] = {
    "mnist": {
        "mnist": Part(
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            folder="",
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"
                ),
                RemoteFile("train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"
                ),
                RemoteFile("t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
            ),
        ),
    },
    "librispeech": {  # OpenSLR 12
        name: _librispeech(12, name, size, md5)
        for name, size, md5 in (
            ("dev-clean", 337926286, "42e2234ba48799c1f50f24a7926300a1"),
            ("dev-other", 314305928, "c8d0bcc9cca99d4f8b62fcc847357931"),
            ("test-clean", 346663984, "32fa31d27d2e1cad72775fee3f4849a9"),
            ("test-other", 328757843, "fb5a50374b501bb3bac4815ee91d3135"),
            ("train-clean-100", 6387309499, "2a93770f6d5c6c964bc36631d331a522"),
            ("train-clean-360", 23049477885, "c0e676e450a7ff2f54aeade5171606fa"),
            ("train-other-500", 30593501606, "d1a0fd59409feb2c614ce4d30c387708"),
        )
    }
    | _LANGUAGE,
    "mini_librispeech": {  # OpenSLR 31
        "dev-clean-2": _librispeech(31, "dev-clean-2", 126046265),
        "train-clean-5": _librispeech(31, "train-clean-5", 332747356),
    }
    | _LANGUAGE,
}
"""Name → its parts by their names."""
