"""Applications of the suite: modules for nodes, as sources that publishers build and sign like any of their own.

What is in a directory here becomes a bundle, and runs in a container; it is written against `netserv.modules.api` and
the blocks alone. `sources.py` finds them; what runs at the publisher's side is in `netserv/publisher/`.
"""
