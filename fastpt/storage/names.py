"""File names: which of them are of pictures, and what of them UTF-8 can hold."""

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif")


def well_formed(text: str) -> str:
    """The text with U+FFFD for what UTF-8 cannot hold: halves of characters, which JSON and file names may have."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
