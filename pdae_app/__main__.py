"""`python -m pdae_app`: see `pdae_app.cli`."""

import sys

from pdae_app.cli import main

sys.exit(main())
