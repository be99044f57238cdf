from pathlib import Path
from random import Random

from PIL import Image

from ops.demo.inputs import big, photographs
from tests.support.digests import digest


def test_a_photograph_is_a_jpeg_with_exif_and_no_two_are_alike(tmp_path: Path) -> None:
    first, second = photographs(tmp_path, ["a.jpg", "b.jpg"], Random(1))
    assert first.digest != second.digest
    for one in (first, second):
        assert one.digest == digest(one.path)
        assert one.size == one.path.stat().st_size > 1_000_000
        with Image.open(one.path) as picture:
            picture.load()
            assert picture.format == "JPEG"
            exif = picture.getexif()
        assert exif[0x0110] == "Demo Z9"
        assert exif.get_ifd(0x8769)[0x9003].startswith("2026:11:22")


def test_the_big_file_has_the_size_and_digest_that_are_told(tmp_path: Path) -> None:
    made = big(tmp_path, 2_500_001)
    assert made.path.stat().st_size == made.size == 2_500_001
    assert made.digest == digest(made.path)
