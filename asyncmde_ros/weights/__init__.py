"""Weight files: which there are, where they lie, and how to get them.

Running needs only :func:`locate`, :func:`load` and, of an adapter, :mod:`adapter`, which never
touch the network; :func:`fetch` is what ``asyncmde weights fetch`` calls.
"""

from asyncmde_ros.weights import adapter, registry
from asyncmde_ros.weights.acquire import fetch
from asyncmde_ros.weights.lookup import load, locate

__all__ = ['adapter', 'fetch', 'load', 'locate', 'registry']
