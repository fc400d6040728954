"""``python -m trxlib`` is the command ``trxlib``."""

from trxlib.cli import main

main()
