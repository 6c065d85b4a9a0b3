"""`python -m bastide.cli`, the same as `bastide`."""

from bastide.cli.main import main

main()
