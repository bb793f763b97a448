"""`python -m bnlab` is `bnlab`."""

from bnlab.cli import main

main()
