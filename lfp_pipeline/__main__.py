"""`python -m lfp_pipeline` is the command `lfp`."""

from lfp_pipeline.cli.main import main

if __name__ == "__main__":
    main()
