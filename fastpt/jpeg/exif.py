"""What EXIF says of how a picture lies."""

from PIL import Image

ORIENTATION = 0x0112  # the tag


def orientation(image: Image.Image) -> int:
    """1 for a picture that is upright, 2 to 8 for one that is to be turned or mirrored, by EXIF (or XMP).

    Any other number, such as 0 for "unknown", says nothing: 1.
    """
    try:
        found = image.getexif().get(ORIENTATION, 1)
        return found if found in range(1, 9) else 1
    except Exception:  # broken EXIF says nothing, and is no reason to leave a picture out
        return 1
