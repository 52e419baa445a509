"""`python -m fisherkern`."""

from .cli import main

raise SystemExit(main())
