"""Measurements: the floor, our own work, and other tools on the same files.

`python -m benchmarks --help` says how. It needs the packages of this folder's `requirements.lock`
beside those of the project. A tool that is not installed is left out, and the tables say so.
"""
