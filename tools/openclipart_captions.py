"""Titles and keywords of Debian's openclipart drawings (public domain) as a list of captions for `fastpt prep`.

    apt-get install openclipart-png openclipart-svg
    python tools/openclipart_captions.py openclipart.csv
    fastpt prep --holdout 0.1 --max-rejects 0.01 captions --source /usr/share/openclipart/png --name openclipart \
        --list openclipart.csv --image-pattern '{id}.png' --label-column category

The drawings' authors named and tagged them as they liked: wrong, foreign and missing tags are the noise of the wild,
beside which a plan's noise can be seen. Columns: id, category (the folder), title, keywords, and caption, which is
the title and the keywords; drawings with neither are left out, and so are second names of one drawing.
"""

import argparse
import csv
import sys
from pathlib import Path
from xml.etree import ElementTree

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"


def caption(svg: Path) -> tuple[str, list[str]]:
    """Title and keywords of a drawing. Raises ElementTree.ParseError if it is no XML."""
    root = ElementTree.parse(svg).getroot()
    # The work's own title, not its author's, which has the same tag deeper down.
    title = next((work.findtext(f"{DC}title") for work in root.iter() if work.tag.endswith("}Work")), None)
    keywords = [
        " ".join((tag.text or "").split()) for subject in root.iter(f"{DC}subject") for tag in subject.iter(f"{RDF}li")
    ]
    return " ".join((title or "").split()), list(dict.fromkeys(filter(None, keywords)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the CSV file to write")
    parser.add_argument("--folder", type=Path, default=Path("/usr/share/openclipart"), help="holds png/ and svg/")
    arguments = parser.parse_args()
    pictures = sorted(path for path in (arguments.folder / "png").rglob("*.png") if not path.is_symlink())
    if not pictures:
        sys.exit(f"{arguments.folder}/png holds no drawings. Install openclipart-png and openclipart-svg.")
    left_out = {"no SVG file": 0, "SVG does not parse": 0, "neither title nor keywords": 0}
    rows = []
    for picture in pictures:
        name = picture.relative_to(arguments.folder / "png").with_suffix("")
        try:
            title, keywords = caption(arguments.folder / "svg" / name.with_suffix(".svg"))
        except FileNotFoundError:
            left_out["no SVG file"] += 1
            continue
        except ElementTree.ParseError:
            left_out["SVG does not parse"] += 1
            continue
        if not title and not keywords:
            left_out["neither title nor keywords"] += 1
            continue
        text = ", ".join(filter(None, [title, *keywords]))
        rows.append([name.as_posix(), name.parts[0], title, "; ".join(keywords), text])
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "category", "title", "keywords", "caption"])
        writer.writerows(rows)
    print(f"{len(rows)} captions in {arguments.out}; left out: {left_out}")


if __name__ == "__main__":
    main()
