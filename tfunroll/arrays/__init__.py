"""Arrays in a user's files: formats, layouts of public collections, and the description of them.

Whatever a file holds, what is read of it is right or raises InputError.
"""

from tfunroll.arrays.description import Description, is_description, named_system, read
from tfunroll.arrays.states import Pieces, States

__all__ = ["Description", "Pieces", "States", "is_description", "named_system", "read"]
