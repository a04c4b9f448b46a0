"""``python -m asyncmde_ros.cli`` is the ``asyncmde`` command."""

import sys

from asyncmde_ros.cli.main import main

sys.exit(main())
