"""Labels of images by a model, and below them the modules outside the runtime it took.

python classify.py MODEL IMAGE...
"""

import sys

from edgedistill.runtime import Classifier

classifier = Classifier(sys.argv[1], threads=1)
print(*(answer.label for answer in classifier.predict(sys.argv[2:])))
print(
    *sorted(
        name
        for name in sys.modules
        if name.startswith("edgedistill") and not name.startswith("edgedistill.runtime")
    )
)
