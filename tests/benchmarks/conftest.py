"""Scripts of benchmarks/ are no package: they import their neighbours, tests import them."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Behind everything else: no installed module may be hidden by a script's name.
for folder in ("", "emoji", "emoji_clip", "peers"):
    sys.path.append(str(BENCHMARKS / folder))
