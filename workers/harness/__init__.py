"""Everything that runs in the measuring process: standard library, numpy and one runtime, in Python 3.8 syntax.

Imports are relative, so that another interpreter can start it with only the folder above on its path.
"""
