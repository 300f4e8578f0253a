"""Peers: other people's software doing the same work, each in the fastest honest form.

One module per library, imported only by the rows that need it.
"""
