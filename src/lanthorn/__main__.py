"""`python -m lanthorn`."""

from lanthorn.cli import main

main()
