"""``python -m trxlib`` is the command ``trxlib``."""

import sys

from trxlib.cli import main

sys.exit(main())
