"""The map at the top of app/fleet/__init__.py is all of what is there."""

import re
from collections import Counter
from pathlib import Path

from app import fleet


def test_each_module_is_on_the_map_once() -> None:
    folder = Path(str(fleet.__file__)).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    _, said = str(fleet.__doc__).split("its parts.\n")
    rows = re.sub(r"^\w+( catalog)?", "", said, flags=re.MULTILINE)
    words = Counter(re.findall(r"[a-z_]+", rows))
    assert {name: words[name] for name in sorted(modules)} == dict.fromkeys(sorted(modules), 1)
