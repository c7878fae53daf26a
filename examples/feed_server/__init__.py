"""A small feed server: `python -m examples.feed_server FOLDER` serves a folder's product file.

`GET /sense` tells whether there is news, `GET /read` gives the file, and `GET /` is a page on which
people change products. Each process needs a folder of its own. Only the standard library is used.
"""
