"""`python -m visio_operator` is the command `visio-operator`."""

import sys

from visio_operator.cli import main

if __name__ == "__main__":
    sys.exit(main())
