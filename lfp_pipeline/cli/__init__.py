"""The command `lfp`: one module per subcommand.

Command modules import only click and the standard library when they are loaded, so that `lfp
--help` and the first line of a command come at once. They import everything else where it is used.
"""
