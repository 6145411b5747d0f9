"""`python -m telestage.cli` is the `telestage` command."""

from telestage.cli.main import main

main()
