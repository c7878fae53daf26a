"""A small feed server: `python -m examples.feed_server FOLDER` serves a folder's product file.

`GET /sense` answers whether the file has changed since the last question, `GET /read` answers with
the file, and `GET /` is a page on which people change products. Each process needs a folder of its
own. Only the standard library is used.
"""
