"""What the pictures of the gallery were when somebody last looked at them: a digest of each.

    python tests/pictures.py

writes them anew, when you have looked at what has changed.
"""

import hashlib
import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parent.parent / "docs"


@cache
def gallery():
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    module = sys.modules["gallery"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(name):
    """What the code of an entry shows."""
    module = gallery()
    (entry,) = [e for e in module.ENTRIES if e.name == name]
    names = {}
    exec(module.START + entry.code, names)
    return [getattr(names[x], "svg", None) or names[x].html for x in entry.shows]


def digests(name):
    """Of each picture of an entry; of a page that of its picture and its data.

    A long number's last digits are the machine's: that it is there is enough.
    """
    part = re.compile(r'(?s)<svg.*?</svg>|<script type="application/json".*?</script>')
    number = re.compile(r"-?\d+\.\d{4,}(e-?\d+)?")
    texts = [number.sub("#", "".join(part.findall(text))) for text in shown(name)]
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


if __name__ == "__main__":
    found = [f'"{entry.name}": {json.dumps(digests(entry.name))}' for entry in gallery().ENTRIES]
    PATH.write_text("{\n" + ",\n".join(found) + "\n}\n", "utf-8")
